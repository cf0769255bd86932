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
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_watched);
	__uint(max_entries, 1); /* set by the harness, to a power of two */
} watched SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, u32);
	__type(value, struct dyield_watch_room);
	__uint(max_entries, 1);
} room SEC(".maps");

/* By process, whether its vCPUs are watched; 0 stands for every one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, u8);
	__uint(max_entries, 1024);
} processes SEC(".maps");

static __noinline struct dyield_watched *watched_elsewhere(u32 tid)
{
	for (u32 i = 1; i < DYIELD_PLACES; i++) {
		u32 place = DYIELD_PLACE(tid, i) & mask_of(&watched);
		struct dyield_watched *w =
			bpf_map_lookup_elem(&watched, &place);

		if (!w || !w->tid)
			return NULL;
		if (w->tid == tid)
			return w;
	}
	return NULL;
}

static __always_inline struct dyield_watched *watched_of(u32 tid)
{
	u32 place = DYIELD_PLACE(tid, 0) & mask_of(&watched);
	struct dyield_watched *w = bpf_map_lookup_elem(&watched, &place);

	if (!w || w->tid == tid)
		return w;
	return w->tid ? watched_elsewhere(tid) : NULL;
}

static __always_inline struct dyield_watched *this_vcpu(void)
{
	return watched_of(this_tid());
}

/* Of a thread that is not watched. Nobody else claims a place for it. */
static __noinline struct dyield_watched *claim(u32 tid)
{
	u32 zero = 0;
	struct dyield_watch_room *r = bpf_map_lookup_elem(&room, &zero);

	if (!r)
		return NULL;
	if (__sync_fetch_and_add(&r->used, 1) < r->most) {
		for (u32 i = 0; i < DYIELD_PLACES; i++) {
			u32 place = DYIELD_PLACE(tid, i) & mask_of(&watched);
			struct dyield_watched *w =
				bpf_map_lookup_elem(&watched, &place);
			u32 before;

			if (!w)
				break;
			before = w->tid;
			if ((!before || before == DYIELD_WATCH_GONE) &&
			    __sync_val_compare_and_swap(&w->tid, before, tid) ==
				    before)
				return w;
		}
	}
	__sync_fetch_and_add(&r->used, -1);
	__sync_fetch_and_add(&r->refused, 1);
	return NULL;
}

static __noinline struct dyield_watched *
begin_to_watch(struct kvm_vcpu___dyield *vcpu, struct dyield_watched *w)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id, tgid = id >> 32, zero = 0;
	volatile u64 *n;
	u64 regs = 0;

	if (!bpf_map_lookup_elem(&processes, &zero) &&
	    !bpf_map_lookup_elem(&processes, &tgid))
		return NULL;
	if (!w)
		w = claim(tid);
	if (!w)
		return NULL;
	/* Another vCPU in the same thread, or another thread of the same ID:
	 * begins anew. */
	w->kvm_vcpu = 0;
	w->begun++;
	n = (volatile u64 *)&w->n;
	for (u32 i = 0; i < sizeof(w->n) / sizeof(*n); i++)
		n[i] = 0;
	w->runnable_since = 0;
	w->pv_vector = 0;
	w->yielding = 0;
	if (vcpu->arch.apic && BPF_CORE_READ_INTO(&regs, vcpu->arch.apic, regs))
		w->n.unreadable++;
	w->apic_regs = regs;
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
	u32 tid = this_tid();
	struct dyield_watched *w = watched_of(tid);
	struct pid___dyield *pid;

	if (w && w->kvm_vcpu == (u64)(unsigned long)vcpu)
		return 0;
	pid = vcpu->pid;
	if (pid && pid->numbers[0].nr == tid)
		begin_to_watch(vcpu, w);
	return 0;
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me, bool to_kernel_mode)
{
	struct dyield_watched *w = this_vcpu();

	if (!w || w->kvm_vcpu != (u64)(unsigned long)me) {
		w = begin_to_watch(me, w);
		if (!w)
			return 0;
	}
	w->kernel_mode = to_kernel_mode;
	w->tried = 0;
	w->n.pause_exits++;
	return 0;
}

/* An IPI's bit in the IRR and among what has been posted, from where these
 * begin. */
struct sought {
	u32 bit, irr, posted;
};

struct scan {
	u64 phys_map;
	u64 own_regs;
	struct sought icr, pv;
	u32 posted; /* in KVM's vCPU; 0 without posted interrupts */
	u32 vcpus, met;
	bool found;
};

static __always_inline void seek(struct sought *sought, u32 vector)
{
	sought->bit = vector ? 1u << (vector % 32) : 0;
	sought->irr = APIC_IRR + vector / 32 * 0x10;
	sought->posted = vector / 32 * 4;
}

/* Whether this APIC's vCPU has yet to take one of the IPIs. For each APIC of a
 * VM, so what can be known before is in the scan. */
static __always_inline bool owes(const struct scan *scan, u64 apic, u64 regs)
{
	struct kvm_lapic___dyield *lapic = (void *)(unsigned long)apic;
	u64 pir;

	if ((load_at(u32, regs + scan->icr.irr) & scan->icr.bit) ||
	    (scan->pv.bit && load_at(u32, regs + scan->pv.irr) & scan->pv.bit))
		return true;
	if (!scan->posted || !BPF_CORE_READ(lapic, apicv_active))
		return false;
	pir = (u64)(unsigned long)BPF_CORE_READ(lapic, vcpu) + scan->posted;
	return (load_at(u32, pir + scan->icr.posted) & scan->icr.bit) ||
	       (load_at(u32, pir + scan->pv.posted) & scan->pv.bit);
}

static long look_at(u32 i, struct scan *scan)
{
	u64 apic = load_at(u64, scan->phys_map + i * sizeof(apic));
	u64 regs;

	if (!apic)
		return 0;
	/* The map has room for 256 at least, most of it empty. */
	scan->met++;
	regs = regs_of(apic);
	if (regs != scan->own_regs && owes(scan, apic, regs))
		scan->found = true;
	return scan->found || scan->met >= scan->vcpus;
}

static __always_inline u32 judge(struct dyield_watched *w,
				 struct kvm_vcpu___dyield *target)
{
	u64 apic = (u64)(unsigned long)target->arch.apic, map;
	struct scan scan = {.posted = posted_at()};
	u32 n;

	if (!w->apic_regs || !apic)
		return DYIELD_UNKNOWN;
	seek(&scan.icr, vector_sent(w->apic_regs));
	seek(&scan.pv, w->pv_vector);
	if (!scan.icr.bit && !scan.pv.bit)
		return DYIELD_UNKNOWN;
	if (owes(&scan, apic, regs_of(apic)))
		return DYIELD_HIT;
	map = load_at(u64, w->kvm + bpf_core_field_offset(struct kvm___dyield,
							  arch.apic_map));
	if (!map)
		return DYIELD_UNKNOWN;
	n = load_at(u32,
		    map + bpf_core_field_offset(struct kvm_apic_map___dyield,
						max_apic_id)) +
	    1;
	if (n > DYIELD_WATCH_SCAN)
		n = DYIELD_WATCH_SCAN;
	scan.phys_map = map + bpf_core_field_offset(
				      struct kvm_apic_map___dyield, phys_map);
	scan.own_regs = w->apic_regs;
	scan.vcpus = load_at(
		u32, w->kvm + bpf_core_field_offset(struct kvm___dyield,
						    online_vcpus.counter));
	bpf_loop(n, look_at, &scan, 0);
	w->n.looked_at += scan.met;
	return scan.found ? DYIELD_MISS : DYIELD_UNKNOWN;
}

/* At the entry: by the return the target may have run. */
SEC("fentry/kvm_vcpu_yield_to")
int BPF_PROG(yield_to_entry, struct kvm_vcpu___dyield *target)
{
	struct dyield_watched *w = this_vcpu();

	if (!w)
		return 0;
	w->yielding = 0;
	/* Not by the sched-yield hypercall. */
	if (!load_at(u8, w->kvm_vcpu +
				 bpf_core_field_offset(struct kvm_vcpu___dyield,
						       spin_loop.in_spin_loop)))
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

	/* The verifier is to see the 32 bits checked that are used. */
	barrier_var(reason);
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
static __always_inline bool interrupt_pending(const struct dyield_watched *w)
{
	u64 irr = w->apic_regs + APIC_IRR;
	u64 posted = w->kvm_vcpu + posted_at();

	if (!w->apic_regs)
		return false;
		/* From the top, where the vectors of IPIs and of the timer are.
		 */
#pragma unroll
	for (int i = 7; i >= 0; i--)
		if (load_at(u32, irr + i * 0x10) ||
		    (posted_at() && load_at(u32, posted + i * 4)))
			return true;
	return false;
}

static void record(struct dyield_histogram *histogram, u32 bucket, u64 value)
{
	histogram->bucket[bucket]++;
	histogram->sum += value;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(switched, bool preempt, struct task_struct___dyield *prev,
	     struct task_struct___dyield *next, unsigned int prev_state)
{
	u32 from = prev->pid, to = next->pid;
	struct dyield_watched *w;
	u64 now = 0;

	w = from ? watched_of(from) : NULL;
	/* 0 is TASK_RUNNING: it would go on if it could. */
	if (w && (preempt || !prev_state))
		w->runnable_since = now = bpf_ktime_get_ns();
	w = to ? watched_of(to) : NULL;
	if (w && w->runnable_since) {
		u64 delay =
			(now ? now : bpf_ktime_get_ns()) - w->runnable_since;
		u32 bucket = bucket_of(delay);

		record(&w->n.run_queue, bucket, delay);
		if (interrupt_pending(w))
			record(&w->n.receiver, bucket, delay);
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
