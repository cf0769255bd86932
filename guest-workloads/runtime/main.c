// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU's life: up, wait for the start gun, compute and shoot down, stop. */
#include "call.h"
#include "ipi.h"
#include "shootdown.h"
#include "workload.h"

/* Of those who idle: microseconds in HLT, and units of work between, both
 * uniform up to twice as much. */
#define IDLE_US		   200
#define IDLE_UNITS	   256

/* Below 16: SDM volume 3, "Valid Interrupt Vectors". */
#define UNDELIVERED_VECTOR 5

/* Whom --fault hang and triple-fault take, and when. */
#define BROKEN_VCPU	   1
#define BROKEN_US	   20000

enum syscall {
	SYS_STEP,
	SYS_IDLE,
	SYS_STOP,
	SYS_STALE, /* window, value, newest */
};

static const struct {
	const struct workload *program;
	enum dyield_way way;
} rows[] = {
#define X(id, name, group, program, way, does, beside, text) \
	[DYIELD_WORKLOAD_##id] = {&workload_##program, DYIELD_WAY_##way},
	DYIELD_WORKLOADS(X)
#undef X
};

static const bool way_is_xapic[] = {
#define X(id, name, xapic, max_vcpus, text) [DYIELD_WAY_##id] = xapic,
	DYIELD_WAYS(X)
#undef X
};

static const struct workload *workload(void)
{
	return rows[shared()->workload].program;
}

enum dyield_way way_of_sending(void)
{
	return rows[shared()->workload].way;
}

/* Each vCPU's own. */
static struct {
	u64 generator;
	u32 faults_asked;
	u32 fired; /* ticks of the timer so far */
} __attribute__((aligned(64))) own[DYIELD_MAX_VCPUS + 1];

bool fault_now(u32 me, enum dyield_fault fault)
{
	return shared()->fault == fault && !(++own[me].faults_asked % 8);
}

/* splitmix64 (Steele, Lea and Flood, 2014): any seed will do, zero too. */
u64 random_u64(u32 me)
{
	u64 z = own[me].generator += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static inline void syscall(enum syscall number, u64 a, u64 b, u64 c)
{
	asm volatile("int %0" ::"i"(VECTOR_SYSCALL), "a"((u64)number), "D"(a),
		     "S"(b), "d"(c)
		     : "memory");
}

/* The generator's chain of multiplications is the work. */
static inline u64 work(u64 x, u32 steps)
{
	for (u32 i = 0; i < steps; i++)
		x = x * 6364136223846793005 + 1442695040888963407;
	asm volatile("" ::"r"(x));
	return x;
}

void compute(u32 units)
{
	work(units, units * shared()->unit);
}

/* Uniform around the mean, so that vCPUs do not fall into step. */
static u64 around(u32 me, u32 mean)
{
	return random_below(me, 2ULL * mean + 1);
}

/* Ring 3 from here to the end. */
static void user_main(u64 me)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	const struct workload *w = workload();
	bool sender = w->is_sender && w->is_sender(me);
	bool interrupted = sender || w->idles;
	u32 mean = sender ? sh->think : IDLE_UNITS;
	u64 x = sh->seed + me, left = around(me, mean);
	u64 value, newest;
	u32 window = me;

	for (;;) {
		u32 phase = READ_ONCE(sh->phase);

		if (phase == DYIELD_PHASE_STOP)
			syscall(SYS_STOP, 0, 0, 0);

		if (interrupted && !left--) {
			if (sender)
				syscall(SYS_STEP, 0, 0, 0);
			else
				syscall(SYS_IDLE, 0, 0, 0);
			left = around(me, mean);
			continue;
		}

		x = work(x, sh->unit);
		if (w->uses_window && w->uses_window(me, window)) {
			if (!window_check(me, window, &value, &newest))
				syscall(SYS_STALE, window, value, newest);
			vcpu->checks[phase]++;
		}
		window = window + 1 < sh->nr_vcpus ? window + 1 : 0;
		vcpu->work[phase]++;
		vcpu->progress++;
	}
}

/* Halts until the timer fires, whatever else wakes the vCPU. */
static void halt_until_tick(u32 me)
{
	u32 before = own[me].fired;

	while (READ_ONCE(own[me].fired) == before) {
		irq_enable_and_halt();
		irq_disable();
	}
}

static void idle(u32 me)
{
	if (workload()->lazy)
		lazy_enter(me);
	apic_timer(1 + around(me, IDLE_US));
	halt_until_tick(me);
	if (workload()->lazy)
		lazy_leave(me);
	shared()->vcpu[me].progress++;
}

/* By names of their own, for whoever looks up the RIP that is reported. */
void hang(void) __attribute__((noinline, noreturn));
void hang(void)
{
	for (;;)
		asm volatile("");
}

void triple_fault(void) __attribute__((noinline, noreturn));
void triple_fault(void)
{
	static const u8 no_idt[10];

	asm volatile("lidt %0; ud2" ::"m"(no_idt));
	__builtin_unreachable();
}

static bool has_broken_vcpu(void)
{
	return shared()->fault == DYIELD_FAULT_HANG ||
	       shared()->fault == DYIELD_FAULT_TRIPLE_FAULT;
}

void kick_other(u32 me)
{
	struct dyield_vcpu *vcpu = &shared()->vcpu[me];
	struct vcpu_set other = {};

	set_add(&other, random_other(me));
	vcpu->ipis_sent[READ_ONCE(shared()->phase)] +=
		ipi_send(me, &other, DYIELD_VECTOR_WAKE);
}

static void timer_interrupt(u32 me)
{
	struct dyield_shared *sh = shared();

	if (me == BROKEN_VCPU && has_broken_vcpu()) {
		if (sh->fault == DYIELD_FAULT_HANG)
			hang();
		triple_fault();
	}
	own[me].fired++;
	sh->vcpu[me].ticks[READ_ONCE(sh->phase)]++;
	if (workload()->kicks_on_tick)
		kick_other(me);
	if (workload()->tick &&
	    !(sh->fault == DYIELD_FAULT_LOST_TICK && own[me].fired == 4))
		apic_timer(workload()->tick);
}

static void stop(u32 me) __attribute__((noreturn));
static void stop(u32 me)
{
	struct dyield_shared *sh = shared();

	if (workload()->stop)
		workload()->stop(me);
	if (workload()->tick) {
		/* Whose tick got lost on the way stays here: a hang. */
		halt_until_tick(me);
		apic_timer(0);
	}
	WRITE_ONCE(sh->vcpu[me].done, 1);
	if (__atomic_add_fetch(&sh->nr_done, 1, __ATOMIC_SEQ_CST) ==
	    sh->nr_vcpus) {
		if (workload()->verify)
			workload()->verify();
		if (sh->fault == DYIELD_FAULT_SCRIBBLE) {
			sh->magic = ~0ULL;
			sh->version = sh->nr_vcpus = sh->workload = ~0U;
		}
		out32(DYIELD_PORT_DONE, me);
	}
	/* Others may still wait for this vCPU's answer. */
	for (;;)
		irq_enable_and_halt();
}

/* From entry.S; interrupts are off, whatever the vector. */
void interrupt(struct frame *frame)
{
	u32 me = cpu_index();
	u64 entered = 0, cr2;

	switch (frame->vector) {
	case DYIELD_VECTOR_SHOOTDOWN:
	case DYIELD_VECTOR_CALL:
	case DYIELD_VECTOR_WAKE:
	case DYIELD_VECTOR_TIMER:
	case DYIELD_VECTOR_START:
		/* First, as Linux does it: the work comes after the EOI. */
		entered = rdtsc();
		apic_eoi();
		break;
	case DYIELD_VECTOR_SPURIOUS:
		return;
	case VECTOR_SYSCALL:
		break;
	default:
		if (workload()->unexpected && workload()->unexpected(me, frame))
			return;
		asm volatile("movq %%cr2, %0" : "=r"(cr2));
		fail(DYIELD_ERROR_EXCEPTION, frame->vector, frame->rip,
		     frame->error, cr2);
	}

	switch (frame->vector) {
	case DYIELD_VECTOR_SHOOTDOWN:
		shootdown_interrupt(me, entered);
		return;
	case DYIELD_VECTOR_CALL:
		call_interrupt(me, entered);
		return;
	case DYIELD_VECTOR_WAKE:
		if (workload()->woken)
			workload()->woken(me, entered);
		return;
	case DYIELD_VECTOR_TIMER:
		timer_interrupt(me);
		return;
	case DYIELD_VECTOR_START:
		return;
	}

	switch (frame->rax) {
	case SYS_STEP:
		workload()->step(me);
		shared()->vcpu[me].progress++;
		return;
	case SYS_IDLE:
		idle(me);
		return;
	case SYS_STOP:
		stop(me);
	default:
		fail(DYIELD_ERROR_STALE_TRANSLATION, frame->rdi, frame->rsi,
		     frame->rdx, 0);
	}
}

void vcpu_main(u64 index)
{
	struct dyield_shared *sh = shared();
	u32 me = index;

	cpu_init(me);
	if (sh->magic != DYIELD_ABI_MAGIC || sh->version != DYIELD_ABI_VERSION)
		fail(DYIELD_ERROR_ABI, sh->magic, sh->version, 0, 0);
	apic_enable(way_is_xapic[way_of_sending()]);
	if (apic_id() != sh->apic_id[me])
		fail(DYIELD_ERROR_APIC_ID, sh->apic_id[me], apic_id(), 0, 0);

	/* Separate streams: seeds 1 and 2 of neighbours must not coincide. */
	own[me].generator = sh->seed;
	own[me].generator = random_u64(me) + me;

	if (me == 0)
		windows_init(sh->nr_vcpus);

	/*
	 * An IPI to a vCPU whose APIC is still off is lost and its sender
	 * would spin for ever: nobody goes on before the start gun, and the
	 * harness fires it only when all are up.
	 */
	WRITE_ONCE(sh->vcpu[me].up, 1);
	if (__atomic_add_fetch(&sh->nr_up, 1, __ATOMIC_SEQ_CST) == sh->nr_vcpus)
		out32(DYIELD_PORT_READY, me);
	while (READ_ONCE(sh->phase) == DYIELD_PHASE_BOOT) {
		irq_enable_and_halt();
		irq_disable();
	}
	if (me == 0 && sh->fault == DYIELD_FAULT_EARLY_STOP)
		out32(DYIELD_PORT_DONE, me);
	if (workload()->kicks_once)
		kick_other(me);
	/* KVM's APIC takes it like any other one, and keeps it for ever. */
	if (sh->fault == DYIELD_FAULT_LOW_VECTOR)
		apic_send(0, APIC_ICR_ALL_BUT_SELF, UNDELIVERED_VECTOR);

	if (workload()->tick)
		apic_timer(workload()->tick);
	/* In the midst of what the workload does. */
	if (me == BROKEN_VCPU && has_broken_vcpu())
		apic_timer(BROKEN_US);

	enter_user((u64)user_main,
		   DYIELD_USTACK_GPA + (me + 1) * DYIELD_STACK_SIZE - 8, me);
}
