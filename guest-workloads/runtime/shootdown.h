/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TLB shootdown: change a page-table entry that every vCPU has cached, send
 * the IPI, spin until each receiver has flushed and said so.
 */
#ifndef DYIELD_GUEST_SHOOTDOWN_H
#define DYIELD_GUEST_SHOOTDOWN_H

#include "ipi.h"

/* A freed frame holds this; no generation ever does. */
#define FRAME_POISON (~0ULL)

/* Maps every window to its first frame; once, before any vCPU runs. */
void windows_init(u32 nr_vcpus);

/*
 * Remaps a window, which no other vCPU may be doing to it, and has the
 * receivers flush it: all that use it but this vCPU. Those that are lazy are
 * spared, if the workload says so. Ring 0.
 */
void shootdown(u32 me, u32 window, struct vcpu_set receivers);

/* The handler of DYIELD_VECTOR_SHOOTDOWN, entered at that TSC value. */
void shootdown_interrupt(u32 me, u64 entered);

/*
 * Enters and leaves the lazy state, in which a vCPU touches no window: senders
 * may spare it, and it flushes everything on its way out. After Linux's lazy
 * TLB mode (arch/x86/mm/tlb.c), without its generations: the whole flush is
 * always made.
 */
void lazy_enter(u32 me);
void lazy_leave(u32 me);

/*
 * Reads a window in ring 3, as a program would touch its memory, and so keeps
 * its translation cached. False if the page had already been freed; then *value
 * and *newest say what was seen.
 */
bool window_check(u32 me, u32 window, u64 *value, u64 *newest);

#endif
