/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF programs of `dyield watch` and the harness share. */
#ifndef DYIELD_WATCH_H
#define DYIELD_WATCH_H

#include "probes.h"

/* vCPU threads that can be watched at a time, unless told otherwise. */
#define DYIELD_WATCH_VCPUS 4096
/* APIC IDs that are looked at for who else has an IPI pending: KVM has no more
 * (KVM_MAX_VCPU_IDS). */
#define DYIELD_WATCH_SCAN  16384

/*
 * What is known of a yield, by the vector of the spinning vCPU's last IPI: the
 * target has yet to take it; it has not, but another vCPU has; nobody has, so
 * the vCPU spins for something else.
 */
enum dyield_verdict {
	DYIELD_HIT,
	DYIELD_MISS,
	DYIELD_UNKNOWN,
	DYIELD_VERDICTS,
};

struct dyield_tier {
	dyield_u64 tried; /* yields; for NONE and HOLD, PAUSE exits */
	dyield_u64 made;
};

/* Nothing but 64-bit counts, which user space adds and subtracts as an array.
 */
struct dyield_watch_counts {
	dyield_u64 pause_exits;
	dyield_u64 exits_tried; /* PAUSE exits with a yield tried */
	dyield_u64 yields_tried;
	dyield_u64 yields_made;
	dyield_u64 looked_at; /* local APICs, to judge yields that hit nobody */
	dyield_u64 verdicts[DYIELD_VERDICTS]; /* of the yields made */
	struct dyield_tier tier[DYIELD_REASON_COUNT];
	dyield_u64 unreadable; /* KVM's memory that could not be read */

	/* ns from preemption or wake-up to the CPU; and of these, of a vCPU
	 * that got it with an interrupt pending. */
	struct dyield_histogram run_queue;
	struct dyield_histogram receiver;
};

/* In the place of a thread that has ended: free, but others may be behind it.
 */
#define DYIELD_WATCH_GONE 0xffffffffu

/* How many threads are watched, may be, and could not be. */
struct dyield_watch_room {
	dyield_u32 used, most;
	dyield_u64 refused; /* counted as often as they came */
};

/* A vCPU thread of some VM, by DYIELD_PLACE. Counts are since the attach. */
struct dyield_watched {
	dyield_u32 tid;
	dyield_u32 begun;    /* how often its counts began anew */
	dyield_u64 kvm_vcpu; /* KVM's structures; 0 until filled in */
	dyield_u64 kvm;
	dyield_u64 apic_regs; /* 0: the local APIC is in user space */
	dyield_u32 tgid;
	dyield_u32 vcpu_id;

	dyield_u64 runnable_since; /* ns, bpf_ktime_get_ns(); 0: it is not */

	/* The PAUSE exit under way, and the yield in it. */
	dyield_u32 kernel_mode; /* only to a vCPU preempted in kernel mode */
	dyield_u32 tried;
	dyield_u32 yielding;
	dyield_u32 reason;
	dyield_u32 verdict;
	dyield_u32 pv_vector; /* of the last IPI sent by hypercall, or 0 */

	struct dyield_watch_counts n;
};

#endif
