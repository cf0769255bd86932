// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts PAUSE exits and directed yields, and judges each by the wait set that
 * the guest publishes and by what the scheduler does with the vCPUs in it.
 *
 * The guest's shared structure lies in the memory of a BPF map, so it is read
 * with plain loads: in the spinning vCPU's own thread, at the very moment.
 *
 * No global variables: libbpf tests for them with a socket filter, which a
 * kernel without networking, like the lab's, does not have.
 *
 * Everything is counted in maps; nothing is streamed. Threads that the harness
 * did not register are let through after one look-up.
 *
 * What a PAUSE exit costs more with these programs is counted (scripts/
 * probe-cost), and most of it is the way into a program and back: so they are
 * few, maps are arrays, whose look-ups the kernel inlines, and no helper is
 * called where a load will do.
 */
#include "threads.bpf.h"

/*
 * Exit reasons of a PAUSE exit: AMD64 manual volume 2, appendix C
 * (VMEXIT_PAUSE) and Intel SDM volume 3, appendix C; isa as in
 * arch/x86/kvm/trace.h.
 */
#define SVM_EXIT_PAUSE	      0x77
#define VMX_EXIT_REASON_PAUSE 40
#define KVM_ISA_VMX	      1

/* The fields used of the kernel's structures, found by the running BTF. */
struct kvm_vcpu___dyield {
	int vcpu_idx;
	struct {
		bool in_spin_loop;
	} spin_loop;
	bool preempted;
	bool ready;
} __attribute__((preserve_access_index));

struct trace_event_raw_kvm_exit___dyield {
	unsigned int exit_reason;
	u32 isa;
} __attribute__((preserve_access_index));

/* By slot: struct kvm_vcpu, with --audit. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1); /* set by the harness */
} kvm_vcpus SEC(".maps");

/* Yields made by spinner and target while measuring: slot * vcpus + target. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1); /* set by the harness */
} targets SEC(".maps");

/*
 * From a program on a tracepoint: perf's own users of it get the event, too,
 * which they would not for 0 (perf_trace_run_bpf_submit() in
 * kernel/events/core.c).
 */
#define PASS_ON 1

static u32 phase_of(const struct dyield_shared *sh)
{
	return *(const volatile u32 *)&sh->phase & (DYIELD_PHASES - 1);
}

/* Whom the thread's vCPU awaits. Bound for the verifier's sake. */
static const volatile u64 *wait_set(const struct dyield_shared *sh,
				    const struct dyield_thread *thread)
{
	return (const volatile u64 *)sh->vcpu[thread->vcpu & 0xff].waiting_for;
}

static bool in_set(const volatile u64 *set, u32 vcpu)
{
	return vcpu < 64 * DYIELD_SET_WORDS &&
	       set[(vcpu / 64) & (DYIELD_SET_WORDS - 1)] >> (vcpu % 64) & 1;
}

static void set_bit(u64 *set, u32 vcpu)
{
	__sync_fetch_and_or(&set[(vcpu / 64) & (DYIELD_SET_WORDS - 1)],
			    1ULL << (vcpu % 64));
}

static void clear_bit(u64 *set, u32 vcpu)
{
	__sync_fetch_and_and(&set[(vcpu / 64) & (DYIELD_SET_WORDS - 1)],
			     ~(1ULL << (vcpu % 64)));
}

/*
 * Inside kvm_vcpu_on_spin(), says KVM's own mark: the sched-yield hypercall,
 * which is no PAUSE exit, comes to kvm_vcpu_yield_to() without it.
 */
static bool in_spin(const struct dyield_thread *thread)
{
	return thread->kvm_vcpu &&
	       load_at(u8, thread->kvm_vcpu + bpf_core_field_offset(
						      struct kvm_vcpu___dyield,
						      spin_loop.in_spin_loop));
}

/*
 * How long KVM takes to decide. The program that is attached first runs last,
 * i.e. the others' time stays out.
 */
SEC("?fentry/kvm_vcpu_on_spin")
int BPF_PROG(audit_begin, struct kvm_vcpu___dyield *me)
{
	struct dyield_counts *c = this_thread();

	if (c)
		c->thread.spin_since = bpf_ktime_get_ns();
	return 0;
}

static void least(u64 *min, u64 ns)
{
	if (!*min || ns < *min)
		*min = ns;
}

SEC("?fentry/kvm_vcpu_yield_to")
int BPF_PROG(audit_decided, struct kvm_vcpu___dyield *target)
{
	struct dyield_counts *c = this_thread();
	struct dyield_thread *thread;

	if (!c)
		return 0;
	thread = &c->thread;
	thread->decision = 0;
	if (!thread->spin_since)
		return 0;
	thread->decision = bpf_ktime_get_ns() - thread->spin_since;
	thread->spin_since = 0;
	if (in_spin(thread) && thread->phase == DYIELD_PHASE_MEASURE)
		least(&c->audit_decision, thread->decision);
	return 0;
}

/*
 * What the spinner needs is asked here, when KVM begins to decide: behind the
 * yield is too late, for by then the receivers may have answered.
 */
SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me)
{
	struct dyield_counts *c = this_thread();
	struct dyield_thread *thread;
	struct dyield_guest *guest;
	const volatile u64 *set;
	u64 any, runnable, w;
	u32 phase, state;

	if (!c)
		return 0;
	thread = &c->thread;
	guest = guest_of(thread);
	if (!guest)
		return 0;
	phase = phase_of(&guest->shared);
	set = wait_set(&guest->shared, thread);
	thread->awaited[0] = any = set[0];
	runnable = any & guest->vm.runnable[0];
	if (thread->vcpus > 64) {
		thread->awaited[1] = w = set[1];
		runnable |= w & guest->vm.runnable[1];
		any |= w;
		thread->awaited[2] = w = set[2];
		runnable |= w & guest->vm.runnable[2];
		any |= w;
		thread->awaited[3] = w = set[3];
		runnable |= w & guest->vm.runnable[3];
		any |= w;
	}
	state = runnable ? DYIELD_EXIT_STARVED
		: any	 ? DYIELD_EXIT_WAITING
			 : DYIELD_EXIT_IDLE;
	thread->kvm_vcpu = (u64)(unsigned long)me;
	thread->phase = phase;
	thread->state = state;
	c->pause_exits[phase][state]++;
	return 0;
}

static void count_target(const struct dyield_thread *thread, u32 target)
{
	u32 cell = thread->slot * thread->vcpus + target;
	u64 *yields;

	if (target >= thread->vcpus)
		return;
	yields = bpf_map_lookup_elem(&targets, &cell);
	if (yields)
		*yields += 1;
}

static __always_inline void count_made(const struct dyield_thread *thread,
				       struct dyield_made *made, u32 target)
{
	u32 state = thread->state;

	barrier_var(state);
	if (state < DYIELD_EXIT_STATES)
		made->by[state][in_set(thread->awaited, target)]++;
}

/* It was none, so nobody is to be waited for to follow it. */
static void forget_yield(struct dyield_thread *thread, u32 target)
{
	struct dyield_guest *guest;
	u64 *since;

	if (!thread->yield_since)
		return;
	guest = guest_of(thread);
	if (!guest)
		return;
	since = &guest->vm.yield_since[target & 0xff];
	if (*since == thread->yield_since)
		*since = 0;
}

/* Without the series' tracepoint, or as a second account with it. */
SEC("?fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit, struct kvm_vcpu___dyield *target, int ret)
{
	struct dyield_counts *c = this_thread();
	struct dyield_thread *thread;
	u32 phase;

	if (!c)
		return 0;
	thread = &c->thread;
	if (!in_spin(thread))
		return 0;
	phase = thread->phase & (DYIELD_PHASES - 1);
	if (ret <= 0) {
		c->failed[phase]++;
		forget_yield(thread, target->vcpu_idx);
		return 0;
	}
	count_made(thread, &c->made[phase], target->vcpu_idx);
	if (phase == DYIELD_PHASE_MEASURE)
		count_target(thread, target->vcpu_idx);
	return 0;
}

static __always_inline void count_reason(struct dyield_counts *c, int target,
					 u32 code, int yielded, bool alone)
{
	struct dyield_thread *thread = &c->thread;
	struct dyield_reason *reason;
	u32 state = thread->state;

	if (thread->phase != DYIELD_PHASE_MEASURE)
		return;
	/* The argument's register has 64 bits; the verifier is to see 32 of
	 * them checked. */
	barrier_var(code);
	if (code > DYIELD_REASON_UNKNOWN)
		code = DYIELD_REASON_UNKNOWN;
	reason = &c->reason[code];
	if (target < 0) {
		barrier_var(state);
		if (state < DYIELD_EXIT_STATES)
			reason->nobody[state]++;
		return;
	}
	if (thread->decision && code != DYIELD_REASON_RECEIVER)
		least(&c->audit_decision_guess, thread->decision);
	if (yielded > 0) {
		count_made(thread, &reason->made, target);
		if (alone)
			count_target(thread, target);
	} else if (yielded == 0) {
		reason->failed_state++;
	} else {
		reason->failed_alone++;
	}
}

/*
 * The series' own account, where the kernel has it. Fires behind each yield
 * tried, and once if nobody was. vCPU IDs are indices, as Vm sets them.
 */
SEC("?tp_btf/kvm_directed_yield")
int BPF_PROG(directed_yield, unsigned int vcpu_id, int target_id, u32 code,
	     int yielded)
{
	struct dyield_counts *c = this_thread();

	if (c)
		count_reason(c, target_id, code, yielded, true);
	return 0;
}

/* The same beside yield_to_exit(), with --audit. */
SEC("?tp_btf/kvm_directed_yield")
int BPF_PROG(audit_reason, unsigned int vcpu_id, int target_id, u32 code,
	     int yielded)
{
	struct dyield_counts *c = this_thread();

	if (c)
		count_reason(c, target_id, code, yielded, false);
	return 0;
}

/* From several CPUs: it is a VM's. */
static void record(struct dyield_histogram *histogram, u64 value)
{
	__sync_fetch_and_add(&histogram->bucket[bucket_of(value)], 1);
	__sync_fetch_and_add(&histogram->sum, value);
}

static void becomes_runnable(struct dyield_thread *thread, struct dyield_vm *vm,
			     u64 now)
{
	thread->runnable_since = now;
	set_bit(vm->runnable, thread->vcpu);
}

/* What began then has ended by that the vCPU runs. */
static void ends(u64 *since, struct dyield_histogram *histogram, u64 now,
		 bool measuring)
{
	if (!*since)
		return;
	if (measuring && now > *since)
		record(histogram, now - *since);
	*since = 0;
}

static void becomes_running(struct dyield_counts *c, struct dyield_guest *guest,
			    u64 now)
{
	struct dyield_thread *thread = &c->thread;
	struct dyield_vm *vm = &guest->vm;
	u32 cpu = bpf_get_smp_processor_id();
	bool measuring = phase_of(&guest->shared) == DYIELD_PHASE_MEASURE;
	u32 vcpu = thread->vcpu & 0xff;

	clear_bit(vm->runnable, thread->vcpu);
	/* A full barrier; the sender stores its time stamp, then reads this. */
	set_bit(vm->running, thread->vcpu);
	if (measuring) {
		c->switches++;
		c->migrations += cpu != thread->cpu;
		if (thread->runnable_since)
			record(&vm->runnable_to_running,
			       now - thread->runnable_since);
	}
	thread->cpu = cpu;
	thread->runnable_since = 0;
	ends(&vm->ipi_since[vcpu], &vm->ipi_to_running, now, measuring);
	ends(&vm->yield_since[vcpu], &vm->yield_to_running, now, measuring);
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct___dyield *prev,
	     struct task_struct___dyield *next, unsigned int prev_state)
{
	u32 from = prev->pid, to = next->pid;
	struct dyield_guest *guest;
	struct dyield_counts *c;
	u64 now = 0;

	c = from ? counts_of(from) : NULL;
	guest = c ? guest_of(&c->thread) : NULL;
	if (guest) {
		clear_bit(guest->vm.running, c->thread.vcpu);
		/* 0 is TASK_RUNNING: it would go on if it could. */
		if (preempt || !prev_state) {
			now = bpf_ktime_get_ns();
			becomes_runnable(&c->thread, &guest->vm, now);
		}
	}
	c = to ? counts_of(to) : NULL;
	guest = c ? guest_of(&c->thread) : NULL;
	if (guest)
		becomes_running(c, guest, now ? now : bpf_ktime_get_ns());
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct___dyield *task)
{
	struct dyield_counts *c = counts_of(task->pid);
	struct dyield_guest *guest;

	/* On a CPU still: it was about to sleep, and now goes on. */
	if (!c || task->on_cpu || c->thread.runnable_since)
		return 0;
	guest = guest_of(&c->thread);
	if (guest)
		becomes_runnable(&c->thread, &guest->vm, bpf_ktime_get_ns());
	return 0;
}

/* Fires in the thread of the sender, for each receiver. */
SEC("tp_btf/kvm_apic_accept_irq")
int BPF_PROG(ipi_accepted, u32 apic_id, u16 delivery_mode, u16 trigger_mode,
	     u8 vector)
{
	struct dyield_counts *c = this_thread();
	const struct dyield_shared *sh;
	struct dyield_thread *thread;
	struct dyield_guest *guest;
	struct dyield_vm *vm;
	u64 *since;
	u32 phase;

	if (!c)
		return 0;
	thread = &c->thread;
	guest = guest_of(thread);
	if (!guest)
		return 0;
	vm = &guest->vm;
	sh = &guest->shared;
	if (vector >= DYIELD_VECTOR_SHOOTDOWN && vector <= DYIELD_VECTOR_WAKE)
		c->audit_ipis++;
	/* The APIC ID is the index, as Vm sets it. Other interrupts may come in
	 * this thread's context, such as a timer's, and one that kicks whoever
	 * it meets: nobody awaits them. */
	if (vector == DYIELD_VECTOR_WAKE || apic_id >= thread->vcpus ||
	    !in_set(wait_set(sh, thread), apic_id))
		return 0;
	phase = phase_of(sh);
	c->ipis_awaited[phase]++;
	if (in_set(vm->running, apic_id))
		return 0;
	c->ipis_to_waiting[phase]++;
	since = &vm->ipi_since[apic_id & 0xff];
	if (*since)
		return 0;
	__sync_lock_test_and_set(since, bpf_ktime_get_ns());
	/* Switched in meanwhile: too late to be measured by the switch. */
	if (in_set(vm->running, apic_id))
		*since = 0;
	return 0;
}

SEC("?tp/kvm/kvm_exit")
int audit_exit(struct trace_event_raw_kvm_exit___dyield *ctx)
{
	struct dyield_counts *c = this_thread();
	u32 reason;

	if (!c)
		return PASS_ON;
	c->audit_exits++;
	reason = ctx->isa == KVM_ISA_VMX ? VMX_EXIT_REASON_PAUSE
					 : SVM_EXIT_PAUSE;
	if (ctx->exit_reason == reason)
		c->audit_pause_exits++;
	return PASS_ON;
}

/* Who is who: at each KVM_RUN, which is rare, as the payload rarely leaves. */
SEC("?fentry/kvm_arch_vcpu_ioctl_run")
int BPF_PROG(audit_vcpu, struct kvm_vcpu___dyield *vcpu)
{
	struct dyield_counts *c = this_thread();
	u64 *known;
	u32 slot;

	if (!c)
		return 0;
	slot = c->thread.slot;
	known = bpf_map_lookup_elem(&kvm_vcpus, &slot);
	if (known)
		*known = (u64)(unsigned long)vcpu;
	return 0;
}

/*
 * What KVM asks of the scheduler, by the harness's own list of threads:
 * whatever a guest does, only vCPUs of the same VM may be chosen.
 */
SEC("?fentry/yield_to")
int BPF_PROG(audit_yield, struct task_struct___dyield *target)
{
	struct dyield_counts *c = this_thread(), *other;
	struct dyield_guest *guest;
	u64 *since;

	if (!c)
		return 0;
	other = counts_of(target->pid);
	c->audit_yields++;
	if (!other || other->thread.owner != c->thread.owner) {
		c->audit_yields_outside++;
		return 0;
	}
	c->thread.yield_since = 0;
	if (!in_spin(&c->thread) || c->thread.phase != DYIELD_PHASE_MEASURE)
		return 0;
	guest = guest_of(&other->thread);
	if (!guest || in_set(guest->vm.running, other->thread.vcpu))
		return 0;
	/* Before the yield: behind it, the target may have run. Of several, the
	 * first counts. */
	since = &guest->vm.yield_since[other->thread.vcpu & 0xff];
	if (!*since)
		*since = c->thread.yield_since = bpf_ktime_get_ns();
	return 0;
}

struct audit {
	struct dyield_counts *counts;
	struct dyield_vm *vm;
	const volatile u64 *set;
};

static long audit_awaited(u32 i, struct audit *audit)
{
	struct dyield_counts *c = audit->counts;
	struct kvm_vcpu___dyield *vcpu;
	bool preempted, ready;
	u32 slot;
	u64 *known;

	if (!in_set(audit->set, i))
		return 0;
	slot = c->thread.slot - c->thread.vcpu + i;
	known = bpf_map_lookup_elem(&kvm_vcpus, &slot);
	if (!known || !*known)
		return 0;
	vcpu = (void *)*known;
	if (BPF_CORE_READ_INTO(&preempted, vcpu, preempted) ||
	    BPF_CORE_READ_INTO(&ready, vcpu, ready)) {
		c->lost++;
		return 0;
	}
	c->audit_awaited++;
	if ((preempted || ready) && !in_set(audit->vm->runnable, i))
		c->audit_flags_only++;
	if (!(preempted || ready) && in_set(audit->vm->runnable, i))
		c->audit_sched_only++;
	return 0;
}

/*
 * KVM's flags of the awaited vCPUs against the scheduler's tracepoints: two
 * accounts of who waits for a CPU. By bpf_loop(), whose body the verifier reads
 * once: it took half of a run's start to walk the loop written out.
 */
SEC("?fentry/kvm_vcpu_on_spin")
int BPF_PROG(audit_spin, struct kvm_vcpu___dyield *me)
{
	struct audit audit = {.counts = this_thread()};
	const struct dyield_thread *thread;
	struct dyield_guest *guest;

	if (!audit.counts)
		return 0;
	thread = &audit.counts->thread;
	guest = guest_of(thread);
	if (!guest)
		return 0;
	audit.vm = &guest->vm;
	audit.set = wait_set(&guest->shared, thread);
	bpf_loop(thread->vcpus, audit_awaited, &audit, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
