/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract between the guest payload and the harness: where things are in
 * guest memory, and the one structure that both sides read and write.
 *
 * Compiled as C by the guest and by the BPF programs, as C++20 by the harness.
 * Any change to the layout or to the meaning of a field bumps
 * DYIELD_ABI_VERSION; the harness refuses a payload of another version.
 */
#ifndef DYIELD_ABI_H
#define DYIELD_ABI_H

#define DYIELD_ABI_MAGIC	0x64596c6449654c44ULL
#define DYIELD_ABI_VERSION	1

/*
 * Guest physical layout, one memory slot from 0. Everything below
 * DYIELD_WINDOW_VA is mapped one to one with 2 MiB pages, user accessible.
 *
 *   0x001000  page tables, written by the harness before the first entry
 *   0x100000  the payload's ELF segments
 *   0x400000  struct dyield_shared
 *   0x600000  kernel stacks, DYIELD_STACK_SIZE a vCPU, then user stacks
 *   0xc00000  shootdown frames, two 4 KiB frames a window
 */
#define DYIELD_MEMORY_SIZE	0x1000000ULL
#define DYIELD_PML4_GPA		0x1000ULL
#define DYIELD_PDPT_GPA		0x2000ULL
#define DYIELD_PD_GPA		0x3000ULL
#define DYIELD_WINDOW_PD_GPA	0x4000ULL
#define DYIELD_WINDOW_PT_GPA	0x5000ULL
#define DYIELD_IMAGE_GPA	0x100000ULL
#define DYIELD_IMAGE_END_GPA	0x400000ULL
#define DYIELD_SHARED_GPA	0x400000ULL
#define DYIELD_KSTACK_GPA	0x600000ULL
#define DYIELD_USTACK_GPA	0x800000ULL
#define DYIELD_STACK_SIZE	0x2000ULL
#define DYIELD_FRAME_GPA	0xc00000ULL

/* Virtual address of the shootdown windows, as many 4 KiB pages as vCPUs. */
#define DYIELD_WINDOW_VA	0x40000000ULL

#define DYIELD_MAX_VCPUS	255

/* Interrupt vectors of the payload. */
#define DYIELD_VECTOR_SHOOTDOWN 0xf0
#define DYIELD_VECTOR_START	0xe0
#define DYIELD_VECTOR_SPURIOUS	0xff

/*
 * Doorbells, written by the guest with OUT (32 bit), value = vCPU index.
 * READY: every vCPU is up, its APIC enabled. DONE: every vCPU has stopped and
 * no shootdown is under way. FAULT: the error record below has been filled in.
 */
#define DYIELD_PORT_READY	0xd0
#define DYIELD_PORT_DONE	0xd4
#define DYIELD_PORT_FAULT	0xd8

/*
 * The run's phase, written by the harness alone. Guest and BPF programs bin
 * every count by the phase they read when they count, so that nothing from the
 * boot, the start gun or the warm-up gets into a result.
 */
enum dyield_phase {
	DYIELD_PHASE_BOOT = 0,
	DYIELD_PHASE_WARMUP = 1,
	DYIELD_PHASE_MEASURE = 2,
	DYIELD_PHASE_STOP = 3,
	DYIELD_PHASES = 4,
};

/*
 * The workloads: identifier, name on the command line, what it does.
 * One row here, one source file in guest-workloads/workloads/.
 */
#define DYIELD_WORKLOADS(X)                                   \
	X(UNICAST, unicast,                                   \
	  "vCPU 0 shoots down one random receiver at a time") \
	X(ALL_TO_ALL, all_to_all, "every vCPU shoots down all the others")

enum dyield_workload {
#define X(id, name, text) DYIELD_WORKLOAD_##id,
	DYIELD_WORKLOADS(X)
#undef X
		DYIELD_WORKLOAD_COUNT
};

/*
 * Deliberate bugs in the shootdown, for the tests of the stale-translation
 * check. EARLY_FREE: the old frame is reused before the receivers are
 * told to flush. NO_FLUSH: receivers acknowledge without INVLPG.
 */
enum dyield_fault {
	DYIELD_FAULT_NONE = 0,
	DYIELD_FAULT_EARLY_FREE = 1,
	DYIELD_FAULT_NO_FLUSH = 2,
};

/* What the guest reports in struct dyield_error. */
enum dyield_error_code {
	DYIELD_ERROR_NONE = 0,
	/* A window showed a frame that had been freed: detail[0] window,
	 * detail[1] value read, detail[2] newest generation seen before. */
	DYIELD_ERROR_STALE_TRANSLATION = 1,
	/* detail[0] vector, detail[1] RIP, detail[2] error code, [3] CR2. */
	DYIELD_ERROR_EXCEPTION = 2,
	/* detail[0] the magic, detail[1] the version found. */
	DYIELD_ERROR_ABI = 3,
	/* detail[0] the APIC ID expected, detail[1] the one read. */
	DYIELD_ERROR_APIC_ID = 4,
};

#ifdef __cplusplus
#include <cstdint>
#define DYIELD_ASSERT(cond, text) static_assert(cond, text)
#define DYIELD_ALIGNED(n)	  alignas(n)
typedef std::uint32_t dyield_u32;
typedef std::uint64_t dyield_u64;
#else
#define DYIELD_ASSERT(cond, text) _Static_assert(cond, text)
#define DYIELD_ALIGNED(n)	  __attribute__((aligned(n)))
typedef unsigned int dyield_u32;
typedef unsigned long long dyield_u64;
#endif

/* Which vCPUs somebody waits for: bit i of word i / 64 is vCPU i. */
#define DYIELD_SET_WORDS 4

/* Counts of one vCPU; each is written by that vCPU alone. */
struct DYIELD_ALIGNED(64) dyield_vcpu {
	/*
	 * The wait set. The sender sets the receivers' bits before it sends;
	 * each receiver clears its own when it has flushed. The sender spins
	 * until the set is empty: what is published is the very condition it
	 * waits for, so whoever reads it knows whom the vCPU needs.
	 */
	dyield_u64 waiting_for[DYIELD_SET_WORDS];
	dyield_u64 window; /* remapped by the shootdown under way */
	dyield_u64 reserved0[3];

	dyield_u64 work[DYIELD_PHASES];	      /* units computed in ring 3 */
	dyield_u64 shootdowns[DYIELD_PHASES]; /* completed, as sender */
	dyield_u64 ipis_sent[DYIELD_PHASES];  /* as sender */
	dyield_u64 flushes[DYIELD_PHASES];    /* acknowledged, as receiver */
	dyield_u64 pauses[DYIELD_PHASES];     /* PAUSE executed while waiting */
	dyield_u64 checks[DYIELD_PHASES];     /* windows read in ring 3 */
	dyield_u64 up;			      /* APIC enabled, about to wait */
	dyield_u64 done;		      /* stopped */
	dyield_u64 progress; /* changes whenever the vCPU gets somewhere */
	dyield_u64 reserved1[5];
};

struct dyield_error {
	dyield_u32 code; /* enum dyield_error_code, written last */
	dyield_u32 vcpu;
	dyield_u64 detail[4];
};

struct DYIELD_ALIGNED(4096) dyield_shared {
	/* Written by the harness before the first entry. */
	dyield_u64 magic;
	dyield_u32 version;
	dyield_u32 nr_vcpus;
	dyield_u64 seed;
	dyield_u32 workload; /* enum dyield_workload */
	dyield_u32 fault;    /* enum dyield_fault */
	dyield_u32 think;    /* mean units of ring 3 work between shootdowns */
	dyield_u32 unit;     /* steps of the generator in one unit of work */
	dyield_u32 apic_id[DYIELD_MAX_VCPUS + 1]; /* by vCPU index */

	DYIELD_ALIGNED(64) dyield_u32 phase; /* enum dyield_phase */
	DYIELD_ALIGNED(64) dyield_u32 nr_up; /* written by the guest */
	dyield_u32 nr_done;
	DYIELD_ALIGNED(64) struct dyield_error error;

	DYIELD_ALIGNED(4096) struct dyield_vcpu vcpu[DYIELD_MAX_VCPUS + 1];
};

DYIELD_ASSERT(sizeof(struct dyield_vcpu) == 320, "dyield_vcpu layout");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_vcpu, work) == 64, "work");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_vcpu, up) == 256, "up");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_shared, apic_id) == 40,
	      "apic_id");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_shared, phase) == 1088, "phase");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_shared, vcpu) == 4096, "vcpu");
DYIELD_ASSERT(DYIELD_SHARED_GPA + sizeof(struct dyield_shared) <=
		      DYIELD_KSTACK_GPA,
	      "the shared structure ends where the stacks begin");
DYIELD_ASSERT(DYIELD_KSTACK_GPA + (DYIELD_MAX_VCPUS + 1) * DYIELD_STACK_SIZE <=
		      DYIELD_USTACK_GPA,
	      "kernel stacks fit");
DYIELD_ASSERT(DYIELD_USTACK_GPA + (DYIELD_MAX_VCPUS + 1) * DYIELD_STACK_SIZE <=
		      DYIELD_FRAME_GPA,
	      "user stacks fit");
DYIELD_ASSERT(DYIELD_FRAME_GPA + (DYIELD_MAX_VCPUS + 1) * 2 * 4096 <=
		      DYIELD_MEMORY_SIZE,
	      "frames fit");

#endif /* DYIELD_ABI_H */
