// SPDX-License-Identifier: GPL-2.0-only
/* Guards: threads that sleep instead of spinning, and one lock for all. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

static struct {
	_Atomic u32 turn; /* even: the lower thread's */
	u32 taken[2];
} __attribute__((aligned(64))) pair[DYIELD_LINUX_MAX_VCPUS / 2];

static long futex(_Atomic u32 *word, int command, u32 value,
		  const struct timespec *timeout)
{
	return syscall(SYS_futex, word, command | FUTEX_PRIVATE_FLAG, value,
		       timeout, NULL, 0);
}

/* One turn, or a time out: the partner may have stopped. */
static void futex_step(u32 me)
{
	const struct timespec patience = {.tv_nsec = 20000000};
	u32 p = me / 2, side = me % 2, now;

	if (me == shared->nr_vcpus - 1 && side == 0)
		return; /* no partner */
	now = atomic_load(&pair[p].turn);
	if (now % 2 != side) {
		if (futex(&pair[p].turn, FUTEX_WAIT, now, &patience) &&
		    errno != EAGAIN && errno != ETIMEDOUT && errno != EINTR)
			fail(me, "futex: %s", strerror(errno));
		return;
	}
	/* Every turn of this side comes to this thread, once. */
	if (now != 2 * pair[p].taken[side] + side)
		fail(me, "thread %u had %u turns and now has turn %u", me,
		     pair[p].taken[side], now);
	pair[p].taken[side]++;
	atomic_store(&pair[p].turn,
		     now + (fault_now(me, DYIELD_FAULT_LOST_TURN) ? 3 : 1));
	COUNT(me, wakes);
	if (futex(&pair[p].turn, FUTEX_WAKE, 1, NULL) < 0)
		fail(me, "futex: %s", strerror(errno));
}

const struct linux_program program_futex = {.step = futex_step};

static pthread_mutex_t mutex;
static volatile u64 protected;

static void lock_set_up(void)
{
	pthread_mutexattr_t kind;

	pthread_mutexattr_init(&kind);
	/* It spins for a while before it sleeps. */
	pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&mutex, &kind);
}

static void lock_step(u32 me)
{
	bool locks = !fault_now(me, DYIELD_FAULT_NO_LOCK);
	u64 value;

	if (locks)
		pthread_mutex_lock(&mutex);
	value = protected;
	work(me, 16);
	protected = value + 1;
	COUNT(me, acquisitions);
	if (locks)
		pthread_mutex_unlock(&mutex);
}

static void lock_check(void)
{
	u64 all = 0;

	for (u32 i = 0; i < shared->nr_vcpus; i++)
		for (u32 p = 0; p < DYIELD_PHASES; p++)
			all += shared->vcpu[i].acquisitions[p];
	if (all != protected)
		fail(0,
		     "the lock was taken %llu times, but the counter it "
		     "protects is %llu: it did not exclude",
		     (unsigned long long)all, (unsigned long long)protected);
}

const struct linux_program program_lock = {
	.set_up = lock_set_up, .step = lock_step, .check = lock_check};
