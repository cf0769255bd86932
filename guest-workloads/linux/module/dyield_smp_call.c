// SPDX-License-Identifier: GPL-2.0-only
/*
 * Function calls between the vCPUs of a Linux guest, as the kernel makes them:
 * each ioctl is one smp_call_function_many() on a random set of the others. The
 * threads that ask for them are init's, one on each vCPU.
 *
 * A module knows what a program cannot: whom the vCPU waits for. It publishes
 * that in struct dyield_shared, as the payload does.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/io.h>
#include <linux/jiffies.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/uaccess.h>

#include "dyield_abi.h"
#include "dyield_smp_call.h"

/* What is still under way when nobody calls any more has this long. */
#define PATIENCE (HZ / 2)

static struct dyield_shared *shared;

/*
 * One for each vCPU. The calls asked for are counted by the sender, those that
 * ran by the receiver, so neither has to be atomic.
 */
static struct sender {
	u64 generator;
	struct {
		u32 asked, ran, taken;
	} receiver[DYIELD_LINUX_MAX_VCPUS];
} ____cacheline_aligned_in_smp senders[DYIELD_LINUX_MAX_VCPUS];

static u32 phase(void)
{
	return READ_ONCE(shared->phase) & (DYIELD_PHASES - 1);
}

/* splitmix64 (Steele, Lea and Flood, 2014), as in init. */
static u64 random_u64(struct sender *sender)
{
	u64 z = sender->generator += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

/* Some of the others, at least one. */
static void choose(struct sender *sender, u32 me, struct cpumask *receivers)
{
	u32 nr = shared->nr_vcpus, cpu;
	u64 bits = random_u64(sender);

	cpumask_clear(receivers);
	for (cpu = 0; cpu < nr; cpu++)
		if (cpu != me && bits >> cpu & 1)
			cpumask_set_cpu(cpu, receivers);
	if (cpumask_empty(receivers)) {
		cpu = (random_u64(sender) >> 32) * (nr - 1) >> 32;
		cpumask_set_cpu((me + 1 + cpu) % nr, receivers);
	}
}

/* The wait set has one word, for DYIELD_LINUX_MAX_VCPUS is 64. */
static atomic64_t *wait_set(u32 cpu)
{
	BUILD_BUG_ON(DYIELD_LINUX_MAX_VCPUS > 64);
	return (atomic64_t *)&shared->vcpu[cpu].waiting_for[0];
}

/* The deliberate bugs, for the test of the check. */
static u32 times_to_run(struct sender *sender, u32 me)
{
	if (++sender->receiver[me].taken % 8)
		return 1;
	switch (READ_ONCE(shared->fault)) {
	case DYIELD_FAULT_LOST_CALL:
		return 0;
	case DYIELD_FAULT_DOUBLE_CALL:
		return 2;
	default:
		return 1;
	}
}

/* The function that is called: with interrupts off, on the receiver. */
static void receive(void *info)
{
	struct sender *sender = info;
	u32 me = smp_processor_id();
	u32 times = times_to_run(sender, me);
	u32 *ran = &sender->receiver[me].ran;

	WRITE_ONCE(*ran, *ran + times);
	shared->vcpu[me].calls_run[phase()] += times;
	/* A full barrier, like the one of whoever publishes. */
	atomic64_fetch_andnot(BIT_ULL(me), wait_set(sender - senders));
}

static bool pending(struct sender *sender, u32 cpu)
{
	return READ_ONCE(sender->receiver[cpu].ran) !=
	       sender->receiver[cpu].asked;
}

/*
 * Who waits for the end of its calls waits for all receivers; who does not, for
 * those that have not yet run the call before, as the kernel has one struct for
 * each receiver.
 */
static void publish(struct sender *sender, const struct cpumask *receivers,
		    bool wait)
{
	struct dyield_vcpu *vcpu = &shared->vcpu[sender - senders];
	atomic64_t *set = wait_set(sender - senders);
	u64 awaited = 0;
	u32 cpu;

	for_each_cpu(cpu, receivers) {
		if (wait || pending(sender, cpu))
			awaited |= BIT_ULL(cpu);
	}
	/* Whoever finds a bit of the set finds its kind. */
	smp_store_release(&vcpu->wait_kind,
			  awaited ? DYIELD_WAIT_CALL : DYIELD_WAIT_NONE);
	atomic64_xchg(set, awaited);
	if (wait)
		return;
	/* It ran in between, and its answer came before the question. */
	for_each_cpu(cpu, receivers) {
		if (awaited & BIT_ULL(cpu) && !pending(sender, cpu))
			atomic64_fetch_andnot(BIT_ULL(cpu), set);
	}
}

static bool find_wrong(struct sender *sender, bool all_have_run,
		       struct dyield_smp_call_report *report)
{
	u32 cpu;

	for (cpu = 0; cpu < shared->nr_vcpus; cpu++) {
		u32 ran = READ_ONCE(sender->receiver[cpu].ran);
		u32 asked = sender->receiver[cpu].asked;

		/* A receiver runs its calls in turn, and one of them can wait.
		 */
		if (all_have_run ? ran == asked : asked - ran <= 2)
			continue;
		report->sender = sender - senders;
		report->receiver = cpu;
		report->asked = asked;
		report->ran = ran;
		return true;
	}
	return false;
}

static bool call(bool wait, struct dyield_smp_call_report *report)
{
	struct sender *sender;
	struct cpumask receivers;
	bool wrong;
	u32 me, cpu;

	/* As on_each_cpu_cond_mask() has it. */
	preempt_disable();
	me = smp_processor_id();
	sender = &senders[me];
	choose(sender, me, &receivers);
	publish(sender, &receivers, wait);
	for_each_cpu(cpu, &receivers)
		sender->receiver[cpu].asked++;
	smp_call_function_many(&receivers, receive, sender, wait);
	atomic64_set(wait_set(me), 0);
	WRITE_ONCE(shared->vcpu[me].wait_kind, DYIELD_WAIT_NONE);
	shared->vcpu[me].calls[phase()] += cpumask_weight(&receivers);
	wrong = find_wrong(sender, wait, report);
	preempt_enable();
	return wrong;
}

static bool check(struct dyield_smp_call_report *report)
{
	unsigned long end = jiffies + PATIENCE;
	u32 i;

	for (i = 0; i < shared->nr_vcpus; i++) {
		while (find_wrong(&senders[i], true, report)) {
			if (time_after(jiffies, end))
				return true;
			usleep_range(100, 1000);
		}
	}
	return false;
}

static long smp_call_ioctl(struct file *file, unsigned int command,
			   unsigned long argument)
{
	struct dyield_smp_call_report report;
	bool wrong;

	switch (command) {
	case DYIELD_SMP_CALL_WAIT:
	case DYIELD_SMP_CALL_NOWAIT:
		wrong = call(command == DYIELD_SMP_CALL_WAIT, &report);
		break;
	case DYIELD_SMP_CALL_CHECK:
		wrong = check(&report);
		break;
	default:
		return -ENOTTY;
	}
	if (!wrong)
		return 0;
	if (copy_to_user((void __user *)argument, &report, sizeof(report)))
		return -EFAULT;
	return -EBADMSG;
}

static const struct file_operations smp_call_operations = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = smp_call_ioctl,
};

static struct miscdevice smp_call_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dyield_smp_call",
	.fops = &smp_call_operations,
};

static int __init smp_call_init(void)
{
	int error;
	u32 i;

	shared =
		memremap(DYIELD_LINUX_SHARED_GPA, sizeof(*shared), MEMREMAP_WB);
	if (!shared)
		return -ENOMEM;
	/* Another layout would be written to as if it were this one. */
	if (shared->magic != DYIELD_ABI_MAGIC ||
	    shared->version != DYIELD_ABI_VERSION ||
	    shared->nr_vcpus != num_online_cpus() ||
	    shared->nr_vcpus > DYIELD_LINUX_MAX_VCPUS) {
		pr_err("built for another harness; build both again\n");
		memunmap(shared);
		return -EINVAL;
	}
	/* Other seeds than those of init's threads. */
	for (i = 0; i < shared->nr_vcpus; i++)
		senders[i].generator =
			shared->seed +
			((u64)(DYIELD_LINUX_MAX_VCPUS + i) << 32);
	error = misc_register(&smp_call_device);
	if (error)
		memunmap(shared);
	return error;
}

static void __exit smp_call_exit(void)
{
	misc_deregister(&smp_call_device);
	memunmap(shared);
}

module_init(smp_call_init);
module_exit(smp_call_exit);

MODULE_DESCRIPTION("Storms of smp_call_function_many() between vCPUs");
MODULE_LICENSE("GPL");
