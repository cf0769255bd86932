// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts PAUSE exits and directed yields, and judges each yield by the wait set
 * that the guest publishes. A yield is made by the spinning vCPU's own thread,
 * so the guest's memory is readable right there and then.
 *
 * No global variables: libbpf tests for them with a socket filter, which a
 * kernel without networking, like the lab's, does not have.
 *
 * Everything is counted in maps; nothing is streamed. Threads that the harness
 * did not register are let through after one look-up.
 */
#include <linux/bpf.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "probes.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

/*
 * Exit reasons of a PAUSE exit: AMD64 manual volume 2, appendix C
 * (VMEXIT_PAUSE) and Intel SDM volume 3, appendix C; isa as in
 * arch/x86/kvm/trace.h.
 */
#define SVM_EXIT_PAUSE	      0x77
#define VMX_EXIT_REASON_PAUSE 40
#define KVM_ISA_VMX	      1

/* The fields used of KVM's structures, found by the running module's BTF. */
struct kvm_vcpu___dyield {
	int vcpu_idx;
} __attribute__((preserve_access_index));

struct trace_event_raw_kvm_exit___dyield {
	unsigned int exit_reason;
	u32 isa;
} __attribute__((preserve_access_index));

struct trace_event_raw_kvm_apic_accept_irq___dyield {
	u8 vec;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct dyield_thread);
	__uint(max_entries, 1); /* set by the harness */
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_counts);
	__uint(max_entries, 1); /* set by the harness */
} counts SEC(".maps");

/* Yields made by spinner and target while measuring: slot * vcpus + target. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1); /* set by the harness */
} targets SEC(".maps");

static struct dyield_thread *this_thread(void)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&threads, &tid);
}

static struct dyield_counts *counts_of(const struct dyield_thread *thread)
{
	u32 slot = thread->slot;

	return bpf_map_lookup_elem(&counts, &slot);
}

static u32 read_phase(const struct dyield_thread *thread,
		      struct dyield_counts *c)
{
	const struct dyield_shared *shared = (void *)thread->shared;
	u32 phase;

	if (bpf_probe_read_user(&phase, sizeof(phase), &shared->phase)) {
		c->lost++;
		return DYIELD_PHASE_BOOT;
	}
	return phase & (DYIELD_PHASES - 1);
}

static bool read_wait_set(const struct dyield_thread *thread,
			  struct dyield_counts *c, u64 set[DYIELD_SET_WORDS])
{
	const struct dyield_shared *shared = (void *)thread->shared;

	if (bpf_probe_read_user(set, sizeof(u64) * DYIELD_SET_WORDS,
				shared->vcpu[thread->vcpu].waiting_for)) {
		c->lost++;
		return false;
	}
	return set[0] | set[1] | set[2] | set[3];
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin_entry)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;
	u64 set[DYIELD_SET_WORDS];
	u32 phase;

	if (!thread)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	thread->in_spin = 1;
	phase = read_phase(thread, c);
	c->pause_exits[phase]++;
	if (read_wait_set(thread, c, set))
		c->pause_exits_waiting[phase]++;
	return 0;
}

SEC("fexit/kvm_vcpu_on_spin")
int BPF_PROG(on_spin_exit)
{
	struct dyield_thread *thread = this_thread();

	if (thread)
		thread->in_spin = 0;
	return 0;
}

/*
 * At the entry, because afterwards it is too late: the yield gives the CPU
 * away, and by its return the receivers may have answered.
 */
SEC("fentry/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_entry, struct kvm_vcpu___dyield *target)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;
	u64 set[DYIELD_SET_WORDS];
	u32 index;

	/* The sched-yield hypercall comes here too: it is no PAUSE exit. */
	if (!thread || !thread->in_spin)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	index = BPF_CORE_READ(target, vcpu_idx);
	thread->target = index;
	thread->phase = read_phase(thread, c);
	thread->waiting = read_wait_set(thread, c, set);
	thread->awaited =
		thread->waiting && index < 64 * DYIELD_SET_WORDS &&
		(set[(index / 64) & (DYIELD_SET_WORDS - 1)] >> (index % 64) &
		 1);
	c->yields_tried[thread->phase & (DYIELD_PHASES - 1)]++;
	return 0;
}

SEC("fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit, struct kvm_vcpu___dyield *target, int ret)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;
	u32 phase, cell;
	u64 *yields;

	if (!thread || !thread->in_spin || ret <= 0)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	phase = thread->phase & (DYIELD_PHASES - 1);
	c->yields_made[phase]++;
	if (thread->waiting)
		c->yields_while_waiting[phase]++;
	if (thread->awaited)
		c->yields_to_awaited[phase]++;
	if (phase != DYIELD_PHASE_MEASURE || thread->target >= thread->vcpus)
		return 0;
	cell = thread->slot * thread->vcpus + thread->target;
	yields = bpf_map_lookup_elem(&targets, &cell);
	if (yields)
		*yields += 1;
	return 0;
}

SEC("?tp/kvm/kvm_exit")
int audit_exit(struct trace_event_raw_kvm_exit___dyield *ctx)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;
	u32 reason;

	if (!thread)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	c->audit_exits++;
	reason = ctx->isa == KVM_ISA_VMX ? VMX_EXIT_REASON_PAUSE
					 : SVM_EXIT_PAUSE;
	if (ctx->exit_reason == reason)
		c->audit_pause_exits++;
	return 0;
}

/* Fires in the thread of the sender, for each receiver. */
SEC("?tp/kvm/kvm_apic_accept_irq")
int audit_ipi(struct trace_event_raw_kvm_apic_accept_irq___dyield *ctx)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;

	if (!thread)
		return 0;
	c = counts_of(thread);
	if (c && ctx->vec >= DYIELD_VECTOR_SHOOTDOWN &&
	    ctx->vec <= DYIELD_VECTOR_WAKE)
		c->audit_ipis++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
