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
 */
#include "common.bpf.h"

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

/* By VM. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_vm);
	__uint(max_entries, 1); /* set by the harness */
} vms SEC(".maps");

/* By VM: this is guest memory, at DYIELD_SHARED_GPA. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_shared);
	__uint(max_entries, 1); /* set by the harness */
} shared SEC(".maps");

/* By slot: when an awaited IPI found the vCPU without a CPU, ns; else 0. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1); /* set by the harness */
} ipi_since SEC(".maps");

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

static struct dyield_thread *thread_of(u32 tid)
{
	return bpf_map_lookup_elem(&threads, &tid);
}

static struct dyield_thread *this_thread(void)
{
	return thread_of((u32)bpf_get_current_pid_tgid());
}

static struct dyield_counts *counts_of(const struct dyield_thread *thread)
{
	u32 slot = thread->slot;

	return bpf_map_lookup_elem(&counts, &slot);
}

static struct dyield_vm *vm_of(const struct dyield_thread *thread)
{
	u32 vm = thread->vm;

	return bpf_map_lookup_elem(&vms, &vm);
}

static const struct dyield_shared *shared_of(const struct dyield_thread *thread)
{
	u32 vm = thread->vm;

	return bpf_map_lookup_elem(&shared, &vm);
}

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
 * How long KVM takes to decide. The program that is attached first runs last,
 * i.e. the others' time stays out. Theirs at the yield is the same on every
 * kernel.
 */
SEC("?fentry/kvm_vcpu_on_spin")
int BPF_PROG(audit_begin, struct kvm_vcpu___dyield *me)
{
	struct dyield_thread *thread = this_thread();

	if (thread)
		thread->spin_since = bpf_ktime_get_ns();
	return 0;
}

static void least(u64 *min, u64 ns)
{
	if (!*min || ns < *min)
		*min = ns;
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me)
{
	struct dyield_thread *thread = this_thread();
	const struct dyield_shared *sh;
	const volatile u64 *set;
	struct dyield_counts *c;
	u64 w0, w1, w2, w3;
	struct dyield_vm *vm;
	u32 phase;

	if (!thread)
		return 0;
	c = counts_of(thread);
	vm = vm_of(thread);
	sh = shared_of(thread);
	if (!c || !vm || !sh)
		return 0;
	thread->kvm_vcpu = (u64)(unsigned long)me;
	thread->exit_phase = phase = phase_of(sh);
	thread->exit_starved = 0;
	c->pause_exits[phase]++;

	set = wait_set(sh, thread);
	w0 = set[0], w1 = set[1], w2 = set[2], w3 = set[3];
	thread->exit_waiting = !!(w0 | w1 | w2 | w3);
	if (!thread->exit_waiting)
		return 0;
	c->pause_exits_waiting[phase]++;
	if ((w0 & vm->runnable[0]) | (w1 & vm->runnable[1]) |
	    (w2 & vm->runnable[2]) | (w3 & vm->runnable[3])) {
		thread->exit_starved = 1;
		c->pause_exits_starved[phase]++;
	}
	return 0;
}

/*
 * Inside kvm_vcpu_on_spin(), says KVM's own mark: the sched-yield hypercall,
 * which is no PAUSE exit, comes to kvm_vcpu_yield_to() without it.
 */
static bool in_spin(const struct dyield_thread *thread, struct dyield_counts *c)
{
	struct kvm_vcpu___dyield *me = (void *)thread->kvm_vcpu;
	bool spins;

	if (!me)
		return false;
	if (BPF_CORE_READ_INTO(&spins, me, spin_loop.in_spin_loop)) {
		c->lost++;
		return false;
	}
	return spins;
}

/*
 * At the entry, because afterwards it is too late: the yield gives the CPU
 * away, and by its return the receivers may have answered.
 */
SEC("fentry/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_entry, struct kvm_vcpu___dyield *target)
{
	struct dyield_thread *thread = this_thread();
	const struct dyield_shared *sh;
	const volatile u64 *set;
	struct dyield_counts *c;

	if (!thread)
		return 0;
	thread->decision = 0;
	if (thread->spin_since) {
		thread->decision = bpf_ktime_get_ns() - thread->spin_since;
		thread->spin_since = 0;
	}
	c = counts_of(thread);
	sh = shared_of(thread);
	if (!c || !sh || !in_spin(thread, c))
		return 0;
	set = wait_set(sh, thread);
	thread->target = target->vcpu_idx;
	thread->phase = phase_of(sh);
	thread->waiting = !!(set[0] | set[1] | set[2] | set[3]);
	thread->awaited = in_set(set, thread->target);
	c->yields_tried[thread->phase & (DYIELD_PHASES - 1)]++;
	if (thread->decision && thread->phase == DYIELD_PHASE_MEASURE)
		least(&c->audit_decision, thread->decision);
	return 0;
}

SEC("fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit, struct kvm_vcpu___dyield *target, int ret)
{
	struct dyield_thread *thread;
	struct dyield_counts *c;
	u32 phase, cell;
	u64 *yields;

	if (ret <= 0)
		return 0;
	thread = this_thread();
	if (!thread)
		return 0;
	c = counts_of(thread);
	if (!c || !in_spin(thread, c))
		return 0;
	phase = thread->phase & (DYIELD_PHASES - 1);
	c->yields_made[phase]++;
	if (thread->waiting)
		c->yields_while_waiting[phase]++;
	if (thread->awaited)
		c->yields_to_awaited[phase]++;
	if (thread->exit_waiting && !thread->exit_starved)
		c->yields_needless[phase]++;
	/* A yield made ends the PAUSE exit: counted once, in its phase. */
	if (thread->exit_starved && thread->awaited)
		c->starved_to_awaited[thread->exit_phase &
				      (DYIELD_PHASES - 1)]++;
	if (phase != DYIELD_PHASE_MEASURE || thread->target >= thread->vcpus)
		return 0;
	cell = thread->slot * thread->vcpus + thread->target;
	yields = bpf_map_lookup_elem(&targets, &cell);
	if (yields)
		*yields += 1;
	return 0;
}

/*
 * The series' own account, where the kernel has it. Fires behind each yield
 * tried, and once if nobody was.
 */
SEC("?tp_btf/kvm_directed_yield")
int BPF_PROG(yield_reason, unsigned int vcpu_id, int target_id, u32 code,
	     int yielded)
{
	struct dyield_thread *thread = this_thread();
	struct dyield_reason *reason;
	struct dyield_counts *c;

	if (!thread)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	/* The argument's register has 64 bits; the verifier is to see 32 of
	 * them checked. */
	barrier_var(code);
	if (code > DYIELD_REASON_UNKNOWN)
		code = DYIELD_REASON_UNKNOWN;
	reason = &c->reason[code];
	if (target_id < 0) {
		if (thread->exit_phase != DYIELD_PHASE_MEASURE)
			return 0;
		reason->tried++;
		reason->nobody_waiting += thread->exit_waiting;
		reason->nobody_starved += thread->exit_starved;
		return 0;
	}
	if (thread->exit_phase == DYIELD_PHASE_MEASURE && yielded > 0 &&
	    thread->exit_starved && thread->awaited)
		reason->starved_to_awaited++;
	if (thread->phase != DYIELD_PHASE_MEASURE)
		return 0;
	if (thread->decision && code != DYIELD_REASON_RECEIVER)
		least(&c->audit_decision_guess, thread->decision);
	reason->tried++;
	if (yielded > 0) {
		reason->made++;
		reason->while_waiting += thread->waiting;
		reason->to_awaited += thread->awaited;
	} else if (yielded == 0) {
		reason->failed_state++;
	} else {
		reason->failed_alone++;
	}
	return 0;
}

static void becomes_runnable(struct dyield_thread *thread)
{
	struct dyield_vm *vm = vm_of(thread);

	if (!vm)
		return;
	thread->runnable_since = bpf_ktime_get_ns();
	set_bit(vm->runnable, thread->vcpu);
}

static void becomes_running(struct dyield_thread *thread)
{
	const struct dyield_shared *sh = shared_of(thread);
	struct dyield_vm *vm = vm_of(thread);
	u32 slot = thread->slot;
	u64 now, *since;
	bool measuring;

	since = bpf_map_lookup_elem(&ipi_since, &slot);
	if (!vm || !sh || !since)
		return;
	measuring = phase_of(sh) == DYIELD_PHASE_MEASURE;
	clear_bit(vm->runnable, thread->vcpu);
	/* A full barrier; the sender stores its time stamp, then reads this. */
	set_bit(vm->running, thread->vcpu);
	now = bpf_ktime_get_ns();
	if (measuring && thread->runnable_since)
		record(&vm->runnable_to_running, now - thread->runnable_since);
	thread->runnable_since = 0;
	if (*since) {
		if (measuring && now > *since)
			record(&vm->ipi_to_running, now - *since);
		*since = 0;
	}
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct___dyield *prev,
	     struct task_struct___dyield *next, unsigned int prev_state)
{
	struct dyield_thread *thread;
	struct dyield_vm *vm;
	u32 tid;

	tid = prev->pid;
	thread = tid ? thread_of(tid) : NULL;
	if (thread) {
		vm = vm_of(thread);
		if (vm)
			clear_bit(vm->running, thread->vcpu);
		/* 0 is TASK_RUNNING: it would go on if it could. */
		if (preempt || !prev_state)
			becomes_runnable(thread);
	}
	tid = next->pid;
	thread = tid ? thread_of(tid) : NULL;
	if (thread)
		becomes_running(thread);
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct___dyield *task)
{
	struct dyield_thread *thread = thread_of(task->pid);

	/* On a CPU still: it was about to sleep, and now goes on. */
	if (thread && !task->on_cpu && !thread->runnable_since)
		becomes_runnable(thread);
	return 0;
}

/* Fires in the thread of the sender, for each receiver. */
SEC("tp_btf/kvm_apic_accept_irq")
int BPF_PROG(ipi_accepted, u32 apic_id, u16 delivery_mode, u16 trigger_mode,
	     u8 vector)
{
	struct dyield_thread *thread = this_thread();
	const struct dyield_shared *sh;
	struct dyield_counts *c;
	struct dyield_vm *vm;
	u32 phase, slot;
	u64 *since;

	if (!thread)
		return 0;
	c = counts_of(thread);
	vm = vm_of(thread);
	sh = shared_of(thread);
	if (!c || !vm || !sh)
		return 0;
	if (vector >= DYIELD_VECTOR_SHOOTDOWN && vector <= DYIELD_VECTOR_WAKE)
		c->audit_ipis++;
	/* The APIC ID is the index, as Vm sets it. Other interrupts, such as a
	 * timer's, may come in this thread's context: nobody awaits them. */
	if (apic_id >= thread->vcpus || !in_set(wait_set(sh, thread), apic_id))
		return 0;
	phase = phase_of(sh);
	c->ipis_awaited[phase]++;
	if (in_set(vm->running, apic_id))
		return 0;
	c->ipis_to_waiting[phase]++;
	slot = thread->slot - thread->vcpu + apic_id;
	since = bpf_map_lookup_elem(&ipi_since, &slot);
	if (!since || *since)
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
	struct dyield_thread *thread = this_thread();
	struct dyield_counts *c;
	u32 reason;

	if (!thread)
		return PASS_ON;
	c = counts_of(thread);
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
	struct dyield_thread *thread = this_thread();
	u64 *known;
	u32 slot;

	if (!thread)
		return 0;
	slot = thread->slot;
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
	struct dyield_thread *thread = this_thread(), *other;
	struct dyield_counts *c;

	if (!thread)
		return 0;
	c = counts_of(thread);
	if (!c)
		return 0;
	other = thread_of(target->pid);
	c->audit_yields++;
	if (!other || other->owner != thread->owner)
		c->audit_yields_outside++;
	return 0;
}

struct audit {
	struct dyield_thread *thread;
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
	slot = audit->thread->slot - audit->thread->vcpu + i;
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
	struct audit audit = {.thread = this_thread()};
	const struct dyield_shared *sh;

	if (!audit.thread)
		return 0;
	audit.counts = counts_of(audit.thread);
	audit.vm = vm_of(audit.thread);
	sh = shared_of(audit.thread);
	if (!audit.counts || !audit.vm || !sh)
		return 0;
	audit.set = wait_set(sh, audit.thread);
	bpf_loop(audit.thread->vcpus, audit_awaited, &audit, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
