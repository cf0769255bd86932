// SPDX-License-Identifier: GPL-2.0-only
/* vCPU 0 shoots down all the others, or some; the others compute. */
#include "shootdown.h"
#include "workload.h"

static bool uses_window_0(u32 me, u32 window)
{
	(void)me;
	return window == 0;
}

static void broadcast_step(u32 me)
{
	shootdown(me, 0, all_but(me));
}

/*
 * About half of the receivers share each window: address spaces of several
 * threads. Which ones is scattered, but the same in every run.
 */
static bool uses_window_of_some(u32 me, u32 window)
{
	if (me == 0 || window == 0)
		return false;
	return me == window || ((me + window) * 2654435769u >> 30 & 1);
}

static void multicast_step(u32 me)
{
	u32 window = random_other(me);
	struct vcpu_set receivers = {};

	for (u32 i = 1; i < shared()->nr_vcpus; i++) {
		if (uses_window_of_some(i, window))
			set_add(&receivers, i);
	}
	shootdown(me, window, receivers);
}

const struct workload workload_broadcast = {
	.is_sender = vcpu_0,
	.uses_window = uses_window_0,
	.step = broadcast_step,
};

const struct workload workload_multicast = {
	.is_sender = vcpu_0,
	.uses_window = uses_window_of_some,
	.step = multicast_step,
};
