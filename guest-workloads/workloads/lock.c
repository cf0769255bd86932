// SPDX-License-Identifier: GPL-2.0-only
/* One lock for all vCPUs, alone or with shootdowns. */
#include "lock.h"
#include "workload.h"

/* Units of work under the lock: the holder must get preempted now and then, and
 * four vCPUs must not spend all their time in the queue. */
static u32 held(void)
{
	return 1 + shared()->think / 16;
}

static void ticket_step(u32 me)
{
	critical_section(me, &ticket_lock, held(), 0);
}

static void mcs_step(u32 me)
{
	critical_section(me, &mcs_lock, held(), 0);
}

/*
 * As a scheduler does: an IPI that asks another CPU to look at its queue, and
 * then a queue's lock with interrupts off. Whoever waits for the lock has sent
 * the vector that its fellows have pending, but waits for none of them: they
 * cannot take it.
 */
static void irqs_off_step(u32 me)
{
	kick_other(me);
	critical_section(me, &irqs_off_lock, held(), 0);
}

static void mixed_step(u32 me)
{
	switch (random_below(me, 4)) {
	case 0:
		workload_all_to_all.step(me);
		return;
	case 1:
		/* As when a page table's lock is held over the flush. */
		critical_section(me, &ticket_lock, held(),
				 workload_all_to_all.step);
		return;
	default:
		critical_section(me, &ticket_lock, held(), 0);
	}
}

const struct workload workload_lock_ticket = {
	.is_sender = every_vcpu,
	.step = ticket_step,
	.verify = lock_verify,
	.kicks_once = true,
};

const struct workload workload_lock_mcs = {
	.is_sender = every_vcpu,
	.step = mcs_step,
	.verify = lock_verify,
	.kicks_once = true,
};

const struct workload workload_lock_irqs_off = {
	.is_sender = every_vcpu,
	.step = irqs_off_step,
	.verify = lock_verify,
};

const struct workload workload_lock_and_ipi = {
	.is_sender = every_vcpu,
	.uses_window = every_window,
	.step = mixed_step,
	.verify = lock_verify,
};
