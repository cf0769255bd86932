/* SPDX-License-Identifier: GPL-2.0-only */
/* KVM's vCPUs and their local APICs, as BPF programs see them. */
#ifndef DYIELD_LAPIC_BPF_H
#define DYIELD_LAPIC_BPF_H

#include "common.bpf.h"

/* Registers of the local APIC: Intel SDM volume 3, chapter "APIC". */
#define APIC_IRR      0x200
#define APIC_ICR      0x300
#define APIC_VECTOR   0xff
#define APIC_DELIVERY 0x700 /* 0: fixed */
#define APIC_SHORT    0xc0000
#define APIC_SELF     0x40000 /* the shorthand for the sender alone */

/* Only by BPF_CORE_READ(): where the pointer to it comes from, its type may be
 * known by name alone, as on 6.12, and then the verifier follows no pointer. */
struct kvm_lapic___dyield {
	bool apicv_active;
	void *regs;
	struct kvm_vcpu___dyield *vcpu;
} __attribute__((preserve_access_index));

struct kvm_apic_map___dyield {
	u32 max_apic_id;
	struct kvm_lapic___dyield *phys_map[];
} __attribute__((preserve_access_index));

struct kvm_arch___dyield {
	struct kvm_apic_map___dyield *apic_map;
} __attribute__((preserve_access_index));

struct kvm___dyield {
	struct kvm_arch___dyield arch;
	struct {
		int counter;
	} online_vcpus;
	int last_boosted_vcpu;
} __attribute__((preserve_access_index));

struct upid___dyield {
	int nr;
} __attribute__((preserve_access_index));

struct pid___dyield {
	struct upid___dyield numbers[1];
} __attribute__((preserve_access_index));

struct kvm_vcpu_arch___dyield {
	struct kvm_lapic___dyield *apic;
	bool preempted_in_kernel;
	struct {
		bool pv_unhalted;
	} pv;
} __attribute__((preserve_access_index));

struct rcuwait___dyield {
	void *task;
} __attribute__((preserve_access_index));

struct kvm_vcpu___dyield {
	struct kvm___dyield *kvm;
	int vcpu_id;
	int vcpu_idx;
	int mode;
	u64 requests;
	struct rcuwait___dyield wait;
	struct pid___dyield *pid;
	struct {
		bool in_spin_loop;
		bool dy_eligible;
	} spin_loop;
	bool preempted;
	bool ready;
	struct kvm_vcpu_arch___dyield arch;
} __attribute__((preserve_access_index));

/* Where kvm-intel keeps what has been posted: one of the two. The requests are
 * the first 256 bits (Intel SDM volume 3, "Posted-Interrupt Processing"). */
struct pi_desc___dyield {
	u32 control;
} __attribute__((preserve_access_index));

struct vcpu_vt___dyield {
	struct pi_desc___dyield pi_desc;
} __attribute__((preserve_access_index));

struct vcpu_vmx___dyield {
	struct kvm_vcpu___dyield vcpu;
	struct vcpu_vt___dyield vt;
} __attribute__((preserve_access_index));

struct vcpu_vmx___dyield_old {
	struct pi_desc___dyield pi_desc;
} __attribute__((preserve_access_index));

/* Who is asked for pending interrupts. */
struct asked {
	const u8 *regs;
	const u8 *vcpu;
	bool apicv;
};

/* Two elements where the CPU has VMX, set by the harness: the types of
 * kvm-intel are there as well where it is built into the kernel of an AMD host.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 1);
} vmx SEC(".maps");

/* Where in KVM's vCPU the posted interrupts are; 0 where that is not the case:
 * AVIC of kvm-amd writes the IRR itself. */
static inline u32 posted_at(void)
{
	u32 at = 0;

	if (bpf_core_field_exists(struct vcpu_vmx___dyield, vt))
		at = bpf_core_field_offset(struct vcpu_vmx___dyield, vt) +
		     bpf_core_field_offset(struct vcpu_vt___dyield, pi_desc);
	else if (bpf_core_field_exists(struct vcpu_vmx___dyield_old, pi_desc))
		at = bpf_core_field_offset(struct vcpu_vmx___dyield_old,
					   pi_desc);
	return at && ((struct bpf_map___dyield *)&vmx)->max_entries > 1 ? at
									: 0;
}

static inline u64 regs_of(u64 apic)
{
	return load_at(u64, apic + bpf_core_field_offset(
					   struct kvm_lapic___dyield, regs));
}

static inline bool vector_pending(const struct asked *asked, u32 vector)
{
	u64 irr = (u64)(unsigned long)asked->regs + APIC_IRR;
	u64 posted = (u64)(unsigned long)asked->vcpu + posted_at();

	if (!vector)
		return false;
	if (load_at(u32, irr + vector / 32 * 0x10) >> (vector % 32) & 1)
		return true;
	return posted_at() && asked->apicv &&
	       (load_at(u32, posted + vector / 32 * 4) >> (vector % 32) & 1);
}

/* The vector of the last fixed IPI to others that is in the ICR, or 0. */
static inline u32 vector_sent(u64 regs)
{
	u32 icr = load_at(u32, regs + APIC_ICR);

	if (!(icr & APIC_DELIVERY) && (icr & APIC_SHORT) != APIC_SELF)
		return icr & APIC_VECTOR;
	return 0;
}

#endif
