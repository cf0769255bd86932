// SPDX-License-Identifier: GPL-2.0-only
#include "lock.h"

#include "wait.h"
#include "workload.h"

/* vCPU index + 1 of the lock's holder, for those who publish their waits. */
static u32 holder __attribute__((aligned(64)));

/* Protected by the lock, and incremented in two parts. */
static u64 counter __attribute__((aligned(64)));

static struct {
	u32 next __attribute__((aligned(64)));
	u32 serving __attribute__((aligned(64)));
} ticket;

static struct node {
	struct node *next;
	u32 waiting;
} __attribute__((aligned(64))) nodes[DYIELD_MAX_VCPUS + 1];

static struct node *mcs_tail __attribute__((aligned(64)));

/* Publishes the holder, if it is another one than the last time. */
static void follow_holder(struct dyield_vcpu *vcpu, u32 *last)
{
	u32 now = READ_ONCE(holder);
	struct vcpu_set awaited = {};

	if (now == *last)
		return;
	*last = now;
	if (now)
		set_add(&awaited, now - 1);
	wait_publish(vcpu, DYIELD_WAIT_LOCK, &awaited);
}

/* True, for use in a condition. */
static bool following(struct dyield_vcpu *vcpu, u32 *last)
{
	follow_holder(vcpu, last);
	return true;
}

static void ticket_acquire(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	u32 mine = __atomic_fetch_add(&ticket.next, 1, __ATOMIC_SEQ_CST);
	u32 last = 0;

	spin_while(vcpu,
		   __atomic_load_n(&ticket.serving, __ATOMIC_ACQUIRE) != mine &&
			   following(vcpu, &last));
}

/* As Linux takes the lock of a run queue: an IPI that comes now has to wait. */
static void irqs_off_acquire(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	u32 mine = __atomic_fetch_add(&ticket.next, 1, __ATOMIC_SEQ_CST);
	u32 last = 0;

	spin_as_is_while(vcpu, __atomic_load_n(&ticket.serving,
					       __ATOMIC_ACQUIRE) != mine &&
				       following(vcpu, &last));
}

static void ticket_release(u32 me)
{
	(void)me;
	__atomic_store_n(&ticket.serving, ticket.serving + 1, __ATOMIC_RELEASE);
}

/* Mellor-Crummey and Scott, 1991: each waits for a flag of its own. */
static void mcs_acquire(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct node *node = &nodes[me], *before;
	u32 last = 0;

	WRITE_ONCE(node->next, 0);
	WRITE_ONCE(node->waiting, 1);
	before = __atomic_exchange_n(&mcs_tail, node, __ATOMIC_SEQ_CST);
	if (!before)
		return;
	__atomic_store_n(&before->next, node, __ATOMIC_RELEASE);
	spin_while(vcpu, __atomic_load_n(&node->waiting, __ATOMIC_ACQUIRE) &&
				 following(vcpu, &last));
}

static void mcs_release(u32 me)
{
	struct node *node = &nodes[me], *expected = node, *next;

	if (!__atomic_load_n(&node->next, __ATOMIC_ACQUIRE)) {
		if (__atomic_compare_exchange_n(&mcs_tail, &expected, 0, false,
						__ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			return;
		/* The next one is in the queue, but not yet linked. */
		spin_while(&shared()->vcpu[me],
			   !__atomic_load_n(&node->next, __ATOMIC_ACQUIRE));
	}
	next = node->next;
	__atomic_store_n(&next->waiting, 0, __ATOMIC_RELEASE);
}

const struct lock ticket_lock = {ticket_acquire, ticket_release, false};
const struct lock mcs_lock = {mcs_acquire, mcs_release, false};
const struct lock irqs_off_lock = {irqs_off_acquire, ticket_release, true};

void critical_section(u32 me, const struct lock *lock, u32 units,
		      void (*inside)(u32 me))
{
	struct dyield_shared *sh = shared();
	bool locked = !fault_now(me, DYIELD_FAULT_NO_LOCK);
	u64 seen;

	if (locked) {
		lock->acquire(me);
		wait_end(&sh->vcpu[me]);
		WRITE_ONCE(holder, me + 1);
	}
	seen = READ_ONCE(counter);
	/* Preemption by the host apart, this is where a tick or a shootdown can
	 * interrupt the holder. */
	if (!lock->irqs_off)
		irq_enable();
	compute(units);
	irq_disable();
	if (inside)
		inside(me);
	WRITE_ONCE(counter, seen + 1);
	if (locked) {
		WRITE_ONCE(holder, 0);
		lock->release(me);
	}
	sh->vcpu[me].acquisitions[READ_ONCE(sh->phase)]++;
}

void lock_verify(void)
{
	struct dyield_shared *sh = shared();
	u64 acquisitions = 0;

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		for (u32 phase = 0; phase < DYIELD_PHASES; phase++)
			acquisitions += sh->vcpu[i].acquisitions[phase];
	}
	if (counter != acquisitions)
		fail(DYIELD_ERROR_LOCK, counter, acquisitions, 0, 0);
}
