/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The format of a recording of directed yields, which is also how the BPF
 * programs of `dyield record` hand one decision over.
 *
 * A file is a struct dyield_recording, then `decisions` records, each a struct
 * dyield_decision cut off behind the states of its vCPUs and padded to 8 bytes.
 * All of it is little endian. A reader takes the size of a record from its
 * field `vcpus`; another layout has another `version`.
 */
#ifndef DYIELD_RECORD_H
#define DYIELD_RECORD_H

#include "probes.h"

#define DYIELD_RECORDING_MAGIC	 "dyieldRC"
#define DYIELD_RECORDING_VERSION 4
#define DYIELD_RECORDING_VCPUS	 256 /* with a greater index: lost */

typedef unsigned char dyield_u8;
typedef unsigned short dyield_u16;
typedef short dyield_s16;

struct dyield_recording {
	char magic[8];
	dyield_u32 version;
	dyield_u16 emulated; /* a lab's virtual time */
	dyield_u16 one_in;   /* of so many decisions one is here, by chance */
	dyield_u64 decisions;
	dyield_u64 lost;     /* the kernel's buffer was full, or unreadable */
	dyield_u64 not_kept; /* beyond the limit of the file */
	char kernel[64];     /* release, ended by 0 */
};

/*
 * The state of a vCPU when the spinning one asks KVM whom to yield to.
 * IN_KERNEL and BLOCKING are recorded of a vCPU that is READY, EVENT of one
 * that is BLOCKING.
 */
#define DYIELD_STATES(X)                                             \
	X(PRESENT, 0)	 /* there, with a local APIC */              \
	X(READY, 1)	 /* preempted, or woken: waits for a CPU */  \
	X(PREEMPTED, 2)	 /* the former */                            \
	X(IN_KERNEL, 3)	 /* in kernel mode when preempted */         \
	X(BLOCKING, 4)	 /* in KVM's wait for an event */            \
	X(EVENT, 5)	 /* with a request, or unhalted */           \
	X(IN_GUEST, 6)	 /* runs in the guest, or is kicked out */   \
	X(SPINS, 7)	 /* in a PAUSE exit */                       \
	X(ELIGIBLE, 8)	 /* for directed yield, as one that spins */ \
	X(POSTED, 9)	 /* with APICv, some interrupt is posted */  \
	X(VECTOR, 10)	 /* has the spinning one's vector pending */ \
	X(PV_VECTOR, 11) /* or that of its IPI by hypercall */       \
	X(AWAITED, 12)	 /* the guest says: it is waited for */      \
	X(IRR, 13)	 /* some interrupt is pending in its IRR */

enum dyield_state {
#define X(id, bit) DYIELD_STATE_##id = 1 << bit,
	DYIELD_STATES(X)
#undef X
};

struct dyield_decision {
	dyield_u64 time_ns; /* bpf_ktime_get_ns() */
	dyield_u64 vm;	    /* tells VMs apart, nothing else */
	dyield_u16 vcpus;   /* states that follow */
	dyield_u16 me;	    /* index of the spinning vCPU */
	dyield_u16 last_boosted;
	dyield_u16 chosen; /* index of the last that was tried; or 0xffff */
	dyield_s16
		yielded; /* and what came of it: above 0, it was yielded to */
	dyield_u8 tried;
	dyield_u8 kernel_mode; /* asked for a vCPU preempted in kernel mode */
	dyield_u8 vector;      /* of the last IPI by ICR, or 0 */
	dyield_u8 pv_vector;   /* of the last by hypercall, or 0 */
	dyield_u8 known;       /* AWAITED is: the guest published it */
	dyield_u8 spare;
	dyield_u16 state[DYIELD_RECORDING_VCPUS]; /* by index */
};

#endif
