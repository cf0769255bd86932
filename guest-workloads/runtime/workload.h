/* SPDX-License-Identifier: GPL-2.0-only */
/* What a workload is: one row of DYIELD_WORKLOADS, one of these. */
#ifndef DYIELD_GUEST_WORKLOAD_H
#define DYIELD_GUEST_WORKLOAD_H

#include "cpu.h"

struct workload {
	/* Does this vCPU send? The others only compute and answer. */
	bool (*is_sender)(u32 me);
	/*
	 * Does this vCPU use the window? Only then may it have the translation
	 * cached, and only then must a shootdown of the window reach it.
	 */
	bool (*uses_window)(u32 me, u32 window);
	/* Ring 0, interrupts off: one step of a sender, counted by the step. */
	void (*step)(u32 me);
};

#define X(id, name, text) extern const struct workload workload_##name;
DYIELD_WORKLOADS(X)
#undef X

/* The vCPU's own seeded generator. */
u64 random_u64(u32 me);
/* In [0, bound); bound above zero. */
static inline u64 random_below(u32 me, u64 bound)
{
	return (random_u64(me) >> 32) * bound >> 32;
}

#endif
