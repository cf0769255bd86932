// SPDX-License-Identifier: GPL-2.0-only
/* Every vCPU shoots down all the others; with a tick, too. */
#include "shootdown.h"
#include "workload.h"

static void step(u32 me)
{
	shootdown(me, me, all_but(me));
}

const struct workload workload_all_to_all = {
	.is_sender = every_vcpu,
	.uses_window = every_window,
	.step = step,
};

const struct workload workload_timer = {
	.is_sender = every_vcpu,
	.uses_window = every_window,
	.step = step,
	.tick = 1000,
};
