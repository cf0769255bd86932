/* SPDX-License-Identifier: GPL-2.0-only */
/* What the BPF programs and the harness share: the maps' values. */
#ifndef DYIELD_PROBES_H
#define DYIELD_PROBES_H

#include "dyield_abi.h"

/* A vCPU thread, by its thread ID: filled in by the harness before KVM_RUN. */
struct dyield_thread {
	dyield_u64 shared;  /* address of its VM's struct dyield_shared */
	dyield_u32 vcpu;    /* index in its VM */
	dyield_u32 slot;    /* index of its struct dyield_counts */
	dyield_u32 vcpus;   /* of its VM */
	dyield_u32 in_spin; /* inside kvm_vcpu_on_spin(); the BPF side's own */

	/* The yield being tried; the BPF side's own. */
	dyield_u32 target;
	dyield_u32 waiting; /* the wait set was not empty at the yield */
	dyield_u32 awaited; /* and held the target */
	dyield_u32 phase;   /* at the yield */
};

/* Counts of one vCPU thread, by the phase at the time of the event. */
struct dyield_counts {
	/* Calls of kvm_vcpu_on_spin(), and those with a published wait set. */
	dyield_u64 pause_exits[DYIELD_PHASES];
	dyield_u64 pause_exits_waiting[DYIELD_PHASES];
	/* Calls of kvm_vcpu_yield_to() inside it, and those that yielded. */
	dyield_u64 yields_tried[DYIELD_PHASES];
	dyield_u64 yields_made[DYIELD_PHASES];
	/* Of those made: with a published wait set; with the target in it. */
	dyield_u64 yields_while_waiting[DYIELD_PHASES];
	dyield_u64 yields_to_awaited[DYIELD_PHASES];

	/*
	 * From KVM's tracepoints and only with --audit: a second source for the
	 * same facts, to check the first one against. All phases together.
	 */
	dyield_u64 audit_exits;	      /* kvm_exit */
	dyield_u64 audit_pause_exits; /* kvm_exit whose reason is PAUSE */
	dyield_u64 audit_ipis; /* kvm_apic_accept_irq, IPIs of the guest */

	dyield_u64 lost; /* guest memory that could not be read */
};

#endif
