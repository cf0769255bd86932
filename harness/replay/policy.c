/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One policy: compiled once for each, with
 *   POLICY          its name, with _ for -
 *   POLICY_SOURCE   what scripts/policy-source has cut out of its kernel
 *   kvm_lab_policy  the switch of patches/lab/peers.patch, if it is of that
 */
#include <string.h>

/* All policies are in one program. */
#define PASTE_(a, b)			  a##b
#define PASTE(a, b)			  PASTE_(a, b)
#define kvm_vcpu_on_spin		  PASTE(on_spin_, POLICY)
#define kvm_arch_dy_next_ipi_receiver	  PASTE(next_ipi_receiver_, POLICY)
#define kvm_arch_dy_has_pending_interrupt PASTE(has_pending_interrupt_, POLICY)
#define kvm_lab_is_receiver		  PASTE(lab_is_receiver_, POLICY)

#include "replay/shim.h"

static struct dyield_choice *choice_under_way;

/* A vCPU that waits for a CPU can be yielded to; another one cannot. */
static int yield_to_shim(struct kvm_vcpu *target)
{
	bool yields = target->state & DYIELD_STATE_READY;

	if (yields)
		choice_under_way->chosen = target->vcpu_idx;
	else
		choice_under_way->refused++;
	return yields;
}

static void trace_shim(int reason)
{
	choice_under_way->reason = reason;
}

#define kvm_vcpu_yield_to(target) yield_to_shim(target)
#define trace_kvm_directed_yield(vcpu_id, target_id, reason, yielded) \
	trace_shim(reason)
#include POLICY_SOURCE

static void choose(const struct dyield_decision *d,
		   struct dyield_choice *choice)
{
	static struct kvm_vcpu vcpus[DYIELD_RECORDING_VCPUS];
	static u8 regs[DYIELD_RECORDING_VCPUS][0x400];
	static struct kvm_apic_map map;
	static struct kvm kvm;
	int i;

	memset(&kvm, 0, sizeof(kvm));
	memset(&map, 0, sizeof(map));
	memset(vcpus, 0, sizeof(vcpus[0]) * d->vcpus);
	memset(regs, 0, sizeof(regs[0]) * d->vcpus);
	*choice = (struct dyield_choice){.chosen = -1, .reason = -1};
	choice_under_way = choice;

	kvm.online_vcpus = d->vcpus;
	kvm.last_boosted_vcpu = d->last_boosted;
	kvm.last_boosted_id = d->last_boosted;
	kvm.arch.apic_map = &map;
	kvm.awaited_known = d->known;
	map.nr_ids = d->vcpus;
	for (i = 0; i < d->vcpus; i++) {
		struct kvm_vcpu *vcpu = &vcpus[i];
		dyield_u16 state = d->state[i];
		u32 *irr = (u32 *)(regs[i] + APIC_IRR);

		vcpu->kvm = &kvm;
		vcpu->vcpu_id = vcpu->vcpu_idx = i;
		vcpu->state = state;
		/* The spinning vCPU runs, whatever a file says of it. */
		vcpu->ready = i != d->me && state & DYIELD_STATE_READY;
		vcpu->preempted = state & DYIELD_STATE_PREEMPTED;
		vcpu->mode = state & DYIELD_STATE_IN_GUEST ? IN_GUEST_MODE
							   : OUTSIDE_GUEST_MODE;
		vcpu->spin_loop.in_spin_loop = state & DYIELD_STATE_SPINS;
		vcpu->spin_loop.dy_eligible = state & DYIELD_STATE_ELIGIBLE;
		vcpu->arch.apic = &vcpu->arch.lapic;
		vcpu->arch.lapic.vcpu = vcpu;
		vcpu->arch.lapic.regs = regs[i];
		if (state & DYIELD_STATE_VECTOR)
			irr[d->vector / 32 * 4] |= 1u << (d->vector % 32);
		if (state & DYIELD_STATE_PV_VECTOR)
			irr[d->pv_vector / 32 * 4] |= 1u << (d->pv_vector % 32);
		kvm.vcpu_array.vcpu[i] = vcpu;
		if (state & DYIELD_STATE_PRESENT)
			map.phys_map[i] = &vcpu->arch.lapic;
	}
	*(u32 *)(regs[d->me] + APIC_ICR) = d->vector;
	vcpus[d->me].arch.lapic.hypercall_ipi_vector = d->pv_vector;
	kvm_vcpu_on_spin(&vcpus[d->me], d->kernel_mode);
}

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
const struct dyield_policy PASTE(dyield_policy_, POLICY) = {STRING(POLICY),
							    choose};
