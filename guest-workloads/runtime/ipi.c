// SPDX-License-Identifier: GPL-2.0-only
#include "ipi.h"

#include "workload.h"

#define KVM_HC_SEND_IPI 10
#define PV_CLUSTER	128 /* APIC IDs that one hypercall can address */

static void send_each(const struct vcpu_set *receivers, u8 vector)
{
	const struct dyield_shared *sh = shared();

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i))
			apic_send(sh->apic_id[i], APIC_ICR_PHYSICAL, vector);
	}
}

/*
 * The logical destination of an APIC ID holds its cluster, ID / 16, above a
 * bit of 16 (Intel SDM volume 3, "Logical Destination Mode in x2APIC Mode").
 */
static void send_clusters(const struct vcpu_set *receivers, u8 vector)
{
	const struct dyield_shared *sh = shared();
	u16 members[(DYIELD_MAX_VCPUS + 1) / 16] = {};

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i))
			members[sh->apic_id[i] / 16] |= 1
							<< sh->apic_id[i] % 16;
	}
	for (u32 i = 0; i < sizeof(members) / sizeof(members[0]); i++) {
		if (members[i])
			apic_send(i << 16 | members[i], APIC_ICR_LOGICAL,
				  vector);
	}
}

static void send_shorthand(u32 me, const struct vcpu_set *receivers, u8 vector)
{
	struct vcpu_set others = all_but(me);

	/* It reaches all the others: right only if all were asked for. */
	for (u32 i = 0; i < DYIELD_SET_WORDS; i++) {
		if (receivers->word[i] != others.word[i])
			fail(DYIELD_ERROR_SEND, set_count(receivers),
			     set_count(&others), 0, 0);
	}
	apic_send(0, APIC_ICR_ALL_BUT_SELF, vector);
}

static void send_flat(const struct vcpu_set *receivers, u8 vector)
{
	const struct dyield_shared *sh = shared();
	u32 members = 0;

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i))
			members |= 1u << sh->apic_id[i];
	}
	apic_send(members, APIC_ICR_LOGICAL, vector);
}

static void send_hypercall(const struct vcpu_set *receivers, u8 vector)
{
	const struct dyield_shared *sh = shared();
	u64 members[(DYIELD_MAX_VCPUS + 1) / 64] = {};

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i))
			members[sh->apic_id[i] / 64] |= 1ULL
							<< sh->apic_id[i] % 64;
	}
	for (u32 min = 0; min <= DYIELD_MAX_VCPUS; min += PV_CLUSTER) {
		u64 low = members[min / 64], high = members[min / 64 + 1];
		u64 asked = 0, reached;

		for (u32 bit = 0; bit < 64; bit++)
			asked += (low >> bit & 1) + (high >> bit & 1);
		if (!asked)
			continue;
		reached = hypercall(KVM_HC_SEND_IPI, low, high, min, vector);
		if (reached != asked)
			fail(DYIELD_ERROR_SEND, asked, reached, 0, 0);
	}
}

u32 ipi_send(u32 me, const struct vcpu_set *receivers, u8 vector)
{
	u32 count = set_count(receivers);

	if (!count || fault_now(me, DYIELD_FAULT_LOST_IPI))
		return count;
	switch (way_of_sending()) {
	case DYIELD_WAY_CLUSTER:
		send_clusters(receivers, vector);
		break;
	case DYIELD_WAY_SHORTHAND:
		send_shorthand(me, receivers, vector);
		break;
	case DYIELD_WAY_FLAT:
		send_flat(receivers, vector);
		break;
	case DYIELD_WAY_PV:
		send_hypercall(receivers, vector);
		break;
	default:
		send_each(receivers, vector);
	}
	return count;
}
