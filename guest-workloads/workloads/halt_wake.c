// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pairs of vCPUs take turns: each wakes its partner by an IPI and halts until
 * it is woken. Without a partner, the last of an odd number computes.
 */
#include "wait.h"
#include "workload.h"

/* Of each pair: how many turns there have been. Even: the even vCPU's turn. */
static u64 turns[DYIELD_MAX_VCPUS + 1][8] __attribute__((aligned(64)));

/* The turn that each vCPU has next. */
static u64 next_turn[DYIELD_MAX_VCPUS + 1];

static u64 *turn_of(u32 me)
{
	return &turns[me / 2][0];
}

static bool has_partner(u32 me)
{
	return (me ^ 1) < shared()->nr_vcpus;
}

static bool my_turn(u32 me)
{
	return (__atomic_load_n(turn_of(me), __ATOMIC_ACQUIRE) & 1) == (me & 1);
}

static void wake_partner(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct vcpu_set partner = {};

	set_add(&partner, me ^ 1);
	WRITE_ONCE(vcpu->sent, rdtsc());
	vcpu->ipis_sent[READ_ONCE(shared()->phase)] +=
		ipi_send(me, &partner, DYIELD_VECTOR_WAKE);
}

static void step(u32 me)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	struct vcpu_set partner = {};
	u64 turn, expected = next_turn[me] + (me & 1);

	set_add(&partner, me ^ 1);
	wait_publish(vcpu, DYIELD_WAIT_HALT, &partner);
	/* A partner that has stopped will not give the turn back. */
	while (!my_turn(me) && !READ_ONCE(sh->vcpu[me ^ 1].done)) {
		irq_enable_and_halt();
		irq_disable();
	}
	wait_end(vcpu);
	if (!my_turn(me))
		return;

	turn = READ_ONCE(*turn_of(me));
	if (turn != expected)
		fail(DYIELD_ERROR_TURN, me ^ 1, expected, turn, 0);
	next_turn[me] += 2;
	__atomic_store_n(turn_of(me),
			 turn + (fault_now(me, DYIELD_FAULT_LOST_TURN) ? 3 : 1),
			 __ATOMIC_SEQ_CST);
	vcpu->wakes[READ_ONCE(sh->phase)]++;
	wake_partner(me);
}

static void woken(u32 me, u64 entered)
{
	struct dyield_shared *sh = shared();

	latency_add(&sh->vcpu[me], DYIELD_LATENCY_HANDLER,
		    READ_ONCE(sh->vcpu[me ^ 1].sent), entered);
}

static void stop(u32 me)
{
	if (!has_partner(me))
		return;
	WRITE_ONCE(shared()->vcpu[me].done, 1);
	wake_partner(me);
}

const struct workload workload_halt_wake = {
	.is_sender = has_partner,
	.step = step,
	.stop = stop,
	.woken = woken,
};
