/* SPDX-License-Identifier: GPL-2.0-only */
/* The vCPU threads and guests of `dyield run`, as its probes see them, and a
 * recording beside them. */
#ifndef DYIELD_THREADS_BPF_H
#define DYIELD_THREADS_BPF_H

#include "common.bpf.h"

/* By place: see DYIELD_PLACE. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_counts);
	__uint(max_entries, 1); /* set by the harness, to a power of two */
} counts SEC(".maps");

/* By VM; its first part is guest memory, at DYIELD_SHARED_GPA. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_guest);
	__uint(max_entries, 1); /* set by the harness */
} guests SEC(".maps");

static __noinline struct dyield_counts *counts_elsewhere(u32 tid)
{
	for (u32 i = 1; i < DYIELD_PLACES; i++) {
		u32 place = DYIELD_PLACE(tid, i) & mask_of(&counts);
		struct dyield_counts *c = bpf_map_lookup_elem(&counts, &place);

		if (!c || !c->thread.tid)
			return NULL;
		if (c->thread.tid == tid)
			return c;
	}
	return NULL;
}

static __always_inline struct dyield_counts *counts_of(u32 tid)
{
	u32 place = DYIELD_PLACE(tid, 0) & mask_of(&counts);
	struct dyield_counts *c = bpf_map_lookup_elem(&counts, &place);

	if (!c || c->thread.tid == tid)
		return c;
	return c->thread.tid ? counts_elsewhere(tid) : NULL;
}

static __always_inline struct dyield_counts *this_thread(void)
{
	return counts_of(this_tid());
}

static __always_inline struct dyield_guest *
guest_of(const struct dyield_thread *thread)
{
	u32 vm = thread->vm;

	return bpf_map_lookup_elem(&guests, &vm);
}

#endif
