// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into the lab's emulator while it boots: makes the pause for the
 * snapshot (lab-agent.c) the same one each time.
 *
 * Under -icount every vCPU runs in one thread, and time is its count of
 * instructions. Another thread, the main one, winds the clock on to the next
 * timer when all vCPUs sleep (QEMU's accel/tcg/icount-common.c,
 * icount_start_warp_timer()). It takes a vCPU that has asked for the pause for
 * one that sleeps, so it may do that once more before it stops the machine: or
 * not, as the host's scheduler has it, and all that follows the snapshot would
 * be half a millisecond later.
 *
 * So from the agent's mark on, the main thread may come back from waiting for
 * events only while the vCPU thread waits to be woken. (Not before that: in
 * some boots the vCPU thread spins until the main thread has done something.)
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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/*
 * The vCPU thread's name in QEMU's accel/tcg/tcg-accel-ops-rr.c; it has it with
 * -name debug-threads=on only.
 */
#define VCPU_THREAD "ALL CPUs"
/* What the agent sends to a serial port, and nobody else. */
#define MARK	    5
/* A machine that hangs must still be able to end: ask again this often. */
#define PATIENCE_S  60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
/* What the vCPU thread waits for; NULL while it runs, or has been woken. */
static const pthread_cond_t *awaited;
static bool marked;

static int (*real_wait)(pthread_cond_t *, pthread_mutex_t *);
static int (*real_signal)(pthread_cond_t *);
static int (*real_broadcast)(pthread_cond_t *);
static ssize_t (*real_writev)(int, const struct iovec *, int);
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
	real_writev = dlsym(RTLD_NEXT, "writev");
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

/* A serial port writes each byte that it gets, in the vCPU thread. */
ssize_t writev(int fd, const struct iovec *vector, int count)
{
	if (count == 1 && vector->iov_len == 1 &&
	    *(const char *)vector->iov_base == MARK && in_vcpu_thread()) {
		/* scripts/lab looks for it: without the name it is not seen. */
		fputs("lab-turns: marked\n", stderr);
		pthread_mutex_lock(&lock);
		marked = true;
		pthread_mutex_unlock(&lock);
	}
	return real_writev(fd, vector, count);
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
	while (marked && !awaited)
		if (pthread_cond_timedwait(&turn, &lock, &until))
			break;
	pthread_mutex_unlock(&lock);
	return result;
}
