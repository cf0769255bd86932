// SPDX-License-Identifier: GPL-2.0-only
/*
 * PID 1 of a Linux guest: maps the shared structure, starts one thread on each
 * vCPU, and keeps to the contract of dyield_abi.h as the payload does.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "program.h"

struct dyield_shared *shared;

static const struct linux_program *const programs[] = {
#define X(id, name, group, program, way, does, beside, text) \
	[DYIELD_WORKLOAD_##id] = &program_##program,
	DYIELD_LINUX_WORKLOADS(X)
#undef X
};
static const struct linux_program *program;

static sem_t measuring;
static char *pages;
static struct {
	u64 generator;
	volatile u64 sink; /* so that the work is not optimized away */
	u32 faults_asked;
} __attribute__((aligned(64))) own[DYIELD_LINUX_MAX_VCPUS];

u32 phase(void)
{
	return __atomic_load_n(&shared->phase, __ATOMIC_ACQUIRE) &
	       (DYIELD_PHASES - 1);
}

/* Without the shared structure there is the console only. */
static void give_up(const char *what)
{
	printf("dyield init: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	reboot(RB_AUTOBOOT);
	_exit(1);
}

void fail(u32 me, const char *format, ...)
{
	static atomic_flag failed = ATOMIC_FLAG_INIT;
	va_list arguments;

	while (atomic_flag_test_and_set(&failed))
		pause(); /* the first one is the cause */
	va_start(arguments, format);
	vsnprintf(shared->error.text, sizeof(shared->error.text), format,
		  arguments);
	va_end(arguments);
	shared->error.vcpu = me;
	__atomic_store_n(&shared->error.code, DYIELD_ERROR_PROGRAM,
			 __ATOMIC_RELEASE);
	outl(me, DYIELD_PORT_FAULT);
	for (;;)
		pause();
}

bool fault_now(u32 me, enum dyield_fault fault)
{
	return shared->fault == fault && !(++own[me].faults_asked % 8);
}

char *page_of(u32 thread)
{
	return pages + (size_t)thread * 2 * PAGE_BYTES;
}

/* splitmix64 (Steele, Lea and Flood, 2014), as in the payload. */
u64 random_u64(u32 me)
{
	u64 z = own[me].generator += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

u32 random_below(u32 me, u32 bound)
{
	return (random_u64(me) >> 32) * bound >> 32;
}

void work(u32 me, u32 units)
{
	u64 x = own[me].sink | 1;

	for (u32 i = 0; i < units; i++) {
		for (u32 step = 0; step < shared->unit; step++)
			x = x * 6364136223846793005 + 1442695040888963407;
		COUNT(me, work);
	}
	own[me].sink = x;
}

static void compute_step(u32 me)
{
	work(me, 1);
}

const struct linux_program program_compute = {.step = compute_step};

static void *thread_main(void *argument)
{
	u32 me = (uintptr_t)argument;
	struct dyield_vcpu *vcpu = &shared->vcpu[me];
	const struct timespec wait = {.tv_nsec = 1000000};
	const struct timespec idle = {.tv_nsec = 10000000};
	bool sends = !program->one_sender || me == 0;
	u32 now;

	vcpu->up = 1;
	if (__atomic_add_fetch(&shared->nr_up, 1, __ATOMIC_ACQ_REL) ==
	    shared->nr_vcpus)
		outl(me, DYIELD_PORT_READY);
	while (phase() == DYIELD_PHASE_BOOT)
		nanosleep(&wait, NULL);
	for (bool told = false; (now = phase()) != DYIELD_PHASE_STOP;) {
		if (me == 0 && now == DYIELD_PHASE_MEASURE && !told) {
			sem_post(&measuring);
			told = true;
		}
		if (program->alone && me) {
			nanosleep(&idle, NULL);
			continue;
		}
		if (!program->alone)
			work(me, sends ? random_below(me, 2 * shared->think + 1)
				       : 1);
		program->step(me);
		vcpu->progress++;
	}
	if (me == 0)
		sem_post(&measuring); /* also if it saw no such phase */
	vcpu->done = 1;
	__atomic_add_fetch(&shared->nr_done, 1, __ATOMIC_ACQ_REL);
	return NULL;
}

/* IPIs that each CPU has taken so far, by the kernel's own account: shootdowns,
 * and other calls of functions. */
struct ipis {
	u64 tlb[DYIELD_LINUX_MAX_VCPUS], call[DYIELD_LINUX_MAX_VCPUS];
};

static void read_ipis(struct ipis *ipis)
{
	static char line[DYIELD_LINUX_MAX_VCPUS * 16];
	FILE *table = fopen("/proc/interrupts", "re");

	if (!table)
		fail(0, "it cannot open /proc/interrupts: %s", strerror(errno));
	while (fgets(line, sizeof(line), table)) {
		char *at = line + strspn(line, " ");
		u64 *counts = !strncmp(at, "TLB:", 4)	? ipis->tlb
			      : !strncmp(at, "CAL:", 4) ? ipis->call
							: NULL;

		for (u32 i = 0; counts && i < shared->nr_vcpus; i++)
			counts[i] = strtoull(i ? at : at + 4, &at, 10);
	}
	fclose(table);
}

static void map_shared(void)
{
	int memory;

	mount("dev", "/dev", "devtmpfs", 0, NULL);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sys", "/sys", "sysfs", 0, NULL);
	memory = open("/dev/mem", O_RDWR | O_CLOEXEC);
	if (memory < 0)
		give_up("cannot open /dev/mem (CONFIG_DEVMEM)");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED,
		      memory, DYIELD_LINUX_SHARED_GPA);
	if (shared == MAP_FAILED)
		give_up("cannot map the harness's structure from /dev/mem");
	close(memory);
	if (ioperm(DYIELD_PORT_READY, DYIELD_PORT_FAULT + 4 - DYIELD_PORT_READY,
		   1))
		give_up("cannot reach the doorbells (CONFIG_X86_IOPL_IOPERM)");
}

int main(void)
{
	static struct ipis at_start, at_measure, at_end;
	static pthread_t threads[DYIELD_LINUX_MAX_VCPUS];
	u32 nr;
	long online;

	map_shared();
	nr = shared->nr_vcpus;
	if (shared->magic != DYIELD_ABI_MAGIC ||
	    shared->version != DYIELD_ABI_VERSION ||
	    nr > DYIELD_LINUX_MAX_VCPUS) {
		shared->error.detail[0] = shared->magic;
		shared->error.detail[1] = shared->version;
		shared->error.code = DYIELD_ERROR_ABI;
		outl(0, DYIELD_PORT_FAULT);
		for (;;)
			pause();
	}
	if (shared->workload < sizeof(programs) / sizeof(programs[0]))
		program = programs[shared->workload];
	if (!program)
		fail(0, "it does not know workload %u", shared->workload);
	online = sysconf(_SC_NPROCESSORS_ONLN);
	if (online != nr)
		fail(0, "Linux brought up %ld of %u vCPUs", online, nr);

	pages = mmap(NULL, (size_t)nr * 2 * PAGE_BYTES, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED)
		fail(0, "no memory for its pages: %s", strerror(errno));
	for (u32 i = 0; i < nr; i++) {
		own[i].generator = shared->seed + ((u64)i << 32);
		if (mprotect(page_of(i), PAGE_BYTES, PROT_READ | PROT_WRITE))
			fail(0, "mprotect: %s", strerror(errno));
		*(u64 *)page_of(i) = 0;
	}
	if (program->set_up)
		program->set_up();
	sem_init(&measuring, 0, 0);
	for (u32 i = 0; i < nr; i++) {
		pthread_attr_t attributes;
		cpu_set_t set;
		int error;

		CPU_ZERO(&set);
		CPU_SET(i, &set);
		pthread_attr_init(&attributes);
		pthread_attr_setstacksize(&attributes, 65536);
		if (!program->roams)
			pthread_attr_setaffinity_np(&attributes, sizeof(set),
						    &set);
		error = pthread_create(&threads[i], &attributes, thread_main,
				       (void *)(uintptr_t)i);
		if (error)
			fail(i, "pthread_create: %s", strerror(error));
		pthread_attr_destroy(&attributes);
	}

	read_ipis(&at_start);
	sem_wait(&measuring);
	read_ipis(&at_measure);
	for (u32 i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	read_ipis(&at_end);
	for (u32 i = 0; i < nr; i++) {
		struct dyield_vcpu *vcpu = &shared->vcpu[i];

		vcpu->flushes[DYIELD_PHASE_WARMUP] =
			at_measure.tlb[i] - at_start.tlb[i];
		vcpu->flushes[DYIELD_PHASE_MEASURE] =
			at_end.tlb[i] - at_measure.tlb[i];
		if (program->counts_calls_run)
			continue;
		vcpu->calls_run[DYIELD_PHASE_WARMUP] =
			at_measure.call[i] - at_start.call[i];
		vcpu->calls_run[DYIELD_PHASE_MEASURE] =
			at_end.call[i] - at_measure.call[i];
	}
	if (program->check)
		program->check();
	outl(0, DYIELD_PORT_DONE);
	for (;;)
		pause();
}
