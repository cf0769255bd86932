/* SPDX-License-Identifier: GPL-2.0-only */
/* Waits that others can see, and how long the waited-for takes. */
#ifndef DYIELD_GUEST_WAIT_H
#define DYIELD_GUEST_WAIT_H

#include "ipi.h"

/*
 * Publishes the set. The kind comes first: whoever finds a bit of the set finds
 * its kind, and what was written before this call.
 */
static inline void wait_publish(struct dyield_vcpu *vcpu, enum dyield_wait kind,
				const struct vcpu_set *awaited)
{
	__atomic_store_n(&vcpu->wait_kind, kind, __ATOMIC_RELEASE);
	for (int i = 0; i < DYIELD_SET_WORDS; i++)
		__atomic_store_n(&vcpu->waiting_for[i], awaited->word[i],
				 __ATOMIC_SEQ_CST);
}

static inline void wait_end(struct dyield_vcpu *vcpu)
{
	const struct vcpu_set nobody = {};

	wait_publish(vcpu, DYIELD_WAIT_NONE, &nobody);
}

/* For a receiver: takes itself out of the set; was it still there? */
static inline bool wait_answer(struct dyield_vcpu *sender, u32 me)
{
	u64 bit = 1ULL << me % 64;

	return __atomic_fetch_and(&sender->waiting_for[me / 64], ~bit,
				  __ATOMIC_SEQ_CST) &
	       bit;
}

static inline bool wait_over(const struct dyield_vcpu *vcpu)
{
	u64 waiting = 0;

	for (int i = 0; i < DYIELD_SET_WORDS; i++)
		waiting |= __atomic_load_n(&vcpu->waiting_for[i],
					   __ATOMIC_ACQUIRE);
	return !waiting;
}

/* Spins while the condition holds, with interrupts as they are. */
#define spin_as_is_while(vcpu, condition)                             \
	do {                                                          \
		u64 pauses = 0;                                       \
                                                                      \
		while (condition) {                                   \
			pause();                                      \
			pauses++;                                     \
		}                                                     \
		(vcpu)->pauses[READ_ONCE(shared()->phase)] += pauses; \
	} while (0)

/*
 * The same with interrupts on, as Linux waits: what others ask of this vCPU
 * must be answered while it waits.
 */
#define spin_while(vcpu, condition)                \
	do {                                       \
		irq_enable();                      \
		spin_as_is_while(vcpu, condition); \
		irq_disable();                     \
	} while (0)

/* Counts one latency, from an IPI sent at one TSC value to an event at another.
 */
static inline void latency_add(struct dyield_vcpu *vcpu,
			       enum dyield_latency which, u64 from, u64 to)
{
	u64 ticks = to - from;
	u32 bucket = ticks ? 64 - __builtin_clzll(ticks) : 0;

	if (READ_ONCE(shared()->phase) != DYIELD_PHASE_MEASURE)
		return;
	if (from > to) {
		vcpu->answered_early++;
		return;
	}
	if (bucket >= DYIELD_LATENCY_BUCKETS)
		bucket = DYIELD_LATENCY_BUCKETS - 1;
	/* One that is full stays so, to be seen. */
	vcpu->latency[which][bucket] += !!~vcpu->latency[which][bucket];
}

#endif
