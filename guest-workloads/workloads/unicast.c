// SPDX-License-Identifier: GPL-2.0-only
/* One receiver at a time: a random one, always the same, or the next in a ring.
 */
#include "shootdown.h"
#include "workload.h"

/* Each receiver has a window to itself: an address space of its own. */
static bool uses_window(u32 me, u32 window)
{
	return me == window;
}

static void shoot_down(u32 me, u32 receiver)
{
	struct vcpu_set receivers = {};

	set_add(&receivers, receiver);
	shootdown(me, receiver, receivers);
}

static void random_step(u32 me)
{
	shoot_down(me, random_other(me));
}

static void fixed_step(u32 me)
{
	shoot_down(me, 1);
}

static void ring_step(u32 me)
{
	shoot_down(me, (me + 1) % shared()->nr_vcpus);
}

const struct workload workload_unicast_random = {
	.is_sender = vcpu_0,
	.uses_window = uses_window,
	.step = random_step,
};

/*
 * Do vCPUs whose tick is due while they wait for a CPU pass for receivers? KVM
 * keeps it apart from the IRR until the vCPU runs
 * (kvm_inject_pending_timer_irqs() in arch/x86/kvm/lapic.c).
 */
const struct workload workload_unicast_ticks = {
	.is_sender = vcpu_0,
	.uses_window = uses_window,
	.step = random_step,
	.tick = 1000,
};

/* Do vCPUs pass for receivers that have another one's IPI pending? */
const struct workload workload_unicast_kicks = {
	.is_sender = vcpu_0,
	.uses_window = uses_window,
	.step = random_step,
	.tick = 1000,
	.kicks_on_tick = true,
};

const struct workload workload_unicast_fixed = {
	.is_sender = vcpu_0,
	.uses_window = uses_window,
	.step = fixed_step,
};

const struct workload workload_unicast_ring = {
	.is_sender = every_vcpu,
	.uses_window = uses_window,
	.step = ring_step,
};
