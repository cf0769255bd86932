// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLB shootdowns by system calls. Each thread has a page that the others read
 * (or, for mprotect, write), so that their vCPUs hold its translation.
 *
 * A discarded page comes back as zero, and then gets the next generation. Its
 * owner says which generation is gone once the call has returned: whoever reads
 * that one afterwards read it through a TLB entry that should be gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "program.h"

static struct {
	_Atomic u64 gone;
	u64 generation;
} __attribute__((aligned(64))) owner[DYIELD_LINUX_MAX_VCPUS];

static volatile u64 *cell(u32 thread)
{
	return (volatile u64 *)page_of(thread);
}

static void look(u32 me)
{
	u32 other = random_below(me, shared->nr_vcpus);
	u64 gone = atomic_load(&owner[other].gone), seen = *cell(other);

	if (seen && seen <= gone)
		fail(me,
		     "thread %u read generation %llu of thread %u's page after "
		     "generation %llu was gone, so a TLB entry outlived its "
		     "shootdown",
		     me, (unsigned long long)seen, other,
		     (unsigned long long)gone);
	COUNT(me, checks);
}

static int discard_by_mapping(char *page)
{
	return mmap(page, PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == page
		       ? 0
		       : -1;
}

/* Whoever reads meanwhile gets a signal, and tries again: on_fault(). */
static int discard_by_unmapping(char *page)
{
	if (munmap(page, PAGE_BYTES))
		return -1;
	return mmap(page, PAGE_BYTES, PROT_READ | PROT_WRITE,
		    MAP_FIXED_NOREPLACE | MAP_PRIVATE | MAP_ANONYMOUS, -1,
		    0) == page
		       ? 0
		       : -1;
}

static int discard_by_advice(char *page)
{
	return madvise(page, PAGE_BYTES, MADV_DONTNEED);
}

static void discard(u32 me, int (*call)(char *page))
{
	u64 old = owner[me].generation;

	if (shared->fault == DYIELD_FAULT_EARLY_FREE)
		atomic_store(&owner[me].gone, old);
	if (call(page_of(me)))
		fail(me, "the call that discards a page failed: %s",
		     strerror(errno));
	atomic_store(&owner[me].gone, old);
	if (*cell(me))
		fail(me, "a discarded page still holds %llu",
		     (unsigned long long)*cell(me));
	*cell(me) = owner[me].generation = old + 1;
	COUNT(me, shootdowns);
}

static void munmap_step(u32 me)
{
	if (me == 0)
		discard(me, discard_by_mapping);
	else
		look(me);
}

static void munmap_all_step(u32 me)
{
	discard(me, discard_by_mapping);
	look(me);
}

static void unmap_step(u32 me)
{
	if (me == 0)
		discard(me, discard_by_unmapping);
	else
		look(me);
}

static void madvise_step(u32 me)
{
	if (me == 0)
		discard(me, discard_by_advice);
	else
		look(me);
}

static void madvise_all_step(u32 me)
{
	discard(me, discard_by_advice);
	look(me);
}

const struct linux_program program_munmap = {.step = munmap_step,
					     .one_sender = true};
const struct linux_program program_munmap_all = {.step = munmap_all_step};
const struct linux_program program_madvise = {.step = madvise_step,
					      .one_sender = true};
const struct linux_program program_madvise_all = {.step = madvise_all_step};

/* To the next CPU: the one left behind keeps the translations for a while. */
static void migrate_step(u32 me)
{
	u32 target =
		(sched_getcpu() + 1 + random_below(me, shared->nr_vcpus - 1)) %
		shared->nr_vcpus;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(target, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		fail(me, "sched_setaffinity: %s", strerror(errno));
	if ((u32)sched_getcpu() != target)
		fail(me, "thread %u is on CPU %d and was moved to %u", me,
		     sched_getcpu(), target);
	discard(me, discard_by_advice);
	look(me);
}

const struct linux_program program_migrate = {.step = migrate_step,
					      .roams = true};

/* A page is protected or unmapped right now: try again, when it is not. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
	const char *at = info->si_addr;

	(void)signal, (void)context;
	if (at < page_of(0) || at >= page_of(shared->nr_vcpus))
		fail(0, "the program used address %p, which is not its own",
		     at);
	sched_yield();
}

static void retry_set_up(void)
{
	struct sigaction action = {.sa_sigaction = on_fault,
				   .sa_flags = SA_SIGINFO | SA_NODEFER};

	sigaction(SIGSEGV, &action, NULL);
}

static void scribble(u32 me)
{
	u32 other = random_below(me, shared->nr_vcpus);

	if (other == me)
		return;
	*cell(other) = random_u64(me);
	COUNT(me, checks);
}

/* What nobody may write must stay as it is. */
static void protect(u32 me)
{
	u64 before, after;

	before = *cell(me);
	if (mprotect(page_of(me), PAGE_BYTES, PROT_READ))
		fail(me, "mprotect: %s", strerror(errno));
	if (shared->fault != DYIELD_FAULT_EARLY_FREE)
		before = *cell(me);
	work(me, 16);
	after = *cell(me);
	if (before != after)
		fail(me,
		     "thread %u's page changed from %llx to %llx after "
		     "mprotect() had made it read-only, so a TLB entry "
		     "outlived its shootdown",
		     me, (unsigned long long)before, (unsigned long long)after);
	if (mprotect(page_of(me), PAGE_BYTES, PROT_READ | PROT_WRITE))
		fail(me, "mprotect: %s", strerror(errno));
	COUNT(me, shootdowns);
}

static void mprotect_step(u32 me)
{
	if (me == 0)
		protect(me);
	else
		scribble(me);
}

static void mprotect_all_step(u32 me)
{
	protect(me);
	scribble(me);
}

const struct linux_program program_mprotect = {
	.set_up = retry_set_up, .step = mprotect_step, .one_sender = true};
const struct linux_program program_mprotect_all = {.set_up = retry_set_up,
						   .step = mprotect_all_step};
const struct linux_program program_unmap = {
	.set_up = retry_set_up, .step = unmap_step, .one_sender = true};
