// SPDX-License-Identifier: GPL-2.0-only
/* vCPU 0 shoots down one random receiver at a time; the others compute. */
#include "shootdown.h"
#include "workload.h"

static bool is_sender(u32 me)
{
	return me == 0;
}

/* Each receiver has a window to itself: an address space of its own. */
static bool uses_window(u32 me, u32 window)
{
	return me == window;
}

static void step(u32 me)
{
	u32 receiver = 1 + random_below(me, shared()->nr_vcpus - 1);
	struct vcpu_set receivers = {};

	set_add(&receivers, receiver);
	shootdown(me, receiver, &receivers);
}

const struct workload workload_unicast = {
	.is_sender = is_sender,
	.uses_window = uses_window,
	.step = step,
};
