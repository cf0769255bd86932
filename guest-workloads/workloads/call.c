// SPDX-License-Identifier: GPL-2.0-only
/* Storms of function calls between vCPUs, in the ways Linux makes them. */
#include "call.h"
#include "workload.h"

static void call_one(u32 me, u32 receiver, bool wait)
{
	struct vcpu_set receivers = {};

	set_add(&receivers, receiver);
	call_many(me, &receivers, wait);
}

static void wait_step(u32 me)
{
	call_one(me, random_other(me), true);
}

static void nowait_step(u32 me)
{
	call_one(me, random_other(me), false);
}

static void many_step(u32 me)
{
	struct vcpu_set others = all_but(me);

	call_many(me, &others, true);
}

static bool all_but_vcpu_0(u32 me)
{
	return me != 0;
}

static void to_one_step(u32 me)
{
	call_one(me, 0, true);
}

static void nested_step(u32 me)
{
	call_chain(me, random_other(me), 3);
}

const struct workload workload_call_wait = {
	.is_sender = every_vcpu,
	.step = wait_step,
};

/* Whose last IPI was a kick spins with another vector in its ICR. */
const struct workload workload_call_kicks = {
	.is_sender = every_vcpu,
	.step = wait_step,
	.tick = 1000,
	.kicks_on_tick = true,
};

const struct workload workload_call_nowait = {
	.is_sender = every_vcpu,
	.step = nowait_step,
	.stop = call_drain,
};

const struct workload workload_call_many = {
	.is_sender = every_vcpu,
	.step = many_step,
};

const struct workload workload_call_to_one = {
	.is_sender = all_but_vcpu_0,
	.step = to_one_step,
};

const struct workload workload_call_nested = {
	.is_sender = every_vcpu,
	.step = nested_step,
};
