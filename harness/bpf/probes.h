/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF programs and the harness share: the maps' values. */
#ifndef DYIELD_PROBES_H
#define DYIELD_PROBES_H

#include "dyield_abi.h"

/*
 * Why KVM tried a vCPU, or nobody: the number that the series' tracepoint
 * kvm_directed_yield reports. NONE and HOLD come without a target; HOLD is a
 * policy of patches/lab/peers.patch.
 */
#define DYIELD_REASONS(X)     \
	X(NONE, none)         \
	X(RECEIVER, receiver) \
	X(PENDING, pending)   \
	X(KERNEL, kernel)     \
	X(READY, ready)       \
	X(RELAXED, relaxed)   \
	X(HOLD, hold)

enum dyield_reason_code {
#define X(id, name) DYIELD_REASON_##id,
	DYIELD_REASONS(X)
#undef X
		DYIELD_REASON_UNKNOWN, /* a number not in the list */
	DYIELD_REASON_COUNT,
};

/* Buckets of a histogram: bucket i holds [2^i, 2^(i + 1)), the first 0 too. */
#define DYIELD_BUCKETS		48
/* A yield whose target has a CPU within these buckets, 32.768 us, was followed:
 * the scheduler took it next. A wait for its turn is longer than that. */
#define DYIELD_BUCKETS_FOLLOWED 15

struct dyield_histogram {
	dyield_u64 bucket[DYIELD_BUCKETS];
	dyield_u64 sum;
};

/* Where a thread is in a map by thread ID, at the i-th try: nearly always the
 * first, as threads that begin together have IDs in a row. */
#define DYIELD_PLACES 8
#define DYIELD_PLACE(tid, i) \
	((i) ? (dyield_u32)((tid)*0x9e3779b1u) >> (2 * (i)) : (dyield_u32)(tid))

/* A vCPU thread: filled in by the harness before KVM_RUN. */
struct dyield_thread {
	dyield_u32 tid;
	dyield_u32 vm;	      /* index of its struct dyield_guest */
	dyield_u32 vcpu;      /* index in its VM */
	dyield_u32 slot;      /* index among all vCPUs */
	dyield_u32 vcpus;     /* of its VM */
	dyield_u32 owner;     /* its VM once more, for the audit */
	dyield_u32 publishes; /* the guest says whom it awaits */

	/* The rest is the BPF side's own. */
	dyield_u64 kvm_vcpu;   /* KVM's structure; 0 before its first spin */
	dyield_u64 spin_since; /* ns, with --audit; 0 after the first yield */
	dyield_u64 decision;   /* ns until that yield; 0: it was a later one */
	dyield_u64 runnable_since; /* ns, bpf_ktime_get_ns(); 0: it is not */
	dyield_u64 yield_since;	   /* what it set in its VM's, with --audit */

	/* The PAUSE exit under way, as it began. */
	dyield_u32 phase;
	dyield_u32 state; /* enum dyield_exit_state */
	dyield_u64 awaited[DYIELD_SET_WORDS];

	dyield_u32 cpu; /* that it was last on */
};

/*
 * A spinning vCPU at its PAUSE exit: it waits for nobody, by the published wait
 * set; it waits; and somebody in the set waits for a CPU, i.e. the yield that
 * the spinner needs is possible.
 */
enum dyield_exit_state {
	DYIELD_EXIT_IDLE,
	DYIELD_EXIT_WAITING,
	DYIELD_EXIT_STARVED,
	DYIELD_EXIT_STATES,
};

/* Yields made, by the state of the exit and whether the target was awaited. */
struct dyield_made {
	dyield_u64 by[DYIELD_EXIT_STATES][2];
};

/* By reason, while measuring; from the series' tracepoint. Each event is one
 * increment: sums are for user space. */
struct dyield_reason {
	struct dyield_made made;
	/* Not made: the target is running or asleep; both are alone on their
	 * CPUs (ESRCH). */
	dyield_u64 failed_state;
	dyield_u64 failed_alone;
	/* PAUSE exits, of NONE and HOLD. */
	dyield_u64 nobody[DYIELD_EXIT_STATES];
};

/* A vCPU thread and its counts, by the phase at the time of the event; those of
 * yields, by that of the PAUSE exit. */
struct dyield_counts {
	struct dyield_thread thread;

	/* Calls of kvm_vcpu_on_spin(). */
	dyield_u64 pause_exits[DYIELD_PHASES][DYIELD_EXIT_STATES];
	/* Calls of kvm_vcpu_yield_to() inside it that yielded, and the others.
	 * With the series' tracepoint, only with --audit: else by reason. */
	struct dyield_made made[DYIELD_PHASES];
	dyield_u64 failed[DYIELD_PHASES];

	/* IPIs to an awaited vCPU, and those whose target was not running. */
	dyield_u64 ipis_awaited[DYIELD_PHASES];
	dyield_u64 ipis_to_waiting[DYIELD_PHASES];

	/* While measuring: on to a CPU, and to another one than before. */
	dyield_u64 switches;
	dyield_u64 migrations;

	struct dyield_reason reason[DYIELD_REASON_COUNT];

	/*
	 * From KVM's tracepoints, most only with --audit: a second source for
	 * the same facts, to check the first one against. All phases together.
	 */
	dyield_u64 audit_exits;	      /* kvm_exit */
	dyield_u64 audit_pause_exits; /* kvm_exit whose reason is PAUSE */
	dyield_u64 audit_ipis; /* kvm_apic_accept_irq, IPIs of the guest */
	/* Awaited vCPUs at PAUSE exits; those that wait for a CPU by KVM's
	 * flags preempted and ready alone, and by the scheduler's tracepoints
	 * alone. */
	dyield_u64 audit_awaited;
	dyield_u64 audit_flags_only;
	dyield_u64 audit_sched_only;
	/* Calls of the scheduler's yield_to() by the thread, and those whose
	 * target is no vCPU thread of the same VM. */
	dyield_u64 audit_yields;
	dyield_u64 audit_yields_outside;
	/* The least ns from kvm_vcpu_on_spin() to its first yield, while
	 * measuring; and of yields that were a guess, where KVM says so. */
	dyield_u64 audit_decision;
	dyield_u64 audit_decision_guess;

	dyield_u64 lost; /* KVM's memory that could not be read */
};

/* A VM as the scheduler sees it; bit i of word i / 64 is vCPU i. */
struct dyield_vm {
	dyield_u64 runnable[DYIELD_SET_WORDS]; /* waits for a CPU */
	dyield_u64 running[DYIELD_SET_WORDS];  /* has one */
	/* By vCPU: when an awaited IPI found it without a CPU, ns; else 0. */
	dyield_u64 ipi_since[DYIELD_MAX_VCPUS + 1];
	/* By vCPU, with --audit: when it was yielded to, ns; else 0. */
	dyield_u64 yield_since[DYIELD_MAX_VCPUS + 1];
	/* While measuring, ns: from an awaited IPI to a vCPU that was not
	 * running, from preemption or wake-up, and from a directed yield, to
	 * the CPU. */
	struct dyield_histogram ipi_to_running;
	struct dyield_histogram runnable_to_running;
	struct dyield_histogram yield_to_running;
};

/* What is asked of a VM in one look-up. The guest has the first part alone. */
struct dyield_guest {
	struct dyield_shared shared;
	DYIELD_ALIGNED(4096) struct dyield_vm vm;
};

#endif
