// SPDX-License-Identifier: GPL-2.0-only
/* vCPU 0 shoots down one random receiver at a time; the others compute. */
#include "shootdown.h"
#include "workload.h"

static bool is_sender(u32 me)
{
	return me == 0;
}

static void step(u32 me)
{
	struct vcpu_set receivers = {};

	set_add(&receivers, 1 + random_below(me, shared()->nr_vcpus - 1));
	shootdown(me, &receivers);
}

const struct workload workload_unicast = {is_sender, step};
