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
};

const struct workload workload_lock_mcs = {
	.is_sender = every_vcpu,
	.step = mcs_step,
	.verify = lock_verify,
};

const struct workload workload_lock_and_ipi = {
	.is_sender = every_vcpu,
	.uses_window = every_window,
	.step = mixed_step,
	.verify = lock_verify,
};
