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

static inline void record(struct dyield_histogram *histogram, u64 value)
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
	if (bucket >= DYIELD_BUCKETS)
		bucket = DYIELD_BUCKETS - 1;
	__sync_fetch_and_add(&histogram->bucket[bucket], 1);
	__sync_fetch_and_add(&histogram->sum, value);
}

#endif
