/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TLB shootdown: change a page-table entry that every vCPU has cached, send
 * the IPI, spin until each receiver has flushed and said so.
 */
#ifndef DYIELD_GUEST_SHOOTDOWN_H
#define DYIELD_GUEST_SHOOTDOWN_H

#include "cpu.h"

/* A freed frame holds this; no generation ever does. */
#define FRAME_POISON (~0ULL)

/* A set of vCPUs. */
struct vcpu_set {
	u64 word[DYIELD_SET_WORDS];
};

static inline void set_add(struct vcpu_set *set, u32 vcpu)
{
	set->word[vcpu / 64] |= 1ULL << vcpu % 64;
}

/* Maps every window to its first frame; once, before any vCPU runs. */
void windows_init(u32 nr_vcpus);

/*
 * Remaps a window, which no other vCPU may be doing to it, and has the
 * receivers flush it: all that use it but this vCPU. Ring 0.
 */
void shootdown(u32 me, u32 window, const struct vcpu_set *receivers);

/* The handler of DYIELD_VECTOR_SHOOTDOWN, interrupts off. */
void shootdown_interrupt(u32 me);

/*
 * Reads a window in ring 3, as a program would touch its memory, and so keeps
 * its translation cached. False if the page had already been freed; then *value
 * and *newest say what was seen.
 */
bool window_check(u32 me, u32 window, u64 *value, u64 *newest);

#endif
