/* SPDX-License-Identifier: GPL-2.0-only */
/* What a workload is: the program in a row of DYIELD_WORKLOADS. */
#ifndef DYIELD_GUEST_WORKLOAD_H
#define DYIELD_GUEST_WORKLOAD_H

#include "cpu.h"

/* Functions that a workload has no use for are left out. */
struct workload {
	/* Does this vCPU take steps? The others only compute and answer. */
	bool (*is_sender)(u32 me);
	/*
	 * Does this vCPU use the window? Only then may it have the translation
	 * cached, and only then must a shootdown of the window reach it.
	 */
	bool (*uses_window)(u32 me, u32 window);
	/* Ring 0, interrupts off: one step of a sender, counted by the step. */
	void (*step)(u32 me);
	/* Ring 0, interrupts off: before a vCPU stops, whatever of its own is
	 * still under way. */
	void (*stop)(u32 me);
	/* Once, when every vCPU has stopped: fail() unless all is as it must
	 * be. */
	void (*verify)(void);
	/* DYIELD_VECTOR_WAKE has been taken, at that TSC value. */
	void (*woken)(u32 me, u64 entered);
	/* An interrupt or exception that has no handler: true if it has now. */
	bool (*unexpected)(u32 me, struct frame *frame);
	/* Microseconds from one tick of each vCPU's timer to the next. */
	u32 tick;
	/*
	 * IPIs that nobody waits for, to a random vCPU: one at first, so that
	 * each vCPU has sent a last one as in any guest that has run for a
	 * while, and one each tick, like a scheduler's.
	 */
	bool kicks_once, kicks_on_tick;
	/* vCPUs that take no steps halt every now and then, and while they do,
	 * IPIs are sent to them (they wake up) or not (lazy). */
	bool idles, lazy;
};

#define X(id, name, group, program, way, does, beside, text) \
	extern const struct workload workload_##program;
DYIELD_WORKLOADS(X)
#undef X

enum dyield_way way_of_sending(void);

/* Is it this vCPU's turn to have the bug? Every 8th time that it is asked. */
bool fault_now(u32 me, enum dyield_fault fault);

/* Sends a random vCPU an IPI that nobody waits for. */
void kick_other(u32 me);

/* So much work in ring 0, in the unit of ring 3's. */
void compute(u32 units);

/* The vCPU's own seeded generator. */
u64 random_u64(u32 me);
/* In [0, bound); bound above zero. */
static inline u64 random_below(u32 me, u64 bound)
{
	return (random_u64(me) >> 32) * bound >> 32;
}

/* Any vCPU but this one, of two or more. */
static inline u32 random_other(u32 me)
{
	return (me + 1 + random_below(me, shared()->nr_vcpus - 1)) %
	       shared()->nr_vcpus;
}

static inline bool every_vcpu(u32 me)
{
	(void)me;
	return true;
}

/* One address space, and in it a window for each sender. */
static inline bool every_window(u32 me, u32 window)
{
	(void)me;
	(void)window;
	return true;
}

static inline bool vcpu_0(u32 me)
{
	return me == 0;
}

#endif
