/* SPDX-License-Identifier: GPL-2.0-only */
/* What the module and init say to each other: ioctls on its device. */
#ifndef DYIELD_SMP_CALL_H
#define DYIELD_SMP_CALL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define DYIELD_SMP_CALL_MODULE "/modules/dyield_smp_call.ko"
#define DYIELD_SMP_CALL_DEVICE "/dev/dyield_smp_call"

/* Calls that did not run exactly once each; `ran` is 0 if none has. */
struct dyield_smp_call_report {
	__u32 sender, receiver;
	__u32 asked, ran;
};

/*
 * Calls a function on random others of the vCPUs, and waits until it has run on
 * all of them, or does not. Fails with EBADMSG and a report.
 */
#define DYIELD_SMP_CALL_WAIT   _IOR('d', 0, struct dyield_smp_call_report)
#define DYIELD_SMP_CALL_NOWAIT _IOR('d', 1, struct dyield_smp_call_report)
/* Has every call run? For when nobody calls any more. Fails likewise. */
#define DYIELD_SMP_CALL_CHECK  _IOR('d', 2, struct dyield_smp_call_report)

#endif
