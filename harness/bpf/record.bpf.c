// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records each decision of kvm_vcpu_on_spin(): what KVM could have known of
 * every vCPU of the VM, and whom it chose. The states are taken at the entry,
 * the outcome at the return, and then the record goes to user space.
 *
 * In a guest of `dyield run`, whom the spinning vCPU awaits is known, too: the
 * maps counts and guests are then those of its probes.
 */
#include "lapic.bpf.h"
#include "record.h"
#include "threads.bpf.h"

#define NOBODY	0xffff
#define THREADS 4096 /* that spin, at a time */
#define FIXED	__builtin_offsetof(struct dyield_decision, state)

/*
 * Of so many decisions one is recorded, by chance; set by the harness. (No
 * global variable: libbpf has none in a kernel without networking.)
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, u32);
	__uint(max_entries, 1);
} one_in SEC(".maps");

/* By spinning thread, the decision under way. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, u32);
	__type(value, struct dyield_decision);
	__uint(max_entries, THREADS);
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
	__uint(max_entries, 4096); /* set by the harness */
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

static void lose(void)
{
	u32 zero = 0;
	u64 *count = bpf_map_lookup_elem(&lost, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* Not every Nth decision: what a vCPU does has a rhythm, too. */
static bool chosen(void)
{
	u32 zero = 0;
	u32 *n = bpf_map_lookup_elem(&one_in, &zero);

	return !n || *n < 2 || bpf_get_prandom_u32() % *n == 0;
}

static struct dyield_decision *this_decision(void)
{
	u32 tid = (u32)bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&underway, &tid);
}

/*
 * What stays while the VM has the same map of APICs: found once for all its
 * decisions, because the less time a record takes, the less changes meanwhile.
 */
struct seat {
	u64 vcpu;
	u64 regs;
	bool apicv;
};

struct table {
	u64 apic_map; /* of this one; 0: none */
	u32 vcpus;
	struct seat seat[DYIELD_RECORDING_VCPUS]; /* by index */
};

/* By spinning thread. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, u32);
	__type(value, struct table);
	__uint(max_entries, THREADS);
} tables SEC(".maps");

/* What an element of it begins with. Never written. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, u32);
	__type(value, struct table);
	__uint(max_entries, 1);
} blank_table SEC(".maps");

struct search {
	u64 phys_map;
	struct table *table;
	bool bad;
};

static long look_up(u32 i, struct search *search)
{
	struct kvm_vcpu___dyield *vcpu;
	struct kvm_lapic___dyield *apic;
	struct seat *seat;
	u32 idx;

	if (bpf_probe_read_kernel(
		    &apic, sizeof(apic),
		    (void *)(search->phys_map + i * sizeof(apic))) ||
	    !apic)
		return 0;
	vcpu = BPF_CORE_READ(apic, vcpu);
	if (BPF_CORE_READ_INTO(&idx, vcpu, vcpu_idx) ||
	    idx >= DYIELD_RECORDING_VCPUS) {
		search->bad = true;
		return 1;
	}
	seat = &search->table->seat[idx & (DYIELD_RECORDING_VCPUS - 1)];
	seat->vcpu = (u64)(unsigned long)vcpu;
	seat->regs = (u64)(unsigned long)BPF_CORE_READ(apic, regs);
	seat->apicv = posted_at() && BPF_CORE_READ(apic, apicv_active);
	if (search->table->vcpus <= idx)
		search->table->vcpus = idx + 1;
	return 0;
}

static struct table *table_of(u32 tid, struct kvm_apic_map___dyield *map)
{
	struct table *table = bpf_map_lookup_elem(&tables, &tid), *begin;
	struct search search = {};
	u32 zero = 0, n;

	if (table && table->apic_map == (u64)(unsigned long)map)
		return table;
	begin = bpf_map_lookup_elem(&blank_table, &zero);
	if (!begin || bpf_map_update_elem(&tables, &tid, begin, BPF_ANY))
		return NULL;
	table = bpf_map_lookup_elem(&tables, &tid);
	if (!table)
		return NULL;
	search.table = table;
	search.phys_map =
		(u64)(unsigned long)map +
		bpf_core_field_offset(struct kvm_apic_map___dyield, phys_map);
	n = BPF_CORE_READ(map, max_apic_id) + 1;
	bpf_loop(n < 1024 ? n : 1024, look_up, &search, 0);
	if (search.bad)
		return NULL;
	table->apic_map = (u64)(unsigned long)map;
	return table;
}

struct walk {
	struct table *table;
	struct dyield_decision *decision;
	const volatile u64 *awaited;
};

static u16 flag(bool set, u16 bit)
{
	return set ? bit : 0;
}

/* The flags of directed yield are neighbours, so one look has them all. */
#define FLAGS	 16
#define FLAGS_AT bpf_core_field_offset(struct kvm_vcpu___dyield, spin_loop)
#define FLAG(flags, field)                                                 \
	((flags)[(bpf_core_field_offset(struct kvm_vcpu___dyield, field) - \
		  FLAGS_AT) &                                              \
		 (FLAGS - 1)])

static long look_at(u32 i, struct walk *walk)
{
	u16 state = DYIELD_STATE_PRESENT;
	struct dyield_decision *d = walk->decision;
	struct kvm_vcpu___dyield *vcpu;
	struct asked asked = {};
	u8 flags[FLAGS] = {};
	u32 pir[8] = {}, irr[32] = {}, any = 0;
	struct seat *seat;

	i &= DYIELD_RECORDING_VCPUS - 1;
	seat = &walk->table->seat[i];
	if (!seat->vcpu) {
		d->state[i] = 0;
		return 0;
	}
	vcpu = (void *)seat->vcpu;
	bpf_probe_read_kernel(flags, sizeof(flags), (void *)vcpu + FLAGS_AT);
	state |= flag(FLAG(flags, spin_loop.in_spin_loop), DYIELD_STATE_SPINS);
	state |=
		flag(FLAG(flags, spin_loop.dy_eligible), DYIELD_STATE_ELIGIBLE);
	state |= flag(FLAG(flags, ready), DYIELD_STATE_READY);
	state |= flag(FLAG(flags, preempted), DYIELD_STATE_PREEMPTED);
	/* OUTSIDE_GUEST_MODE is 0, on every kernel. */
	state |= flag(BPF_CORE_READ(vcpu, mode), DYIELD_STATE_IN_GUEST);
	/* The rest says something of one that waits for a CPU only. */
	if (state & DYIELD_STATE_READY) {
		state |= flag(BPF_CORE_READ(vcpu, arch.preempted_in_kernel),
			      DYIELD_STATE_IN_KERNEL);
		state |= flag(BPF_CORE_READ(vcpu, wait.task),
			      DYIELD_STATE_BLOCKING);
	}
	if (state & DYIELD_STATE_BLOCKING)
		state |= flag(BPF_CORE_READ(vcpu, requests) ||
				      BPF_CORE_READ(vcpu, arch.pv.pv_unhalted),
			      DYIELD_STATE_EVENT);
	asked.regs = (const u8 *)seat->regs;
	asked.vcpu = (const u8 *)vcpu;
	asked.apicv = seat->apicv;
	if (posted_at() && asked.apicv)
		bpf_probe_read_kernel(pir, sizeof(pir),
				      asked.vcpu + posted_at());
	state |= flag(pir[0] | pir[1] | pir[2] | pir[3] | pir[4] | pir[5] |
			      pir[6] | pir[7],
		      DYIELD_STATE_POSTED);
	bpf_probe_read_kernel(irr, sizeof(irr), asked.regs + APIC_IRR);
	for (u32 word = 0; word < sizeof(irr) / 0x10; word++)
		any |= irr[word * 4];
	state |= flag(any, DYIELD_STATE_IRR);
	state |= flag(vector_pending(&asked, d->vector), DYIELD_STATE_VECTOR);
	state |= flag(vector_pending(&asked, d->pv_vector),
		      DYIELD_STATE_PV_VECTOR);
	if (walk->awaited)
		state |=
			flag(walk->awaited[(i / 64) & (DYIELD_SET_WORDS - 1)] >>
					     (i % 64) &
				     1,
			     DYIELD_STATE_AWAITED);
	d->state[i] = state;
	return 0;
}

SEC("fentry/kvm_vcpu_on_spin")
int BPF_PROG(on_spin, struct kvm_vcpu___dyield *me, bool to_kernel_mode)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 tid = (u32)id, tgid = id >> 32, every = 0, n;
	struct dyield_decision *d = this_decision();
	struct kvm_apic_map___dyield *map;
	struct dyield_counts *c;
	const u8 *regs;
	struct kvm___dyield *kvm;
	struct table *table;
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
	d->vcpus = 0;
	if (!chosen())
		return 0;
	kvm = (void *)me->kvm;
	map = BPF_CORE_READ(kvm, arch.apic_map);
	regs = BPF_CORE_READ(me, arch.apic, regs);
	if (!map || !regs) {
		lose();
		return 0;
	}
	table = table_of(tid, map);
	if (!table) {
		lose();
		return 0;
	}
	n = table->vcpus;
	d->time_ns = bpf_ktime_get_ns();
	d->vm = (u64)(unsigned long)kvm;
	d->me = me->vcpu_idx;
	d->last_boosted = BPF_CORE_READ(kvm, last_boosted_vcpu);
	d->chosen = NOBODY;
	d->yielded = 0;
	d->tried = 0;
	d->kernel_mode = to_kernel_mode;
	d->vector = vector_sent((u64)(unsigned long)regs);
	walk.table = table;
	walk.decision = d;
	c = counts_of(tid);
	d->known = 0;
	if (c) {
		struct dyield_guest *guest = guest_of(&c->thread);

		if (guest && c->thread.publishes) {
			d->known = 1;
			walk.awaited = (const volatile u64 *)guest->shared
					       .vcpu[c->thread.vcpu & 0xff]
					       .waiting_for;
		}
	}
	d->vcpus = n;
	bpf_loop(n, look_at, &walk, 0);
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

/*
 * The reader takes a CPU from the vCPUs that are watched, so it is woken for
 * a quarter of the buffer and not for each decision.
 */
static u64 wakeup(void)
{
	u64 used = bpf_ringbuf_query(&decisions, BPF_RB_AVAIL_DATA);
	u64 size = bpf_ringbuf_query(&decisions, BPF_RB_RING_SIZE);

	return used < size / 4 ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP;
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
	if (bpf_ringbuf_output(&decisions, d, FIXED + n * sizeof(u16),
			       wakeup()))
		lose();
	d->vcpus = 0;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(thread_ends, struct task_struct___dyield *task)
{
	u32 tid = task->pid;

	bpf_map_delete_elem(&underway, &tid);
	bpf_map_delete_elem(&tables, &tid);
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
