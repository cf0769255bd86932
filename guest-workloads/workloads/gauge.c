// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a PAUSE exit costs the host: vCPUs that do little but PAUSE, so that
 * time divided by PAUSEs is the length of an exit (scripts/probe-cost).
 *
 * Each that spins has sent an IPI to another vCPU, once, and waits for it. The
 * other one's TPR holds the IPI back, so it is pending for good: the series
 * sees a receiver at every exit, and a watch an answer that is owed.
 */
#include "wait.h"
#include "workload.h"

#define HELD_BACK_VECTOR 0x40
#define HOLDING_BACK	 0x50 /* the timer's vector is above it */
#define PAUSES		 64   /* in one step */
#define HALT_US		 5000

static struct {
	u32 holds_back, has_sent;
} of[DYIELD_MAX_VCPUS + 1];

static u32 next(u32 me)
{
	return me + 1 < shared()->nr_vcpus ? me + 1 : 0;
}

static void hold_back(u32 me)
{
	if (of[me].holds_back)
		return;
	apic_poke(APIC_TPR, HOLDING_BACK);
	WRITE_ONCE(of[me].holds_back, 1);
}

static void spin(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct vcpu_set awaited = {};
	u32 left = PAUSES;

	if (!of[me].has_sent && READ_ONCE(of[next(me)].holds_back)) {
		apic_poke(APIC_ICR, (u64)shared()->apic_id[next(me)] << 32 |
					    HELD_BACK_VECTOR);
		of[me].has_sent = 1;
	}
	set_add(&awaited, next(me));
	wait_publish(vcpu, DYIELD_WAIT_CALL, &awaited);
	irq_enable();
	while (left--) {
		pause();
		vcpu->pauses[READ_ONCE(shared()->phase)]++;
	}
	irq_disable();
	wait_end(vcpu);
}

static void alone_step(u32 me)
{
	if (me == 0) {
		spin(me);
		return;
	}
	hold_back(me);
	apic_timer(HALT_US);
	irq_enable_and_halt();
	irq_disable();
}

static void together_step(u32 me)
{
	hold_back(me);
	spin(me);
}

const struct workload workload_gauge_alone = {
	.is_sender = every_vcpu,
	.step = alone_step,
};

const struct workload workload_gauge_together = {
	.is_sender = every_vcpu,
	.step = together_step,
};
