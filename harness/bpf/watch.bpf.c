// SPDX-License-Identifier: GPL-2.0-only
/*
 * Counts PAUSE exits and directed yields of VMs that know nothing of dyield.
 *
 * Whom a vCPU waits for is in its local APIC and in those of the others: the
 * vector in its ICR is that of the IPI it sent last, and who has this vector in
 * the IRR (or, with APICv, posted) has yet to take it. This is what the series
 * goes by, too.
 *
 * As in probes.bpf.c: no global variables, and nothing is streamed.
 */
#include "lapic.bpf.h"
#include "watch.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct dyield_watched);
	__uint(max_entries, 1); /* set by the harness */
} watched SEC(".maps");

/* What a new element begins with: too large for the stack. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, struct dyield_watched);
	__uint(max_entries, 1);
} blank SEC(".maps");

/* By process, whether its vCPUs are watched; 0 stands for every one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u8);
	__uint(max_entries, 1024);
} processes SEC(".maps");

/* vCPU threads that the map had no room for, counted as often as they came. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u64);
	__uint(max_entries, 1);
} refused SEC(".maps");

static struct dyield_watched *watched_of(u32 tid)
{
	return bpf_map_lookup_elem(&watched, &tid);
}

static struct dyield_watched *this_vcpu(void)
{
	return watched_of((u32)bpf_get_current_pid_tgid());
}

static struct dyield_watched *begin_to_watch(struct kvm_vcpu___dyield *vcpu)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id, tgid = id >> 32, zero = 0;
	struct kvm_lapic___dyield *apic;
	struct dyield_watched *w, *begin;

	if (!bpf_map_lookup_elem(&processes, &zero) &&
	    !bpf_map_lookup_elem(&processes, &tgid))
		return NULL;
	begin = bpf_map_lookup_elem(&blank, &zero);
	if (!begin)
		return NULL;
	/* Another vCPU in the same thread, or another thread of the same ID:
	 * begins anew. */
	if (bpf_map_update_elem(&watched, &tid, begin, BPF_ANY)) {
		u64 *count = bpf_map_lookup_elem(&refused, &zero);

		if (count)
			__sync_fetch_and_add(count, 1);
		return NULL;
	}
	w = watched_of(tid);
	if (!w)
		return NULL;
	apic = vcpu->arch.apic;
	w->apic_regs = (u64)(unsigned long)BPF_CORE_READ(apic, regs);
	w->kvm = (u64)(unsigned long)vcpu->kvm;
	w->tgid = tgid;
	w->vcpu_id = vcpu->vcpu_id;
	w->kvm_vcpu = (u64)(unsigned long)vcpu;
	return w;
}

/*
 * A vCPU that runs without spinning is watched, too: it may be what others
 * yield to. User space loads a vCPU for other ioctls as well, from any thread.
 */
SEC("fentry/kvm_arch_vcpu_load")
int BPF_PROG(vcpu_load, struct kvm_vcpu___dyield *vcpu)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();
	struct dyield_watched *w = watched_of(tid);
	struct pid___dyield *pid;

	if (w && w->kvm_vcpu == (u64)(unsigned long)vcpu)
		return 0;
	pid = vcpu->pid;
	if (pid && pid->numbers[0].nr == tid)
		begin_to_watch(vcpu);
	return 0;
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me, bool to_kernel_mode)
{
	struct dyield_watched *w = this_vcpu();

	if (!w || w->kvm_vcpu != (u64)(unsigned long)me) {
		w = begin_to_watch(me);
		if (!w)
			return 0;
	}
	w->kernel_mode = to_kernel_mode;
	w->tried = 0;
	w->n.pause_exits++;
	return 0;
}

struct scan {
	u64 phys_map;
	u64 own_regs;
	u32 vector, pv_vector;
	bool found;
};

static long look_at(u32 i, struct scan *scan)
{
	struct kvm_lapic___dyield *apic;
	struct asked asked = {};

	if (bpf_probe_read_kernel(
		    &apic, sizeof(apic),
		    (void *)(scan->phys_map + i * sizeof(apic))) ||
	    !apic)
		return 0;
	asked.regs = BPF_CORE_READ(apic, regs);
	if ((u64)(unsigned long)asked.regs == scan->own_regs)
		return 0;
	if (posted_at()) {
		asked.apicv = BPF_CORE_READ(apic, apicv_active);
		asked.vcpu = (const u8 *)BPF_CORE_READ(apic, vcpu);
	}
	scan->found = vector_pending(&asked, scan->vector) ||
		      vector_pending(&asked, scan->pv_vector);
	return scan->found;
}

static u32 judge(struct dyield_watched *w, struct kvm_vcpu___dyield *target)
{
	struct kvm_lapic___dyield *apic = target->arch.apic;
	struct kvm_apic_map___dyield *map;
	struct kvm___dyield *kvm;
	struct scan scan = {};
	struct asked asked;
	u32 n;

	if (!w->apic_regs || !apic)
		return DYIELD_UNKNOWN;
	if (vector_sent((const u8 *)w->apic_regs, &scan.vector)) {
		w->n.unreadable++;
		return DYIELD_UNKNOWN;
	}
	scan.pv_vector = w->pv_vector;
	if (!scan.vector && !scan.pv_vector)
		return DYIELD_UNKNOWN;
	asked.regs = BPF_CORE_READ(apic, regs);
	asked.vcpu = (const u8 *)target;
	asked.apicv = BPF_CORE_READ(apic, apicv_active);
	if (vector_pending(&asked, scan.vector) ||
	    vector_pending(&asked, scan.pv_vector))
		return DYIELD_HIT;
	kvm = (void *)w->kvm;
	map = BPF_CORE_READ(kvm, arch.apic_map);
	if (!map)
		return DYIELD_UNKNOWN;
	n = BPF_CORE_READ(map, max_apic_id) + 1;
	if (n > DYIELD_WATCH_SCAN)
		n = DYIELD_WATCH_SCAN;
	scan.phys_map =
		(u64)(unsigned long)map +
		bpf_core_field_offset(struct kvm_apic_map___dyield, phys_map);
	scan.own_regs = w->apic_regs;
	bpf_loop(n, look_at, &scan, 0);
	return scan.found ? DYIELD_MISS : DYIELD_UNKNOWN;
}

/* At the entry: by the return the target may have run. */
SEC("fentry/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_entry, struct kvm_vcpu___dyield *target)
{
	struct dyield_watched *w = this_vcpu();
	struct kvm_vcpu___dyield *me;
	bool spins;

	if (!w)
		return 0;
	w->yielding = 0;
	/* Not by the sched-yield hypercall. */
	me = (void *)w->kvm_vcpu;
	if (BPF_CORE_READ_INTO(&spins, me, spin_loop.in_spin_loop)) {
		w->n.unreadable++;
		return 0;
	}
	if (!spins)
		return 0;
	w->yielding = 1;
	w->n.exits_tried += !w->tried;
	w->tried = 1;
	w->n.yields_tried++;
	w->verdict = judge(w, target);
	/*
	 * What mainline's filter has let pass, and so why; a kernel with the
	 * series says so itself.
	 */
	if (!target->preempted || !w->kernel_mode)
		w->reason = DYIELD_REASON_READY;
	else if (target->arch.preempted_in_kernel)
		w->reason = DYIELD_REASON_KERNEL;
	else
		w->reason = DYIELD_REASON_PENDING;
	return 0;
}

static void count_yield(struct dyield_watched *w, u32 reason, int yielded)
{
	struct dyield_tier *tier;

	if (reason > DYIELD_REASON_UNKNOWN)
		reason = DYIELD_REASON_UNKNOWN;
	tier = &w->n.tier[reason];
	tier->tried++;
	if (yielded <= 0)
		return;
	tier->made++;
	w->n.yields_made++;
	w->n.verdicts[w->verdict < DYIELD_VERDICTS ? w->verdict
						   : DYIELD_UNKNOWN]++;
}

/* Without the series' tracepoint. */
SEC("?fexit/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_exit, struct kvm_vcpu___dyield *target, int ret)
{
	struct dyield_watched *w = this_vcpu();

	if (w && w->yielding)
		count_yield(w, w->reason, ret);
	return 0;
}

/* With it: behind each yield, and once if nobody was tried. */
SEC("?tp_btf/kvm_directed_yield")
int BPF_PROG(directed_yield, unsigned int vcpu_id, int target_id,
	     unsigned int reason, int yielded)
{
	struct dyield_watched *w = this_vcpu();

	if (w)
		count_yield(w, reason, target_id < 0 ? 0 : yielded);
	return 0;
}

/* Fires in the sender; the ICR says nothing of such an IPI. */
SEC("fentry/kvm_pv_send_ipi")
int BPF_PROG(pv_send_ipi, void *sender, u64 low, u64 high, u32 min, u64 icr)
{
	struct dyield_watched *w = this_vcpu();

	if (w && !(icr & APIC_DELIVERY))
		w->pv_vector = icr & APIC_VECTOR;
	return 0;
}

/* Before what was posted has been moved to the IRR; without APICv, none is. */
static bool interrupt_pending(const struct dyield_watched *w)
{
	u32 irr[32], pir[8] = {}, any = 0;

	if (!w->apic_regs ||
	    bpf_probe_read_kernel(irr, sizeof(irr),
				  (const u8 *)w->apic_regs + APIC_IRR))
		return false;
	if (posted_at())
		bpf_probe_read_kernel(pir, sizeof(pir),
				      (const u8 *)w->kvm_vcpu + posted_at());
	for (u32 i = 0; i < 8; i++)
		any |= irr[i * 4] | pir[i];
	return any;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct___dyield *prev,
	     struct task_struct___dyield *next, unsigned int prev_state)
{
	u64 now = bpf_ktime_get_ns();
	struct dyield_watched *w;
	u32 tid;

	tid = prev->pid;
	w = tid ? watched_of(tid) : NULL;
	/* 0 is TASK_RUNNING: it would go on if it could. */
	if (w && (preempt || !prev_state))
		w->runnable_since = now;
	tid = next->pid;
	w = tid ? watched_of(tid) : NULL;
	if (w && w->runnable_since) {
		record(&w->n.run_queue, now - w->runnable_since);
		if (interrupt_pending(w))
			record(&w->n.receiver, now - w->runnable_since);
		w->runnable_since = 0;
	}
	return 0;
}

SEC("tp_btf/sched_wakeup")
int BPF_PROG(woken, struct task_struct___dyield *task)
{
	struct dyield_watched *w = watched_of(task->pid);

	/* On a CPU still: it was about to sleep, and now goes on. */
	if (w && !task->on_cpu && !w->runnable_since)
		w->runnable_since = bpf_ktime_get_ns();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
