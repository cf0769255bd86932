// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records each decision of kvm_vcpu_on_spin(): what KVM could have known of
 * every vCPU of the VM, and whom it chose. The states are taken at the entry,
 * the outcome at the return, and then the record goes to user space.
 *
 * In a guest of `dyield run`, whom the spinning vCPU awaits is known, too: the
 * maps threads and shared are then those of its probes.
 */
#include "lapic.bpf.h"
#include "record.h"

#define NOBODY 0xffff
#define FIXED  __builtin_offsetof(struct dyield_decision, state)

/* By spinning thread, the decision under way. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct dyield_decision);
	__uint(max_entries, 1024);
} underway SEC(".maps");

/* What an element of it begins with. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, struct dyield_decision);
	__uint(max_entries, 1);
} blank SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} decisions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1);
} lost SEC(".maps");

/* By process, whether its vCPUs are recorded; 0 stands for every one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u8);
	__uint(max_entries, 1024);
} processes SEC(".maps");

/* As in probes.bpf.c. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct dyield_thread);
	__uint(max_entries, 1);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_shared);
	__uint(max_entries, 1);
} shared SEC(".maps");

static void lose(void)
{
	u32 zero = 0;
	u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static struct dyield_decision *this_decision(void)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&underway, &tid);
}

struct walk {
	u64 phys_map;
	struct dyield_decision *decision;
	const volatile u64 *awaited;
	bool bad;
};

static u16 flag(bool set, u16 bit)
{
	return set ? bit : 0;
}

static long look_at(u32 i, struct walk *walk)
{
	struct dyield_decision *d = walk->decision;
	struct kvm_vcpu___dyield *vcpu;
	struct kvm_lapic___dyield *apic;
	struct asked asked = {};
	u16 state = DYIELD_STATE_PRESENT;
	u32 idx, pir[8] = {};

	if (bpf_probe_read_kernel(
		    &apic, sizeof(apic),
		    (void *)(walk->phys_map + i * sizeof(apic))) ||
	    !apic)
		return 0;
	vcpu = BPF_CORE_READ(apic, vcpu);
	if (BPF_CORE_READ_INTO(&idx, vcpu, vcpu_idx) ||
	    idx >= DYIELD_RECORDING_VCPUS) {
		walk->bad = true;
		return 1;
	}
	asked.regs = BPF_CORE_READ(apic, regs);
	asked.apicv = BPF_CORE_READ(apic, apicv_active);
	asked.vcpu = (const u8 *)vcpu;
	if (posted_at() && asked.apicv)
		bpf_probe_read_kernel(pir, sizeof(pir),
				      asked.vcpu + posted_at());
	state |= flag(BPF_CORE_READ(vcpu, ready), DYIELD_STATE_READY);
	state |= flag(BPF_CORE_READ(vcpu, preempted), DYIELD_STATE_PREEMPTED);
	state |= flag(BPF_CORE_READ(vcpu, arch.preempted_in_kernel),
		      DYIELD_STATE_IN_KERNEL);
	state |= flag(BPF_CORE_READ(vcpu, wait.task), DYIELD_STATE_BLOCKING);
	state |= flag(BPF_CORE_READ(vcpu, requests) ||
			      BPF_CORE_READ(vcpu, arch.pv.pv_unhalted),
		      DYIELD_STATE_EVENT);
	state |= flag(BPF_CORE_READ(vcpu, scheduled_out), DYIELD_STATE_OFF_CPU);
	state |= flag(BPF_CORE_READ(vcpu, spin_loop.in_spin_loop),
		      DYIELD_STATE_SPINS);
	state |= flag(BPF_CORE_READ(vcpu, spin_loop.dy_eligible),
		      DYIELD_STATE_ELIGIBLE);
	state |= flag(pir[0] | pir[1] | pir[2] | pir[3] | pir[4] | pir[5] |
			      pir[6] | pir[7],
		      DYIELD_STATE_POSTED);
	state |= flag(vector_pending(&asked, d->vector), DYIELD_STATE_VECTOR);
	state |= flag(vector_pending(&asked, d->pv_vector),
		      DYIELD_STATE_PV_VECTOR);
	if (walk->awaited && idx < 64 * DYIELD_SET_WORDS)
		state |= flag(
			walk->awaited[(idx / 64) & (DYIELD_SET_WORDS - 1)] >>
					(idx % 64) &
				1,
			DYIELD_STATE_AWAITED);
	d->state[idx & (DYIELD_RECORDING_VCPUS - 1)] = state;
	if (d->vcpus <= idx)
		d->vcpus = idx + 1;
	return 0;
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me, bool to_kernel_mode)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id, tgid = id >> 32, every = 0, n, vector = 0;
	struct dyield_decision *d = this_decision();
	struct kvm_apic_map___dyield *map;
	struct dyield_thread *thread;
	struct kvm___dyield *kvm;
	struct walk walk = {};

	if (!d) {
		struct dyield_decision *begin;

		if (!bpf_map_lookup_elem(&processes, &every) &&
		    !bpf_map_lookup_elem(&processes, &tgid))
			return 0;
		begin = bpf_map_lookup_elem(&blank, &every);
		if (!begin)
			return 0;
		if (bpf_map_update_elem(&underway, &tid, begin, BPF_ANY)) {
			lose();
			return 0;
		}
		d = this_decision();
		if (!d)
			return 0;
	}
	kvm = (void *)me->kvm;
	map = BPF_CORE_READ(kvm, arch.apic_map);
	d->vcpus = 0;
	if (!map || !me->arch.apic ||
	    vector_sent(me->arch.apic->regs, &vector)) {
		lose();
		return 0;
	}
	n = BPF_CORE_READ(map, max_apic_id) + 1;
	d->time_ns = bpf_ktime_get_ns();
	d->vm = (u64)(unsigned long)kvm;
	d->me = me->vcpu_idx;
	d->last_boosted = BPF_CORE_READ(kvm, last_boosted_vcpu);
	d->chosen = NOBODY;
	d->yielded = 0;
	d->tried = 0;
	d->kernel_mode = to_kernel_mode;
	d->vector = vector;
	walk.phys_map =
		(u64)(unsigned long)map +
		bpf_core_field_offset(struct kvm_apic_map___dyield, phys_map);
	walk.decision = d;
	thread = bpf_map_lookup_elem(&threads, &tid);
	d->known = 0;
	if (thread) {
		u32 vm = thread->vm;
		const struct dyield_shared *sh =
			bpf_map_lookup_elem(&shared, &vm);

		if (sh) {
			d->known = 1;
			walk.awaited = (const volatile u64 *)sh
					       ->vcpu[thread->vcpu & 0xff]
					       .waiting_for;
		}
	}
	__builtin_memset(d->state, 0, sizeof(d->state));
	bpf_loop(n < 1024 ? n : 1024, look_at, &walk, 0);
	if (walk.bad) {
		d->vcpus = 0;
		lose();
	}
	return 0;
}

SEC("fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit, struct kvm_vcpu___dyield *target, int ret)
{
	struct dyield_decision *d = this_decision();

	/* Behind the return of kvm_vcpu_on_spin() it is 0: a hypercall. */
	if (!d || !d->vcpus)
		return 0;
	d->chosen = target->vcpu_idx;
	d->yielded = ret;
	d->tried++;
	return 0;
}

SEC("fexit/kvm_vcpu_on_spin")
int BPF_PROG(on_spin_exit, struct kvm_vcpu___dyield *me)
{
	struct dyield_decision *d = this_decision();
	u32 n;

	if (!d || !d->vcpus)
		return 0;
	n = d->vcpus;
	if (n > DYIELD_RECORDING_VCPUS)
		n = DYIELD_RECORDING_VCPUS;
	if (bpf_ringbuf_output(&decisions, d, FIXED + n * sizeof(u16), 0))
		lose();
	d->vcpus = 0;
	return 0;
}

SEC("?fentry/kvm_pv_send_ipi")
int BPF_PROG(pv_send_ipi, void *sender, u64 low, u64 high, u32 min, u64 icr)
{
	struct dyield_decision *d = this_decision();

	if (d && !(icr & APIC_DELIVERY))
		d->pv_vector = icr & APIC_VECTOR;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
