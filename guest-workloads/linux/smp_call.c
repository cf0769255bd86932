// SPDX-License-Identifier: GPL-2.0-only
/* Function calls between CPUs, by the kernel module in module/. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "module/dyield_smp_call.h"
#include "program.h"

static int device;

static void set_up(void)
{
	int module = open(DYIELD_SMP_CALL_MODULE, O_RDONLY | O_CLOEXEC);

	if (module < 0)
		fail(0, "it cannot open " DYIELD_SMP_CALL_MODULE ": %s",
		     strerror(errno));
	if (syscall(SYS_finit_module, module, "", 0))
		fail(0,
		     "the guest kernel did not load " DYIELD_SMP_CALL_MODULE
		     ": %s",
		     strerror(errno));
	close(module);
	device = open(DYIELD_SMP_CALL_DEVICE, O_RDONLY | O_CLOEXEC);
	if (device < 0)
		fail(0, "it cannot open " DYIELD_SMP_CALL_DEVICE ": %s",
		     strerror(errno));
}

static void ask(u32 me, unsigned long command)
{
	struct dyield_smp_call_report report;

	if (!ioctl(device, command, &report))
		return;
	if (errno != EBADMSG)
		fail(me, "the module's ioctl failed: %s", strerror(errno));
	fail(me, "vCPU %u called vCPU %u %u times, and %u calls ran",
	     report.sender, report.receiver, report.asked, report.ran);
}

static void wait_step(u32 me)
{
	ask(me, DYIELD_SMP_CALL_WAIT);
}

static void nowait_step(u32 me)
{
	ask(me, DYIELD_SMP_CALL_NOWAIT);
}

static void check(void)
{
	ask(0, DYIELD_SMP_CALL_CHECK);
}

const struct linux_program program_smp_call = {.set_up = set_up,
					       .step = wait_step,
					       .check = check,
					       .counts_calls_run = true};
const struct linux_program program_smp_call_nowait = {.set_up = set_up,
						      .step = nowait_step,
						      .check = check,
						      .counts_calls_run = true};
