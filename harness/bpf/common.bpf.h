/* SPDX-License-Identifier: GPL-2.0-only */
/* What every BPF program here needs. */
#ifndef DYIELD_COMMON_BPF_H
#define DYIELD_COMMON_BPF_H

#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "probes.h"

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

struct task_struct___dyield {
	int pid;
	/* Unsigned: its size differs between kernels, and libbpf adapts that.
	 */
	unsigned int on_cpu;
} __attribute__((preserve_access_index));

struct bpf_map___dyield {
	u32 max_entries;
} __attribute__((preserve_access_index));

/* Entries of an array map, as the harness has sized it: a power of two. */
static inline u32 mask_of(void *map)
{
	return ((struct bpf_map___dyield *)map)->max_entries - 1;
}

/* Of the thread that is on the CPU. By the pointer, whose loads the kernel
 * inlines, where a helper for the ID would be called. */
static inline u32 this_tid(void)
{
	return ((struct task_struct___dyield *)bpf_get_current_task_btf())->pid;
}

/*
 * The kernel's memory by its address. The cast is free, and a load behind it is
 * checked in line, where bpf_probe_read_kernel() is three calls deep; what
 * cannot be read is 0. The type is of no meaning but that every kernel has it,
 * with 8 bytes of number at its beginning.
 */
struct timespec64 {
	long long tv_sec;
	long tv_nsec;
};
extern void *bpf_rdonly_cast(const void *obj, u32 btf_id) __ksym;

#define load_at(type, address)                    \
	(*(const volatile type *)bpf_rdonly_cast( \
		(const void *)(address),          \
		bpf_core_type_id_kernel(struct timespec64)))

static inline u32 bucket_of(u64 value)
{
	u64 rest = value;
	u32 bucket = 0;

	/* log2: BPF has no instruction for it. */
	if (rest >> 32) {
		bucket += 32;
		rest >>= 32;
	}
	if (rest >> 16) {
		bucket += 16;
		rest >>= 16;
	}
	if (rest >> 8) {
		bucket += 8;
		rest >>= 8;
	}
	if (rest >> 4) {
		bucket += 4;
		rest >>= 4;
	}
	if (rest >> 2) {
		bucket += 2;
		rest >>= 2;
	}
	bucket += rest >> 1;
	return bucket < DYIELD_BUCKETS ? bucket : DYIELD_BUCKETS - 1;
}

#endif
