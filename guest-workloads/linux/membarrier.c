// SPDX-License-Identifier: GPL-2.0-only
/*
 * membarrier(2) as it is meant to be used: a cheap side without a barrier and
 * an expensive one that has the kernel put barriers into all the others. Each
 * thread owns a place that the others enter cheaply; it closes it, lets the
 * barriers pass, waits for whoever is inside, and looks whether it is alone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "program.h"

#define VISITS 16

static struct {
	volatile u32 closed;  /* by its owner */
	volatile u32 visited; /* the place where this thread is, plus one */
	/* What it changes in each place; equal but in the midst of a visit. */
	struct {
		volatile u64 first, second;
	} mark[DYIELD_LINUX_MAX_VCPUS];
} __attribute__((aligned(64))) place[DYIELD_LINUX_MAX_VCPUS];

static long membarrier(int command)
{
	return syscall(SYS_membarrier, command, 0, 0);
}

static void membarrier_set_up(void)
{
	if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
		fail(0, "membarrier: %s", strerror(errno));
}

static void visit(u32 me, u32 other)
{
	place[me].visited = other + 1;
	/* The compiler's barrier alone: the CPU's comes from the other side. */
	atomic_signal_fence(memory_order_seq_cst);
	if (!place[other].closed) {
		place[me].mark[other].first++;
		/* A visit long enough for the bug to be found. */
		if (shared->fault == DYIELD_FAULT_LOST_CALL)
			work(me, 32);
		place[me].mark[other].second++;
	}
	atomic_signal_fence(memory_order_seq_cst);
	place[me].visited = 0;
}

static void membarrier_step(u32 me)
{
	bool lost;

	for (int i = 0; i < VISITS; i++) {
		u32 other = random_below(me, shared->nr_vcpus);

		if (other != me)
			visit(me, other);
	}
	place[me].closed = 1;
	/* In the emulator, memory is in order without a barrier, too: the loss
	 * shows only if the wait behind it is lost as well. */
	lost = fault_now(me, DYIELD_FAULT_LOST_CALL);
	if (!lost && membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED))
		fail(me, "membarrier: %s", strerror(errno));
	COUNT(me, calls);
	for (u32 i = 0; i < shared->nr_vcpus; i++) {
		while (!lost && place[i].visited == me + 1)
			sched_yield();
		if (place[i].mark[me].first != place[i].mark[me].second)
			fail(me,
			     "thread %u found thread %u inside behind its "
			     "membarrier",
			     me, i);
	}
	place[me].closed = 0;
}

const struct linux_program program_membarrier = {.set_up = membarrier_set_up,
						 .step = membarrier_step};
