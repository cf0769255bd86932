// SPDX-License-Identifier: GPL-2.0-only
/* A vCPU's life: up, wait for the start gun, compute and shoot down, stop. */
#include "shootdown.h"
#include "workload.h"

enum syscall {
	SYS_STEP,
	SYS_STOP,
	SYS_STALE, /* window, value, newest */
};

static const struct workload *const workloads[] = {
#define X(id, name, text) [DYIELD_WORKLOAD_##id] = &workload_##name,
	DYIELD_WORKLOADS(X)
#undef X
};

static struct {
	u64 state;
} __attribute__((aligned(64))) generator[DYIELD_MAX_VCPUS + 1];

/* splitmix64 (Steele, Lea and Flood, 2014): any seed will do, zero too. */
u64 random_u64(u32 me)
{
	u64 z = generator[me].state += 0x9e3779b97f4a7c15;

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

/* Uniform around the mean, so that senders do not fall into step. */
static u64 think_time(u32 me)
{
	return random_below(me, 2ULL * shared()->think + 1);
}

/* Ring 3 from here to the end. */
static void user_main(u64 me)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	const struct workload *workload = workloads[sh->workload];
	bool sender = workload->is_sender(me);
	u64 x = sh->seed + me, think = think_time(me);
	u64 value, newest;
	u32 window = me;

	for (;;) {
		u32 phase = READ_ONCE(sh->phase);

		if (phase == DYIELD_PHASE_STOP)
			syscall(SYS_STOP, 0, 0, 0);

		if (sender && !think--) {
			syscall(SYS_STEP, 0, 0, 0);
			think = think_time(me);
			continue;
		}

		/* The generator's chain of multiplications is the work. */
		for (u32 i = 0; i < sh->unit; i++)
			x = x * 6364136223846793005 + 1442695040888963407;
		asm volatile("" ::"r"(x));

		if (workload->uses_window(me, window)) {
			if (!window_check(me, window, &value, &newest))
				syscall(SYS_STALE, window, value, newest);
			vcpu->checks[phase]++;
		}
		window = window + 1 < sh->nr_vcpus ? window + 1 : 0;
		vcpu->work[phase]++;
		vcpu->progress++;
	}
}

static void stop(u32 me) __attribute__((noreturn));
static void stop(u32 me)
{
	struct dyield_shared *sh = shared();

	WRITE_ONCE(sh->vcpu[me].done, 1);
	if (__atomic_add_fetch(&sh->nr_done, 1, __ATOMIC_SEQ_CST) ==
	    sh->nr_vcpus)
		out32(DYIELD_PORT_DONE, me);
	/* Others may still wait for this vCPU's answer. */
	for (;;)
		irq_enable_and_halt();
}

/* From entry.S; interrupts are off, whatever the vector. */
void interrupt(struct frame *frame)
{
	u32 me = cpu_index();
	u64 cr2;

	switch (frame->vector) {
	case DYIELD_VECTOR_SHOOTDOWN:
		shootdown_interrupt(me);
		return;
	case DYIELD_VECTOR_START:
		apic_eoi();
		return;
	case DYIELD_VECTOR_SPURIOUS:
		return;
	case VECTOR_SYSCALL:
		break;
	default:
		asm volatile("movq %%cr2, %0" : "=r"(cr2));
		fail(DYIELD_ERROR_EXCEPTION, frame->vector, frame->rip,
		     frame->error, cr2);
	}

	switch (frame->rax) {
	case SYS_STEP:
		workloads[shared()->workload]->step(me);
		shared()->vcpu[me].progress++;
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
	apic_enable();
	if (apic_id() != sh->apic_id[me])
		fail(DYIELD_ERROR_APIC_ID, sh->apic_id[me], apic_id(), 0, 0);

	/* Separate streams: seeds 1 and 2 of neighbours must not coincide. */
	generator[me].state = sh->seed;
	generator[me].state = random_u64(me) + me;

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

	enter_user((u64)user_main,
		   DYIELD_USTACK_GPA + (me + 1) * DYIELD_STACK_SIZE - 8, me);
}
