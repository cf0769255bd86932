// SPDX-License-Identifier: GPL-2.0-only
#include "call.h"

#include "wait.h"
#include "workload.h"

/*
 * Each vCPU has one of these for each receiver, and one for itself, used for
 * its chain. Busy from the moment when it is prepared until it has run; then it
 * is its sender's.
 */
struct call {
	struct call *next;
	u64 queued; /* TSC */
	u32 busy;
	u32 asked, run; /* how often */
	u8 wait;	/* the sender waits for this very call */
	u8 hops;	/* still to go, for a chain */
	u16 sender;
};

_Static_assert(sizeof(struct call) == DYIELD_CALL_SIZE, "struct call");

/* The queue of each vCPU, the newest call first. */
static struct {
	struct call *head;
} __attribute__((aligned(64))) queue[DYIELD_MAX_VCPUS + 1];

/* What a called function does, in units of work. */
#define CALL_UNITS 2

static struct call *call_of(u32 sender, u32 receiver)
{
	return (struct call *)DYIELD_CALL_GPA +
	       (sender * (DYIELD_MAX_VCPUS + 1) + receiver);
}

static bool busy(const struct call *call)
{
	return __atomic_load_n(&call->busy, __ATOMIC_ACQUIRE);
}

/* Was the queue empty? Only then does its owner have to be told. */
static bool enqueue(struct call *call, u32 receiver)
{
	struct call *head = READ_ONCE(queue[receiver].head);

	call->queued = rdtsc();
	do
		call->next = head;
	while (!__atomic_compare_exchange_n(&queue[receiver].head, &head, call,
					    false, __ATOMIC_SEQ_CST,
					    __ATOMIC_SEQ_CST));
	return !head;
}

static void check_ran(const struct call *call, u32 receiver)
{
	if (READ_ONCE(call->run) != READ_ONCE(call->asked))
		fail(DYIELD_ERROR_CALL, receiver, call->asked, call->run, 0);
}

/* Waits until the call is this vCPU's again, and looks whether it has run. */
static void reclaim(u32 me, struct call *call, u32 receiver)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct vcpu_set awaited = {};

	if (busy(call)) {
		set_add(&awaited, receiver);
		wait_publish(vcpu, DYIELD_WAIT_CALL, &awaited);
		spin_while(vcpu, busy(call));
		wait_end(vcpu);
	}
	check_ran(call, receiver);
}

static void prepare(u32 me, struct call *call, bool wait, u32 hops)
{
	call->asked++;
	call->sender = me;
	call->wait = wait;
	call->hops = hops;
	WRITE_ONCE(call->busy, 1);
}

/* Waits until every receiver has taken itself out of the published set. */
static void wait_for_all(u32 me, u64 sent)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];

	spin_while(vcpu, !wait_over(vcpu));
	latency_add(vcpu, DYIELD_LATENCY_RELEASE, sent, rdtsc());
	wait_end(vcpu);
}

void call_many(u32 me, const struct vcpu_set *receivers, bool wait)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	struct vcpu_set to_tell = {};
	u64 sent;

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (!set_has(receivers, i))
			continue;
		reclaim(me, call_of(me, i), i);
		prepare(me, call_of(me, i), wait, 0);
	}
	if (wait)
		wait_publish(vcpu, DYIELD_WAIT_CALL, receivers);
	sent = rdtsc();
	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i) && enqueue(call_of(me, i), i))
			set_add(&to_tell, i);
	}
	vcpu->ipis_sent[READ_ONCE(sh->phase)] +=
		ipi_send(me, &to_tell, DYIELD_VECTOR_CALL);
	vcpu->calls[READ_ONCE(sh->phase)] += set_count(receivers);
	if (!wait)
		return;
	wait_for_all(me, sent);
	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i))
			check_ran(call_of(me, i), i);
	}
}

static void send_hop(u32 me, struct call *call, u32 receiver)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	u32 phase = READ_ONCE(shared()->phase);
	struct vcpu_set to_tell = {};

	set_add(&to_tell, receiver);
	vcpu->calls[phase]++;
	if (enqueue(call, receiver))
		vcpu->ipis_sent[phase] +=
			ipi_send(me, &to_tell, DYIELD_VECTOR_CALL);
}

void call_chain(u32 me, u32 receiver, u32 hops)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct call *call = call_of(me, me);
	struct vcpu_set awaited = {};
	u64 sent;

	prepare(me, call, true, shared()->nr_vcpus > 2 ? hops - 1 : 0);
	set_add(&awaited, receiver);
	wait_publish(vcpu, DYIELD_WAIT_CALL, &awaited);
	sent = rdtsc();
	send_hop(me, call, receiver);
	wait_for_all(me, sent);
	check_ran(call, receiver);
}

/* Calls on, from the handler: to the next vCPU that did not start the chain. */
static void forward(u32 me, struct call *call)
{
	struct dyield_vcpu *sender = &shared()->vcpu[call->sender];
	u32 next = (me + 1) % shared()->nr_vcpus;

	if (next == call->sender)
		next = (next + 1) % shared()->nr_vcpus;
	call->hops--;
	call->asked++;
	/* The new one before the old one: the set must not look empty. */
	__atomic_fetch_or(&sender->waiting_for[next / 64], 1ULL << next % 64,
			  __ATOMIC_SEQ_CST);
	wait_answer(sender, me);
	send_hop(me, call, next);
}

static void run(u32 me, struct call *call, u64 entered)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *sender = &sh->vcpu[call->sender];
	u32 times = 1;

	if (fault_now(me, DYIELD_FAULT_LOST_CALL))
		times = 0;
	if (fault_now(me, DYIELD_FAULT_DOUBLE_CALL))
		times = 2;
	latency_add(&sh->vcpu[me], DYIELD_LATENCY_HANDLER, call->queued,
		    entered);
	while (times--) {
		compute(CALL_UNITS);
		call->run++;
		sh->vcpu[me].calls_run[READ_ONCE(sh->phase)]++;
	}
	if (call->hops) {
		forward(me, call);
		return;
	}
	/* From here on the call is its sender's. */
	bool wait = call->wait;

	__atomic_store_n(&call->busy, 0, __ATOMIC_RELEASE);
	if (wait)
		wait_answer(sender, me);
}

void call_interrupt(u32 me, u64 entered)
{
	struct call *newest, *oldest = 0;

	newest = __atomic_exchange_n(&queue[me].head, 0, __ATOMIC_SEQ_CST);
	while (newest) {
		struct call *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct call *call = oldest;

		oldest = call->next;
		run(me, call, entered);
	}
	shared()->vcpu[me].progress++;
}

void call_drain(u32 me)
{
	for (u32 i = 0; i < shared()->nr_vcpus; i++)
		reclaim(me, call_of(me, i), i);
}
