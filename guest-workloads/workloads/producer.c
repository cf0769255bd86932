// SPDX-License-Identifier: GPL-2.0-only
/* A quarter of the vCPUs remap what the others, the consumers, read. */
#include "shootdown.h"
#include "workload.h"

static bool is_producer(u32 me)
{
	u32 producers = shared()->nr_vcpus / 4;

	return me < (producers ? producers : 1);
}

static bool uses_window(u32 me, u32 window)
{
	return is_producer(window) && !is_producer(me);
}

static void step(u32 me)
{
	struct vcpu_set consumers = {};

	for (u32 i = 0; i < shared()->nr_vcpus; i++) {
		if (!is_producer(i))
			set_add(&consumers, i);
	}
	shootdown(me, me, consumers);
}

const struct workload workload_producer = {
	.is_sender = is_producer,
	.uses_window = uses_window,
	.step = step,
};

/* Linux interrupts idle CPUs too where page tables are freed. */
const struct workload workload_producer_idle = {
	.is_sender = is_producer,
	.uses_window = uses_window,
	.step = step,
	.idles = true,
};

/* Everywhere else it spares them. */
const struct workload workload_producer_lazy = {
	.is_sender = is_producer,
	.uses_window = uses_window,
	.step = step,
	.idles = true,
	.lazy = true,
};
