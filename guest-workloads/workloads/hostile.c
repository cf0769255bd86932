// SPDX-License-Identifier: GPL-2.0-only
/*
 * What no sane guest does. Nothing of it may harm the host or another VM; the
 * guest itself only has to survive, so it relies on no IPI.
 *
 * Left out: the vectors of the payload's own system calls and handlers; and
 * INIT, SIPI and SMI but from vCPU 0 in hostile-reset, which has its receivers
 * come back.
 */
#include "wait.h"
#include "workload.h"

#define VECTOR_NMI	   2
#define VECTOR_GP	   13
#define FIRST_IPI_VECTOR   16 /* below, no interrupt is ever delivered */

#define ICR_MODE(icr)	   ((icr) >> 8 & 7)
#define MODE_SMI	   2
#define MODE_NMI	   4
#define MODE_INIT	   5
#define MODE_SIPI	   6

#define KVM_HC_KICK_CPU	   5
#define KVM_HC_SEND_IPI	   10
#define KVM_HC_SCHED_YIELD 11

#define ACTS		   16 /* in one step of a sender */
#define SHORT_SPIN	   64 /* PAUSEs at most, behind them */
#define LONG_SPIN	   16384
#define BOOST_VECTOR	   0x40
#define SMI_RECEIVER	   1 /* reset_prepare() */
#define ICR_ASSERT	   (1u << 14)
#define ICR_OTHERS	   (3u << 18)

static struct dyield_vcpu *self(u32 me)
{
	return &shared()->vcpu[me];
}

static bool survivable(u32 icr)
{
	u8 vector = icr;

	switch (ICR_MODE(icr)) {
	case MODE_SMI:
	case MODE_INIT:
	case MODE_SIPI:
		return false;
	case MODE_NMI:
		/* On its way back into the payload a vCPU has no handler yet.
		 */
		if (shared()->workload == DYIELD_WORKLOAD_HOSTILE_RESET)
			return false;
	}
	return vector != VECTOR_SYSCALL && vector != DYIELD_VECTOR_SHOOTDOWN &&
	       vector != DYIELD_VECTOR_CALL && vector != DYIELD_VECTOR_WAKE;
}

/*
 * Any vector, delivery mode, destination mode, level, trigger and shorthand.
 * Each 8th has reserved bits set, too, which x2APIC mode refuses.
 */
static u32 random_icr(u32 me)
{
	u32 icr, defined = 0xcdfff;

	do {
		u64 bits = random_u64(me);

		icr = bits >> 32 & (bits & 7 ? defined : 0xffffffff);
	} while (!survivable(icr));
	return icr;
}

/* A vCPU, one that may not exist, everybody, or anything. */
static u32 random_destination(u32 me)
{
	switch (random_below(me, 4)) {
	case 0:
		return shared()->apic_id[random_below(me, shared()->nr_vcpus)];
	case 1:
		return random_below(me, 256);
	case 2:
		return apic_is_xapic() ? 0xff : 0xffffffff;
	default:
		return random_u64(me);
	}
}

static void random_ipi(u32 me)
{
	u64 destination = random_destination(me);

	if (apic_is_xapic()) {
		apic_poke(APIC_ICR2, destination << 24);
		apic_poke(APIC_ICR, random_icr(me));
	} else {
		apic_poke(APIC_ICR, destination << 32 | random_icr(me));
	}
}

/* With interrupts on or off; the wait is for nobody. */
static void spin(u32 me, u32 most)
{
	u32 left = random_below(me, most);

	if (random_below(me, 2)) {
		self(me)->pauses[READ_ONCE(shared()->phase)] += left;
		while (left--)
			pause();
	} else {
		spin_while(self(me), left--);
	}
}

static void apic_act(u32 me)
{
	switch (random_below(me, 8)) {
	case 0:
		/* In xAPIC mode a register that is not there. */
		apic_poke(APIC_SELF_IPI, random_icr(me));
		break;
	case 1:
		/* Mostly of nothing; x2APIC mode refuses all but zero. */
		apic_poke(APIC_EOI, random_below(me, 2));
		break;
	case 2:
		apic_poke(APIC_TPR, random_below(me, 256));
		break;
	case 3:
		apic_poke(APIC_TPR, 0);
		break;
	default:
		random_ipi(me);
	}
}

static void pv_act(u32 me)
{
	u64 low = random_u64(me), high = random_u64(me);

	switch (random_below(me, 4)) {
	case 0:
		hypercall(KVM_HC_SCHED_YIELD, random_destination(me), 0, 0, 0);
		break;
	case 1:
		hypercall(KVM_HC_KICK_CPU, random_u64(me),
			  random_destination(me), 0, 0);
		break;
	case 2:
		/* All, or nobody. */
		low = high = random_below(me, 2) ? ~0ULL : 0;
		/* fall through */
	default:
		hypercall(KVM_HC_SEND_IPI, low, high, random_destination(me),
			  random_icr(me));
	}
}

static void act_and_spin(u32 me, void (*act)(u32))
{
	for (u32 i = 0; i < ACTS; i++) {
		act(me);
		self(me)->harm[READ_ONCE(shared()->phase)]++;
	}
	spin(me, SHORT_SPIN);
}

static void apic_step(u32 me)
{
	act_and_spin(me, apic_act);
}

static void pv_step(u32 me)
{
	act_and_spin(me, pv_act);
}

static void flood_step(u32 me)
{
	/* All but self, or all. */
	u32 shorthand = (2 + random_below(me, 2)) << 18;

	for (u32 left = 1 + random_below(me, 64); left; left--) {
		apic_poke(APIC_ICR, shorthand | 1u << 14 |
					    (0x20 + random_below(me, 0x60)));
		self(me)->harm[READ_ONCE(shared()->phase)]++;
	}
}

static void spin_step(u32 me)
{
	self(me)->harm[READ_ONCE(shared()->phase)]++;
	spin(me, LONG_SPIN);
}

/*
 * All the others wait for vCPU 0, which computes with every vector masked by
 * its TPR: for as long as they spin, it is the receiver that has yet to be run.
 */
static void boost_step(u32 me)
{
	self(me)->harm[READ_ONCE(shared()->phase)]++;
	if (me == 0) {
		apic_poke(APIC_TPR, 0xf0);
		for (volatile u32 left = LONG_SPIN; left; left--)
			;
		return;
	}
	apic_poke(APIC_ICR, (u64)shared()->apic_id[0] << 32 | BOOST_VECTOR);
	spin(me, LONG_SPIN);
}

static void send_mode(u32 mode, u32 others_or_vcpu)
{
	u8 vector = mode == MODE_SIPI ? DYIELD_RESET_GPA >> 12 : 0;
	u32 low = mode << 8 | ICR_ASSERT | vector;

	if (others_or_vcpu == ICR_OTHERS)
		apic_poke(APIC_ICR, low | ICR_OTHERS);
	else
		apic_poke(APIC_ICR,
			  (u64)shared()->apic_id[others_or_vcpu] << 32 | low);
}

/*
 * vCPU 0 sends what stops a vCPU and what brings it back, in any order and so
 * that several of them are under way at once. It never gets any itself.
 */
static void reset_step(u32 me)
{
	static bool prepared;
	u32 receiver;

	if (me != 0) {
		apic_step(me);
		return;
	}
	if (!prepared)
		reset_prepare();
	prepared = true;
	for (u32 i = 0; i < ACTS; i++) {
		receiver = random_below(me, 8) ? random_other(me) : ICR_OTHERS;
		switch (random_below(me, 8)) {
		case 0:
			send_mode(MODE_INIT, receiver);
			break;
		case 1:
			send_mode(MODE_SMI, SMI_RECEIVER);
			break;
		case 2:
		case 3:
			random_ipi(me);
			break;
		default:
			send_mode(MODE_SIPI, receiver);
		}
		self(me)->harm[READ_ONCE(shared()->phase)]++;
	}
	spin(me, SHORT_SPIN);
}

/*
 * The others must not stop while an INIT is still on its way to them: vCPU 0
 * says when it has sent the last, and the way out to KVM and back takes what is
 * there by then. Who waits for a SIPI gets one.
 */
static void reset_stop(u32 me)
{
	static u32 last_sent;

	if (me == 0) {
		__atomic_store_n(&last_sent, 1, __ATOMIC_SEQ_CST);
		/* Again and again: in System Management Mode a SIPI is lost. */
		while (READ_ONCE(shared()->nr_done) + 1 < shared()->nr_vcpus) {
			send_mode(MODE_SIPI, ICR_OTHERS);
			spin(me, SHORT_SPIN);
		}
		return;
	}
	while (!__atomic_load_n(&last_sent, __ATOMIC_SEQ_CST))
		pause();
	hypercall(KVM_HC_SCHED_YIELD, ~0ULL, 0, 0, 0);
}

/* Each 8th IPI gets no EOI: all of its priority and below stay pending, until
 * somebody writes an EOI that matches nothing. */
static bool unexpected(u32 me, struct frame *frame)
{
	if (frame->vector == VECTOR_NMI)
		return true;
	if (frame->vector == VECTOR_GP && frame->rip == (u64)wrmsr_at) {
		frame->rip = (u64)wrmsr_refused;
		return true;
	}
	if (frame->vector < FIRST_IPI_VECTOR)
		return false;
	if (random_below(me, 8))
		apic_eoi();
	return true;
}

const struct workload workload_hostile_apic = {
	.is_sender = every_vcpu,
	.step = apic_step,
	.unexpected = unexpected,
};

const struct workload workload_hostile_pv = {
	.is_sender = every_vcpu,
	.step = pv_step,
	.unexpected = unexpected,
};

const struct workload workload_hostile_flood = {
	.is_sender = every_vcpu,
	.step = flood_step,
	.unexpected = unexpected,
};

const struct workload workload_hostile_spin = {
	.is_sender = every_vcpu,
	.step = spin_step,
	.unexpected = unexpected,
};

const struct workload workload_hostile_boost = {
	.is_sender = every_vcpu,
	.step = boost_step,
	.unexpected = unexpected,
};

const struct workload workload_hostile_reset = {
	.is_sender = every_vcpu,
	.step = reset_step,
	.stop = reset_stop,
	.unexpected = unexpected,
};
