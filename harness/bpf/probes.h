/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF programs and the harness share: the maps' values. */
#ifndef DYIELD_PROBES_H
#define DYIELD_PROBES_H

#include "dyield_abi.h"

/*
 * Why KVM tried a vCPU, or nobody: the number that the series' tracepoint
 * kvm_directed_yield reports. NONE and HOLD come without a target.
 */
#define DYIELD_REASONS(X)     \
	X(NONE, none)         \
	X(HOLD, hold)         \
	X(RECEIVER, receiver) \
	X(PENDING, pending)   \
	X(KERNEL, kernel)     \
	X(READY, ready)

enum dyield_reason_code {
#define X(id, name) DYIELD_REASON_##id,
	DYIELD_REASONS(X)
#undef X
		DYIELD_REASON_UNKNOWN, /* a number not in the list */
	DYIELD_REASON_COUNT,
};

/* Buckets of a histogram: bucket i holds [2^i, 2^(i + 1)), the first 0 too. */
#define DYIELD_BUCKETS 48

struct dyield_histogram {
	dyield_u64 bucket[DYIELD_BUCKETS];
	dyield_u64 sum;
};

/* A vCPU thread, by its thread ID: filled in by the harness before KVM_RUN. */
struct dyield_thread {
	dyield_u32 vm;	  /* index of its struct dyield_vm and dyield_shared */
	dyield_u32 vcpu;  /* index in its VM */
	dyield_u32 slot;  /* index of its struct dyield_counts */
	dyield_u32 vcpus; /* of its VM */
	dyield_u32 owner; /* its VM once more, for the audit */

	/* The rest is the BPF side's own. */
	dyield_u64 kvm_vcpu;   /* KVM's structure; 0 before its first spin */
	dyield_u64 spin_since; /* ns, with --audit; 0 after the first yield */
	dyield_u64 decision;   /* ns until that yield; 0: it was a later one */
	dyield_u64 runnable_since; /* ns, bpf_ktime_get_ns(); 0: it is not */

	/* The PAUSE exit under way. */
	dyield_u32 exit_phase;
	dyield_u32 exit_waiting; /* the wait set was not empty */
	dyield_u32 exit_starved; /* and held a vCPU that waited for a CPU */

	/* The yield being tried in it. */
	dyield_u32 phase;
	dyield_u32 target;
	dyield_u32 waiting; /* the wait set was not empty */
	dyield_u32 awaited; /* and held the target */
};

/* By reason, while measuring; from the series' tracepoint. */
struct dyield_reason {
	dyield_u64 tried; /* yields; for NONE and HOLD, PAUSE exits */
	dyield_u64 made;
	/* Not made: the target is running or asleep; both are alone on their
	 * CPUs (ESRCH). */
	dyield_u64 failed_state;
	dyield_u64 failed_alone;
	/* Of those made, as in struct dyield_counts. */
	dyield_u64 while_waiting;
	dyield_u64 to_awaited;
	dyield_u64 starved_to_awaited;
	/* Of the PAUSE exits of NONE and HOLD: waiting, starved. */
	dyield_u64 nobody_waiting;
	dyield_u64 nobody_starved;
};

/* Counts of one vCPU thread, by the phase at the time of the event. */
struct dyield_counts {
	/* Calls of kvm_vcpu_on_spin(), and those with a published wait set. */
	dyield_u64 pause_exits[DYIELD_PHASES];
	dyield_u64 pause_exits_waiting[DYIELD_PHASES];
	/*
	 * Of these, with an awaited vCPU that waited for a CPU: the yield that
	 * the spinner needs is possible. And those that led to such a yield.
	 */
	dyield_u64 pause_exits_starved[DYIELD_PHASES];
	dyield_u64 starved_to_awaited[DYIELD_PHASES];
	/* Calls of kvm_vcpu_yield_to() inside it, and those that yielded. */
	dyield_u64 yields_tried[DYIELD_PHASES];
	dyield_u64 yields_made[DYIELD_PHASES];
	/* Of those made: with a published wait set; with the target in it. */
	dyield_u64 yields_while_waiting[DYIELD_PHASES];
	dyield_u64 yields_to_awaited[DYIELD_PHASES];
	/* And those of a waiting vCPU that nobody it awaits could profit from.
	 */
	dyield_u64 yields_needless[DYIELD_PHASES];

	/* IPIs to an awaited vCPU, and those whose target was not running. */
	dyield_u64 ipis_awaited[DYIELD_PHASES];
	dyield_u64 ipis_to_waiting[DYIELD_PHASES];

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
	/* While measuring, ns: from an awaited IPI to a vCPU that was not
	 * running, and from preemption or wake-up, to the CPU. */
	struct dyield_histogram ipi_to_running;
	struct dyield_histogram runnable_to_running;
};

#endif
