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
#define DYIELD_ABI_VERSION	7

/*
 * Guest physical layout, one memory slot from 0. Everything below
 * DYIELD_WINDOW_VA is mapped one to one with 2 MiB pages, user accessible.
 *
 *   0x001000  page tables, written by the harness before the first entry
 *   0x010000  what a vCPU runs after a SIPI and in System Management Mode, at
 *             0x38000, written by workloads that have these
 *   0x100000  the payload's ELF segments
 *   0x400000  struct dyield_shared
 *   0x600000  kernel stacks, DYIELD_STACK_SIZE a vCPU, then user stacks
 *   0xc00000  shootdown frames, two 4 KiB frames a window
 *   0xe00000  calls, DYIELD_CALL_SIZE for each sender and receiver
 *
 * Above it, the local APIC's page is mapped for ring 0 alone, uncached.
 */
#define DYIELD_MEMORY_SIZE	0x1000000ULL
#define DYIELD_PML4_GPA		0x1000ULL
#define DYIELD_PDPT_GPA		0x2000ULL
#define DYIELD_PD_GPA		0x3000ULL
#define DYIELD_WINDOW_PD_GPA	0x4000ULL
#define DYIELD_WINDOW_PT_GPA	0x5000ULL
#define DYIELD_APIC_PD_GPA	0x6000ULL
#define DYIELD_RESET_GPA	0x10000ULL
#define DYIELD_SMI_GPA		0x38000ULL
#define DYIELD_IMAGE_GPA	0x100000ULL
#define DYIELD_IMAGE_END_GPA	0x400000ULL
#define DYIELD_SHARED_GPA	0x400000ULL
#define DYIELD_KSTACK_GPA	0x600000ULL
#define DYIELD_USTACK_GPA	0x800000ULL
#define DYIELD_STACK_SIZE	0x2000ULL
#define DYIELD_FRAME_GPA	0xc00000ULL
#define DYIELD_CALL_GPA		0xe00000ULL
#define DYIELD_CALL_SIZE	32ULL

/*
 * A Linux guest has its own layout (harness/linux/boot.h); struct dyield_shared
 * is in reserved memory here, and its init maps it.
 */
#define DYIELD_LINUX_SHARED_GPA 0xd0000000ULL
#define DYIELD_LINUX_MAX_VCPUS	64

/* Where the local APIC is after a reset; only xAPIC mode uses it. */
#define DYIELD_APIC_GPA		0xfee00000ULL

/* Virtual address of the shootdown windows, as many 4 KiB pages as vCPUs. */
#define DYIELD_WINDOW_VA	0x40000000ULL

#define DYIELD_MAX_VCPUS	255

/* Interrupt vectors of the payload. */
#define DYIELD_VECTOR_SHOOTDOWN 0xf0
#define DYIELD_VECTOR_CALL	0xf1
#define DYIELD_VECTOR_WAKE	0xf2
#define DYIELD_VECTOR_TIMER	0xec
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
 * The ways in which a guest can send IPIs: identifier, name, whether the local
 * APICs are in xAPIC mode, the most vCPUs it can address, what it is. 255 is
 * DYIELD_MAX_VCPUS: APIC IDs up to 254, all of which xAPIC can address too.
 */
#define DYIELD_WAYS(X)                                                       \
	X(X2APIC, x2apic, 0, 255, "x2APIC, one ICR write a receiver")        \
	X(CLUSTER, cluster, 0, 255,                                          \
	  "x2APIC, one ICR write for each logical cluster of 16 APIC IDs")   \
	X(SHORTHAND, shorthand, 0, 255, "x2APIC, all-but-self shorthand")    \
	X(XAPIC, xapic, 1, 255, "xAPIC, physical, one ICR write a receiver") \
	X(FLAT, flat, 1, 8, "xAPIC, one ICR write for a flat logical set")   \
	X(PV, pv, 0, 255,                                                    \
	  "hypercall KVM_HC_SEND_IPI, up to 128 receivers each")             \
	X(LINUX, linux, 0, 64, "as the guest's Linux sends them")

enum dyield_way {
#define X(id, name, xapic, max_vcpus, text) DYIELD_WAY_##id,
	DYIELD_WAYS(X)
#undef X
		DYIELD_WAY_COUNT
};

/* What a workload does; which counts and checks it therefore has. */
enum dyield_does {
	DYIELD_DOES_NOTHING = 0, /* but compute */
	DYIELD_DOES_SHOOTDOWNS = 1 << 0,
	DYIELD_DOES_CALLS = 1 << 1,
	DYIELD_DOES_LOCKS = 1 << 2,
	DYIELD_DOES_WAKES = 1 << 3,
	DYIELD_DOES_TICKS = 1 << 4,
	DYIELD_DOES_LAZY = 1 << 5,     /* idle receivers get no IPI */
	DYIELD_DOES_HARM = 1 << 6,     /* what no sane guest does */
	DYIELD_DOES_PROGRAMS = 1 << 7, /* runs programs of others, in Linux */
	DYIELD_DOES_ALIKE = 1 << 8,    /* the same on every vCPU */
	/* by a module of the guest's Linux, which publishes whom it awaits */
	DYIELD_DOES_MODULE = 1 << 9,
	DYIELD_DOES_PAUSES = 1 << 10, /* and nothing else, as a gauge */
	DYIELD_DOES_KICKS = 1 << 11,  /* IPIs that nobody waits for */
};

/*
 * The workloads: identifier; name on the command line; group; program, the
 * struct workload in guest-workloads/workloads/ that the guest runs; way of
 * sending; what it does; the workload of every second VM of a run, its own
 * unless neighbours are the point; what it is, for a person.
 */
#define DYIELD_WORKLOADS(X)                                                    \
	X(UNICAST, unicast, ipi, unicast_random, X2APIC,                       \
	  DYIELD_DOES_SHOOTDOWNS, UNICAST,                                     \
	  "vCPU 0 shoots down one random receiver at a time")                  \
	X(UNICAST_FIXED, unicast_fixed, ipi, unicast_fixed, X2APIC,            \
	  DYIELD_DOES_SHOOTDOWNS, UNICAST_FIXED,                               \
	  "vCPU 0 shoots down vCPU 1, the others compute")                     \
	X(UNICAST_RING, unicast_ring, ipi, unicast_ring, X2APIC,               \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, UNICAST_RING,            \
	  "every vCPU shoots down the next one")                               \
	X(UNICAST_TICKS, unicast_ticks, ipi, unicast_ticks, X2APIC,            \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_TICKS, UNICAST_TICKS,           \
	  "unicast, with a local timer tick of 1 ms on every vCPU")            \
	X(UNICAST_KICKS, unicast_kicks, ipi, unicast_kicks, X2APIC,            \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_TICKS | DYIELD_DOES_KICKS,      \
	  UNICAST_KICKS,                                                       \
	  "unicast-ticks; each tick sends an IPI that nobody waits for")       \
	X(BROADCAST, broadcast, ipi, broadcast, X2APIC,                        \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST,                                   \
	  "vCPU 0 shoots down all the others, one by one")                     \
	X(BROADCAST_CLUSTER, broadcast_cluster, ipi, broadcast, CLUSTER,       \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST_CLUSTER,                           \
	  "the same, by x2APIC logical cluster")                               \
	X(BROADCAST_SHORTHAND, broadcast_shorthand, ipi, broadcast, SHORTHAND, \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST_SHORTHAND,                         \
	  "the same, by the all-but-self shorthand")                           \
	X(BROADCAST_XAPIC, broadcast_xapic, ipi, broadcast, XAPIC,             \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST_XAPIC,                             \
	  "the same, one by one in xAPIC mode")                                \
	X(BROADCAST_FLAT, broadcast_flat, ipi, broadcast, FLAT,                \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST_FLAT,                              \
	  "the same, by xAPIC flat logical set; at most 8 vCPUs")              \
	X(BROADCAST_PV, broadcast_pv, ipi, broadcast, PV,                      \
	  DYIELD_DOES_SHOOTDOWNS, BROADCAST_PV,                                \
	  "the same, by the PV send-IPI hypercall")                            \
	X(MULTICAST, multicast, ipi, multicast, X2APIC,                        \
	  DYIELD_DOES_SHOOTDOWNS, MULTICAST,                                   \
	  "vCPU 0 shoots down some of the others, one by one")                 \
	X(MULTICAST_CLUSTER, multicast_cluster, ipi, multicast, CLUSTER,       \
	  DYIELD_DOES_SHOOTDOWNS, MULTICAST_CLUSTER,                           \
	  "the same, by x2APIC logical cluster")                               \
	X(MULTICAST_XAPIC, multicast_xapic, ipi, multicast, XAPIC,             \
	  DYIELD_DOES_SHOOTDOWNS, MULTICAST_XAPIC,                             \
	  "the same, one by one in xAPIC mode")                                \
	X(MULTICAST_FLAT, multicast_flat, ipi, multicast, FLAT,                \
	  DYIELD_DOES_SHOOTDOWNS, MULTICAST_FLAT,                              \
	  "the same, by xAPIC flat logical set; at most 8 vCPUs")              \
	X(MULTICAST_PV, multicast_pv, ipi, multicast, PV,                      \
	  DYIELD_DOES_SHOOTDOWNS, MULTICAST_PV,                                \
	  "the same, by the PV send-IPI hypercall")                            \
	X(ALL_TO_ALL, all_to_all, tlb, all_to_all, X2APIC,                     \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, ALL_TO_ALL,              \
	  "every vCPU shoots down all the others")                             \
	X(PRODUCER, producer, tlb, producer, X2APIC, DYIELD_DOES_SHOOTDOWNS,   \
	  PRODUCER, "a quarter of the vCPUs shoot down the other ones")        \
	X(PRODUCER_IDLE, producer_idle, tlb, producer_idle, X2APIC,            \
	  DYIELD_DOES_SHOOTDOWNS, PRODUCER_IDLE,                               \
	  "the same, receivers often halt and are woken (freed page tables)")  \
	X(PRODUCER_LAZY, producer_lazy, tlb, producer_lazy, X2APIC,            \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_LAZY, PRODUCER_LAZY,            \
	  "the same, halted receivers get no IPI and flush when they wake")    \
	X(CALL_WAIT, call_wait, smp_call, call_wait, X2APIC,                   \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE, CALL_WAIT,                    \
	  "every vCPU calls a random one and waits for the call's end")        \
	X(CALL_KICKS, call_kicks, smp_call, call_kicks, X2APIC,                \
	  DYIELD_DOES_CALLS | DYIELD_DOES_TICKS | DYIELD_DOES_KICKS |          \
		  DYIELD_DOES_ALIKE,                                           \
	  CALL_KICKS,                                                          \
	  "call-wait, with a tick that sends an IPI nobody waits for")         \
	X(CALL_NOWAIT, call_nowait, smp_call, call_nowait, X2APIC,             \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE, CALL_NOWAIT,                  \
	  "the same, waiting only while its last call there is pending")       \
	X(CALL_MANY, call_many, smp_call, call_many, CLUSTER,                  \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE, CALL_MANY,                    \
	  "every vCPU calls all the others and waits for all of them")         \
	X(CALL_TO_ONE, call_to_one, smp_call, call_to_one, X2APIC,             \
	  DYIELD_DOES_CALLS, CALL_TO_ONE,                                      \
	  "all the others call vCPU 0 and wait")                               \
	X(CALL_NESTED, call_nested, smp_call, call_nested, X2APIC,             \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE, CALL_NESTED,                  \
	  "a call whose handler calls on, twice; the first caller waits")      \
	X(LOCK_TICKET, lock_ticket, guard, lock_ticket, X2APIC,                \
	  DYIELD_DOES_LOCKS | DYIELD_DOES_KICKS | DYIELD_DOES_ALIKE,           \
	  LOCK_TICKET,                                                         \
	  "every vCPU takes one ticket lock; holders get preempted")           \
	X(LOCK_MCS, lock_mcs, guard, lock_mcs, X2APIC,                         \
	  DYIELD_DOES_LOCKS | DYIELD_DOES_KICKS | DYIELD_DOES_ALIKE, LOCK_MCS, \
	  "the same with a queued (MCS) lock")                                 \
	X(LOCK_IRQS_OFF, lock_irqs_off, guard, lock_irqs_off, X2APIC,          \
	  DYIELD_DOES_LOCKS | DYIELD_DOES_KICKS | DYIELD_DOES_ALIKE,           \
	  LOCK_IRQS_OFF,                                                       \
	  "ticket lock with IRQs off; before it an IPI nobody waits for")      \
	X(LOCK_AND_IPI, lock_and_ipi, guard, lock_and_ipi, X2APIC,             \
	  DYIELD_DOES_LOCKS | DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE,      \
	  LOCK_AND_IPI,                                                        \
	  "ticket lock and shootdowns of all, also with the lock held")        \
	X(COMPUTE, compute, guard, compute, X2APIC, DYIELD_DOES_ALIKE,         \
	  COMPUTE, "every vCPU computes, none waits")                          \
	X(HALT_WAKE, halt_wake, guard, halt_wake, X2APIC,                      \
	  DYIELD_DOES_WAKES | DYIELD_DOES_ALIKE, HALT_WAKE,                    \
	  "pairs of vCPUs wake each other and halt in turn")                   \
	X(TIMER, timer, guard, timer, X2APIC,                                  \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_TICKS | DYIELD_DOES_ALIKE,      \
	  TIMER, "all to all, with a local timer tick of 1 ms on every vCPU")  \
	X(SPIN_BESIDE_COMPUTE, spin_beside_compute, fair, all_to_all, X2APIC,  \
	  DYIELD_DOES_SHOOTDOWNS, COMPUTE,                                     \
	  "VMs 0, 2, ... shoot down all to all, VMs 1, 3, ... compute")        \
	X(HOSTILE_ICR, hostile_icr, hostile, hostile_apic, X2APIC,             \
	  DYIELD_DOES_HARM, HOSTILE_ICR,                                       \
	  "random ICR, self-IPI, EOI and TPR writes, EOIs left out, spins")    \
	X(HOSTILE_XAPIC, hostile_xapic, hostile, hostile_apic, XAPIC,          \
	  DYIELD_DOES_HARM, HOSTILE_XAPIC, "the same in xAPIC mode")           \
	X(HOSTILE_PV, hostile_pv, hostile, hostile_pv, PV, DYIELD_DOES_HARM,   \
	  HOSTILE_PV, "random send-IPI, kick and yield hypercalls, and spins") \
	X(HOSTILE_FLOOD, hostile_flood, hostile, hostile_flood, X2APIC,        \
	  DYIELD_DOES_HARM, HOSTILE_FLOOD,                                     \
	  "every vCPU floods all the others and itself with IPIs")             \
	X(HOSTILE_SPIN, hostile_spin, hostile, hostile_spin, X2APIC,           \
	  DYIELD_DOES_HARM, HOSTILE_SPIN,                                      \
	  "every vCPU spins for long, and nobody sends")                       \
	X(HOSTILE_RESET, hostile_reset, hostile, hostile_reset, X2APIC,        \
	  DYIELD_DOES_HARM, HOSTILE_RESET,                                     \
	  "vCPU 0 sends INIT, SIPI and SMI while the others send IPIs")        \
	X(HOSTILE_BESIDE_COMPUTE, hostile_beside_compute, hostile,             \
	  hostile_apic, X2APIC, DYIELD_DOES_HARM, COMPUTE,                     \
	  "VMs 0, 2, ... do as hostile-icr, VMs 1, 3, ... compute")            \
	X(HOSTILE_PV_BESIDE_COMPUTE, hostile_pv_beside_compute, hostile,       \
	  hostile_pv, PV, DYIELD_DOES_HARM, COMPUTE,                           \
	  "VMs 0, 2, ... do as hostile-pv, VMs 1, 3, ... compute")             \
	X(HOSTILE_FLOOD_BESIDE_COMPUTE, hostile_flood_beside_compute, hostile, \
	  hostile_flood, X2APIC, DYIELD_DOES_HARM, COMPUTE,                    \
	  "VMs 0, 2, ... do as hostile-flood, VMs 1, 3, ... compute")          \
	X(HOSTILE_SPIN_BESIDE_COMPUTE, hostile_spin_beside_compute, hostile,   \
	  hostile_spin, X2APIC, DYIELD_DOES_HARM, COMPUTE,                     \
	  "VMs 0, 2, ... do as hostile-spin, VMs 1, 3, ... compute")           \
	X(HOSTILE_BOOST_BESIDE_COMPUTE, hostile_boost_beside_compute, hostile, \
	  hostile_boost, X2APIC, DYIELD_DOES_HARM, COMPUTE,                    \
	  "VMs 0, 2, ...: all spin for an IPI that vCPU 0 never takes")        \
	X(GAUGE_ALONE, gauge_alone, gauge, gauge_alone, X2APIC,                \
	  DYIELD_DOES_PAUSES, GAUGE_ALONE,                                     \
	  "vCPU 0 spins, all others halt: PAUSE exits without a yield")        \
	X(GAUGE_TOGETHER, gauge_together, gauge, gauge_together, X2APIC,       \
	  DYIELD_DOES_PAUSES, GAUGE_TOGETHER,                                  \
	  "every vCPU spins: on one CPU, PAUSE exits with a yield each")

/*
 * The workloads of Linux guests, in the same columns; program is the struct
 * program in guest-workloads/linux.
 */
#define DYIELD_LINUX_WORKLOADS(X)                                              \
	X(LINUX_BOOT, linux_boot, linux, compute, LINUX, DYIELD_DOES_ALIKE,    \
	  LINUX_BOOT, "Linux comes up, and a thread on each vCPU computes")    \
	X(LINUX_MUNMAP, linux_munmap, linux, munmap, LINUX,                    \
	  DYIELD_DOES_SHOOTDOWNS, LINUX_MUNMAP,                                \
	  "one thread maps anew, over the old, what all others read")          \
	X(LINUX_MUNMAP_ALL, linux_munmap_all, linux, munmap_all, LINUX,        \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, LINUX_MUNMAP_ALL,        \
	  "the same, every thread; they meet at the lock of the mappings")     \
	X(LINUX_UNMAP, linux_unmap, linux, unmap, LINUX,                       \
	  DYIELD_DOES_SHOOTDOWNS, LINUX_UNMAP,                                 \
	  "one unmaps (munmap) what all others read, and maps it again")       \
	X(LINUX_MADVISE, linux_madvise, linux, madvise, LINUX,                 \
	  DYIELD_DOES_SHOOTDOWNS, LINUX_MADVISE,                               \
	  "one thread discards (MADV_DONTNEED) what all others read")          \
	X(LINUX_MADVISE_ALL, linux_madvise_all, linux, madvise_all, LINUX,     \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, LINUX_MADVISE_ALL,       \
	  "the same, every thread")                                            \
	X(LINUX_MPROTECT, linux_mprotect, linux, mprotect, LINUX,              \
	  DYIELD_DOES_SHOOTDOWNS, LINUX_MPROTECT,                              \
	  "one thread write-protects what all others write")                   \
	X(LINUX_MPROTECT_ALL, linux_mprotect_all, linux, mprotect_all, LINUX,  \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, LINUX_MPROTECT_ALL,      \
	  "the same, every thread")                                            \
	X(LINUX_MIGRATE, linux_migrate, linux, migrate, LINUX,                 \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_ALIKE, LINUX_MIGRATE,           \
	  "every thread moves from CPU to CPU and discards there")             \
	X(LINUX_MEMBARRIER, linux_membarrier, linux, membarrier, LINUX,        \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE, LINUX_MEMBARRIER,             \
	  "every thread does membarrier(PRIVATE_EXPEDITED)")                   \
	X(LINUX_SMP_CALL, linux_smp_call, linux, smp_call, LINUX,              \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE | DYIELD_DOES_MODULE,          \
	  LINUX_SMP_CALL,                                                      \
	  "every CPU does smp_call_function_many(some others), waits")         \
	X(LINUX_SMP_CALL_NOWAIT, linux_smp_call_nowait, linux,                 \
	  smp_call_nowait, LINUX,                                              \
	  DYIELD_DOES_CALLS | DYIELD_DOES_ALIKE | DYIELD_DOES_MODULE,          \
	  LINUX_SMP_CALL_NOWAIT,                                               \
	  "the same, waiting only while its last call there is pending")       \
	X(LINUX_FUTEX, linux_futex, linux, futex, LINUX,                       \
	  DYIELD_DOES_WAKES | DYIELD_DOES_ALIKE, LINUX_FUTEX,                  \
	  "pairs of threads wake each other by futex in turn")                 \
	X(LINUX_LOCK, linux_lock, linux, lock, LINUX,                          \
	  DYIELD_DOES_LOCKS | DYIELD_DOES_ALIKE, LINUX_LOCK,                   \
	  "every thread takes one pthread mutex")                              \
	X(LINUX_STRESS_TLB, linux_stress_tlb, linux, stress_tlb, LINUX,        \
	  DYIELD_DOES_PROGRAMS, LINUX_STRESS_TLB, "stress-ng --tlb-shootdown") \
	X(LINUX_STRESS_MEMBARRIER, linux_stress_membarrier, linux,             \
	  stress_membarrier, LINUX, DYIELD_DOES_PROGRAMS,                      \
	  LINUX_STRESS_MEMBARRIER, "stress-ng --membarrier")                   \
	X(LINUX_STRESS_MPROTECT, linux_stress_mprotect, linux,                 \
	  stress_mprotect, LINUX, DYIELD_DOES_PROGRAMS, LINUX_STRESS_MPROTECT, \
	  "stress-ng --mprotect")                                              \
	X(LINUX_STRESS_MMAP, linux_stress_mmap, linux, stress_mmap, LINUX,     \
	  DYIELD_DOES_PROGRAMS, LINUX_STRESS_MMAP, "stress-ng --mmap")         \
	X(LINUX_HACKBENCH, linux_hackbench, linux, hackbench, LINUX,           \
	  DYIELD_DOES_PROGRAMS, LINUX_HACKBENCH,                               \
	  "hackbench, threads and pipes")                                      \
	X(LINUX_PIGZ, linux_pigz, linux, pigz, LINUX, DYIELD_DOES_PROGRAMS,    \
	  LINUX_PIGZ, "pigz, with as many threads as vCPUs")                   \
	X(LINUX_B3SUM, linux_b3sum, linux, b3sum, LINUX, DYIELD_DOES_PROGRAMS, \
	  LINUX_B3SUM, "b3sum: files are mapped, hashed by all, unmapped")

enum dyield_workload {
#define X(id, name, group, program, way, does, beside, text) \
	DYIELD_WORKLOAD_##id,
	DYIELD_WORKLOADS(X) DYIELD_LINUX_WORKLOADS(X)
#undef X
		DYIELD_WORKLOAD_COUNT
};

/*
 * Deliberate bugs, each for the test of a check: identifier, name, what the
 * workload must do for the bug to be in its way, what the bug is.
 */
#define DYIELD_FAULTS(X)                                                      \
	X(NONE, none, 0, "no bug")                                            \
	X(EARLY_FREE, early_free, DYIELD_DOES_SHOOTDOWNS,                     \
	  "the old page is reused before the receivers are told to flush")    \
	X(NO_FLUSH, no_flush, DYIELD_DOES_SHOOTDOWNS,                         \
	  "receivers acknowledge without INVLPG (needs hardware to show)")    \
	X(LOST_IPI, lost_ipi,                                                 \
	  DYIELD_DOES_SHOOTDOWNS | DYIELD_DOES_CALLS | DYIELD_DOES_WAKES,     \
	  "every 8th time a vCPU sends, nothing is sent")                     \
	X(STILL_LAZY, still_lazy, DYIELD_DOES_LAZY,                           \
	  "a vCPU that has been idle once passes for idle ever after")        \
	X(LOST_CALL, lost_call, DYIELD_DOES_CALLS,                            \
	  "every 8th call is acknowledged without being run")                 \
	X(DOUBLE_CALL, double_call, DYIELD_DOES_CALLS,                        \
	  "every 8th call is run twice")                                      \
	X(NO_LOCK, no_lock, DYIELD_DOES_LOCKS,                                \
	  "every 8th critical section of a vCPU is entered without the lock") \
	X(LOST_TURN, lost_turn, DYIELD_DOES_WAKES,                            \
	  "every 8th turn, a vCPU takes the next three in one")               \
	X(LOST_TICK, lost_tick, DYIELD_DOES_TICKS,                            \
	  "the fourth tick of each vCPU is its last")                         \
	X(STRAY, stray, 0,                                                    \
	  "vCPU 0 of each VM passes for another VM's in the audit of yields") \
	X(SCRIBBLE, scribble, 0,                                              \
	  "payload: a guest overwrites what the harness told it of itself")   \
	X(EARLY_STOP, early_stop, 0,                                          \
	  "payload: a guest says that it has stopped when it has begun")      \
	X(LOW_VECTOR, low_vector, 0,                                          \
	  "payload: each vCPU has sent all others vector 5: no APIC has it")  \
	X(HANG, hang, 0,                                                      \
	  "payload: vCPU 1 goes round and round with interrupts off")         \
	X(TRIPLE_FAULT, triple_fault, 0,                                      \
	  "payload: vCPU 1 takes an exception without an IDT")

enum dyield_fault {
#define X(id, name, needs, text) DYIELD_FAULT_##id,
	DYIELD_FAULTS(X)
#undef X
		DYIELD_FAULT_COUNT
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
	/* A hypercall did not reach every receiver, or a shorthand would have
	 * reached others: detail[0] receivers, detail[1] result. */
	DYIELD_ERROR_SEND = 5,
	/* A call did not run exactly once: detail[0] receiver, detail[1] times
	 * asked for, detail[2] times run. */
	DYIELD_ERROR_CALL = 6,
	/* The counter under the lock: detail[0] its value, detail[1] the
	 * acquisitions. */
	DYIELD_ERROR_LOCK = 7,
	/* A turn out of order: detail[0] partner, detail[1] the turn expected,
	 * detail[2] the one found. */
	DYIELD_ERROR_TURN = 8,
	/* A Linux guest's program failed; why is in text. */
	DYIELD_ERROR_PROGRAM = 9,
};

/* What kind of wait is published in waiting_for. */
enum dyield_wait {
	DYIELD_WAIT_NONE = 0,
	/* For vCPUs that were sent an IPI, spinning on PAUSE. */
	DYIELD_WAIT_SHOOTDOWN = 1,
	DYIELD_WAIT_CALL = 2,
	/* For the lock's holder, spinning on PAUSE; the set follows as the
	 * lock changes hands, and is empty while it does. */
	DYIELD_WAIT_LOCK = 3,
	/* For a vCPU that was sent an IPI, halted. */
	DYIELD_WAIT_HALT = 4,
};

/*
 * Latencies, in ticks of the guest's TSC, measured in DYIELD_PHASE_MEASURE:
 * from just before the sending of an IPI (queueing, for a call) to the entry of
 * the handler that answers, counted by the receiver; and to the moment when the
 * sender sees the last answer, counted by the sender. Bucket 0 holds zero,
 * bucket i the values from 2^(i-1) to 2^i - 1, the last one all the rest.
 */
enum dyield_latency {
	DYIELD_LATENCY_HANDLER = 0,
	DYIELD_LATENCY_RELEASE = 1,
	DYIELD_LATENCIES = 2,
};

#define DYIELD_LATENCY_BUCKETS 48

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
	 * each receiver clears its own when it has done what it was asked to.
	 * The sender spins until the set is empty: what is published is the
	 * very condition it waits for, so whoever reads it knows whom the vCPU
	 * needs. The waits for a lock, for an earlier call and for a turn are
	 * published by the vCPU itself.
	 */
	dyield_u64 waiting_for[DYIELD_SET_WORDS];
	dyield_u64 window;    /* remapped by the shootdown under way */
	dyield_u64 sent;      /* TSC just before the IPI */
	dyield_u32 wait_kind; /* enum dyield_wait */
	dyield_u32 lazy;      /* idle: will flush everything before ring 3 */
	dyield_u64 reserved0;

	dyield_u64 work[DYIELD_PHASES];	      /* units computed in ring 3 */
	dyield_u64 shootdowns[DYIELD_PHASES]; /* completed, as sender */
	dyield_u64 ipis_sent[DYIELD_PHASES];  /* receivers, as sender */
	dyield_u64 flushes[DYIELD_PHASES];    /* acknowledged, as receiver */
	dyield_u64 pauses[DYIELD_PHASES];     /* PAUSE executed while waiting */
	dyield_u64 checks[DYIELD_PHASES];     /* windows read in ring 3 */
	dyield_u64 calls[DYIELD_PHASES];      /* asked for, hops too */
	dyield_u64 calls_run[DYIELD_PHASES];  /* as receiver */
	dyield_u64 acquisitions[DYIELD_PHASES]; /* of the lock */
	dyield_u64 wakes[DYIELD_PHASES];	/* turns given to the partner */
	dyield_u64 ticks[DYIELD_PHASES];	/* of the local timer */
	dyield_u64 lazy_skips[DYIELD_PHASES]; /* receivers spared, as sender */
	dyield_u64 up;			      /* APIC enabled, about to wait */
	dyield_u64 done;		      /* stopped */
	dyield_u64 progress; /* changes whenever the vCPU gets somewhere */
	/* Answers by a handler entered before the IPI was sent, to another one:
	 * they have no latency. */
	dyield_u64 answered_early;
	dyield_u64 harm[DYIELD_PHASES]; /* acts of a hostile guest */
	dyield_u32 latency[DYIELD_LATENCIES][DYIELD_LATENCY_BUCKETS];
};

struct dyield_error {
	dyield_u32 code; /* enum dyield_error_code, written last */
	dyield_u32 vcpu;
	dyield_u64 detail[4];
	char text[256]; /* ends with a NUL */
};

struct DYIELD_ALIGNED(4096) dyield_shared {
	/* Written by the harness before the first entry. */
	dyield_u64 magic;
	dyield_u32 version;
	dyield_u32 nr_vcpus;
	dyield_u64 seed;
	dyield_u32 workload; /* enum dyield_workload */
	dyield_u32 fault;    /* enum dyield_fault */
	dyield_u32 think;    /* mean units of ring 3 work between steps */
	dyield_u32 unit;     /* steps of the generator in one unit of work */
	dyield_u32 apic_id[DYIELD_MAX_VCPUS + 1]; /* by vCPU index */

	DYIELD_ALIGNED(64) dyield_u32 phase; /* enum dyield_phase */
	DYIELD_ALIGNED(64) dyield_u32 nr_up; /* written by the guest */
	dyield_u32 nr_done;
	DYIELD_ALIGNED(64) struct dyield_error error;

	DYIELD_ALIGNED(4096) struct dyield_vcpu vcpu[DYIELD_MAX_VCPUS + 1];
};

DYIELD_ASSERT(sizeof(struct dyield_vcpu) == 896, "dyield_vcpu layout");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_vcpu, work) == 64, "work");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_vcpu, up) == 448, "up");
DYIELD_ASSERT(__builtin_offsetof(struct dyield_vcpu, latency) == 512,
	      "latency");
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
		      DYIELD_CALL_GPA,
	      "frames fit");
DYIELD_ASSERT(DYIELD_CALL_GPA + (DYIELD_MAX_VCPUS + 1) *
					(DYIELD_MAX_VCPUS + 1) *
					DYIELD_CALL_SIZE <=
		      DYIELD_MEMORY_SIZE,
	      "calls fit");

#endif /* DYIELD_ABI_H */
