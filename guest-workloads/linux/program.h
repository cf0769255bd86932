/* SPDX-License-Identifier: GPL-2.0-only */
/* What a Linux workload is: the program in a row of DYIELD_LINUX_WORKLOADS. */
#ifndef DYIELD_PROGRAM_H
#define DYIELD_PROGRAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "dyield_abi.h"

typedef uint32_t u32;
typedef uint64_t u64;

struct linux_program {
	/* Before there are threads; or NULL. */
	void (*set_up)(void);
	/*
	 * What thread `me`, on the vCPU of that number, does between units of
	 * work, over and over; counts it; fails if it did not come about.
	 */
	void (*step)(u32 me);
	/* When all threads have ended; or NULL. */
	void (*check)(void);
	/* Do only thread 0's steps matter? The others then take no time to
	 * think before each. */
	bool one_sender;
	/* May its threads leave their vCPUs? */
	bool roams;
	/* Is it the one that counts the calls that ran? Else the kernel's
	 * account stands for them, of the IPIs that they came by. */
	bool counts_calls_run;
	/* Are the other vCPUs for what thread 0 starts? Then no thread
	 * computes. */
	bool alone;
};

#define X(id, name, group, program, way, does, beside, text) \
	extern const struct linux_program program_##program;
DYIELD_LINUX_WORKLOADS(X)
#undef X

/* The structure that the harness reads and the phase that it sets. */
extern struct dyield_shared *shared;
u32 phase(void);

/* Adds one to the thread's count in this phase. */
#define COUNT(me, field) (shared->vcpu[me].field[phase()]++)

/* Tells the harness why the run cannot go on, as part of a sentence. */
void fail(u32 me, const char *format, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* A 4 KiB page for each thread, with a hole behind it, so that no two of them
 * are one mapping. */
char *page_of(u32 thread);
#define PAGE_BYTES 4096

/* Is it time for this deliberate bug? Every 8th time that it is asked. */
bool fault_now(u32 me, enum dyield_fault fault);

/* Units of work, counted as such. */
void work(u32 me, u32 units);
/* The thread's own seeded generator; in [0, bound), bound above zero. */
u64 random_u64(u32 me);
u32 random_below(u32 me, u32 bound);

#endif
