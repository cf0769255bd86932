// SPDX-License-Identifier: GPL-2.0-only
/* Every vCPU shoots down all the others. */
#include "shootdown.h"
#include "workload.h"

static bool is_sender(u32 me)
{
	(void)me;
	return true;
}

/* One address space, and in it a window for each sender. */
static bool uses_window(u32 me, u32 window)
{
	(void)me;
	(void)window;
	return true;
}

static void step(u32 me)
{
	struct vcpu_set receivers = {};

	for (u32 i = 0; i < shared()->nr_vcpus; i++) {
		if (i != me)
			set_add(&receivers, i);
	}
	shootdown(me, me, &receivers);
}

const struct workload workload_all_to_all = {
	.is_sender = is_sender,
	.uses_window = uses_window,
	.step = step,
};
