/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Function calls on other vCPUs, after Linux's smp_call_function: each vCPU has
 * a queue of calls, and an IPI is sent only when a call is put into an empty
 * queue. Ring 0, interrupts off.
 */
#ifndef DYIELD_GUEST_CALL_H
#define DYIELD_GUEST_CALL_H

#include "ipi.h"

/* On every vCPU of the set, which does not hold this one. Waits for the end of
 * earlier calls of this vCPU to the same ones, and of these, if asked to. */
void call_many(u32 me, const struct vcpu_set *receivers, bool wait);

/*
 * On one vCPU, whose handler calls on, without waiting, and so on for so many
 * hops; waits for the last one. Three vCPUs or more; with two, there is one
 * hop.
 */
void call_chain(u32 me, u32 receiver, u32 hops);

/* Waits for the end of all calls of this vCPU. */
void call_drain(u32 me);

/* The handler of DYIELD_VECTOR_CALL, entered at that TSC value. */
void call_interrupt(u32 me, u64 entered);

#endif
