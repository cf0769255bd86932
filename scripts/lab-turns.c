// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into the lab's emulator: its two threads that matter take turns.
 *
 * Under -icount every vCPU runs in one thread, and time is its count of
 * instructions. The main thread also runs what is due on that clock, and winds
 * the clock on when all vCPUs sleep (QEMU's accel/tcg/icount-common.c,
 * icount_start_warp_timer(); util/main-loop.c, main_loop_wait()). It sees the
 * vCPUs halt, and the clock reach a timer, before the vCPU thread has accounted
 * for the instructions of its slice: whether it looks just then depends on the
 * host's scheduler, and shows in the guest as other times.
 *
 * So the main thread may come back from waiting for events only while the vCPU
 * thread waits to be woken. Nothing in a run needs it sooner: the machine has
 * no network, no disk and no monitor commands, and its serial ports write to
 * files.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* The vCPU thread's name in QEMU's accel/tcg/tcg-accel-ops-rr.c. */
#define VCPU_THREAD "ALL CPUs"
/* A machine that hangs must still be able to end: ask again this often. */
#define PATIENCE_S  60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
/* What the vCPU thread waits for; NULL while it runs, or has been woken. */
static const pthread_cond_t *awaited;
static bool vcpu_thread_known;

static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *);
static int (*real_signal)(pthread_cond_t *);
static int (*real_broadcast)(pthread_cond_t *);
static int (*real_ppoll)(struct pollfd *, nfds_t, const struct timespec *,
			 const sigset_t *);

/* Without its version dlsym() finds the oldest of each of these. */
static void *find(const char *name, const char *version)
{
	return dlvsym(RTLD_NEXT, name, version);
}

__attribute__((constructor)) static void find_all(void)
{
	real_wait = find("pthread_cond_wait", "GLIBC_2.3.2");
	real_signal = find("pthread_cond_signal", "GLIBC_2.3.2");
	real_broadcast = find("pthread_cond_broadcast", "GLIBC_2.3.2");
	real_ppoll = dlsym(RTLD_NEXT, "ppoll");
}

static bool in_vcpu_thread(void)
{
	static __thread int known = -1;
	char name[16] = "";

	if (known < 0) {
		prctl(PR_GET_NAME, name);
		known = !strncmp(name, VCPU_THREAD, strlen(VCPU_THREAD));
	}
	return known;
}

static void set_awaited(const pthread_cond_t *cond)
{
	pthread_mutex_lock(&lock);
	awaited = cond;
	vcpu_thread_known = true;
	real_signal(&turn);
	pthread_mutex_unlock(&lock);
}

int pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
	int result;

	if (!in_vcpu_thread())
		return real_wait(cond, mutex);
	set_awaited(cond);
	result = real_wait(cond, mutex);
	set_awaited(NULL);
	return result;
}

/* The vCPU thread's turn begins when it is woken, not when it gets a CPU. */
static void woken(const pthread_cond_t *cond)
{
	pthread_mutex_lock(&lock);
	if (awaited == cond)
		awaited = NULL;
	pthread_mutex_unlock(&lock);
}

int pthread_cond_signal(pthread_cond_t *cond)
{
	woken(cond);
	return real_signal(cond);
}

int pthread_cond_broadcast(pthread_cond_t *cond)
{
	woken(cond);
	return real_broadcast(cond);
}

int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
	  const sigset_t *mask)
{
	int result = real_ppoll(fds, count, timeout, mask);
	struct timespec until;

	if (gettid() != getpid())
		return result;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&lock);
	while (vcpu_thread_known && !awaited)
		if (pthread_cond_timedwait(&turn, &lock, &until))
			break;
	pthread_mutex_unlock(&lock);
	return result;
}
