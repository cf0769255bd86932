/* SPDX-License-Identifier: GPL-2.0-only */
/* Sending an IPI to a set of vCPUs, in the way that the run asks for. */
#ifndef DYIELD_GUEST_IPI_H
#define DYIELD_GUEST_IPI_H

#include "cpu.h"

/* A set of vCPUs. */
struct vcpu_set {
	u64 word[DYIELD_SET_WORDS];
};

static inline void set_add(struct vcpu_set *set, u32 vcpu)
{
	set->word[vcpu / 64] |= 1ULL << vcpu % 64;
}

static inline void set_remove(struct vcpu_set *set, u32 vcpu)
{
	set->word[vcpu / 64] &= ~(1ULL << vcpu % 64);
}

static inline bool set_has(const struct vcpu_set *set, u32 vcpu)
{
	return set->word[vcpu / 64] >> vcpu % 64 & 1;
}

static inline u32 set_count(const struct vcpu_set *set)
{
	u32 count = 0;

	for (u32 i = 0; i < shared()->nr_vcpus; i++)
		count += set_has(set, i);
	return count;
}

/* All vCPUs but one. */
static inline struct vcpu_set all_but(u32 vcpu)
{
	struct vcpu_set set = {};

	for (u32 i = 0; i < shared()->nr_vcpus; i++) {
		if (i != vcpu)
			set_add(&set, i);
	}
	return set;
}

/*
 * Sends the vector to each vCPU of the set, which does not hold the sender. The
 * caller adds the number of receivers to ipis_sent. Interrupts off.
 */
u32 ipi_send(u32 me, const struct vcpu_set *receivers, u8 vector);

#endif
