// SPDX-License-Identifier: GPL-2.0-only
#include "shootdown.h"

#define PTE_PRESENT 0x1
#define PTE_WRITE   0x2
#define PTE_USER    0x4

/* Of each window; written by whoever remaps it. */
static struct {
	u64 generation;
	u32 frame;
} window_state[DYIELD_MAX_VCPUS + 1];

/* The newest generation that each vCPU has seen in each window. */
static u64 newest_seen[DYIELD_MAX_VCPUS + 1][DYIELD_MAX_VCPUS + 1];

static u64 window_va(u32 window)
{
	return DYIELD_WINDOW_VA + window * 4096ULL;
}

static u64 frame_gpa(u32 window, u32 frame)
{
	return DYIELD_FRAME_GPA + (window * 2ULL + frame) * 4096;
}

static void map_window(u32 window, u32 frame)
{
	u64 *pt = (u64 *)DYIELD_WINDOW_PT_GPA;

	__atomic_store_n(&pt[window],
			 frame_gpa(window, frame) | PTE_PRESENT | PTE_WRITE |
				 PTE_USER,
			 __ATOMIC_SEQ_CST);
}

void windows_init(u32 nr_vcpus)
{
	for (u32 i = 0; i < nr_vcpus; i++) {
		window_state[i].generation = 1;
		WRITE_ONCE(*(u64 *)frame_gpa(i, 0), 1);
		WRITE_ONCE(*(u64 *)frame_gpa(i, 1), FRAME_POISON);
		map_window(i, 0);
	}
}

static bool all_flushed(const struct dyield_vcpu *vcpu)
{
	u64 waiting = 0;

	for (int i = 0; i < DYIELD_SET_WORDS; i++)
		waiting |= __atomic_load_n(&vcpu->waiting_for[i],
					   __ATOMIC_ACQUIRE);
	return !waiting;
}

/* Long enough before the IPI for a receiver on another CPU to read the window.
 */
static void free_early(u32 window, u32 frame)
{
	WRITE_ONCE(*(u64 *)frame_gpa(window, frame), FRAME_POISON);
	for (u32 i = 0; i < 100000; i++)
		asm volatile("");
}

void shootdown(u32 me, u32 window, const struct vcpu_set *receivers)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	u32 old = window_state[window].frame;
	u64 sent = 0, pauses = 0;

	window_state[window].frame = !old;
	window_state[window].generation++;
	WRITE_ONCE(*(u64 *)frame_gpa(window, !old),
		   window_state[window].generation);
	map_window(window, !old);
	invlpg(window_va(window));

	if (sh->fault == DYIELD_FAULT_EARLY_FREE)
		free_early(window, old);

	/* Entry and window are there before anybody can see the bit and flush.
	 */
	WRITE_ONCE(vcpu->window, window);
	for (int i = 0; i < DYIELD_SET_WORDS; i++)
		__atomic_store_n(&vcpu->waiting_for[i], receivers->word[i],
				 __ATOMIC_SEQ_CST);

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (!(receivers->word[i / 64] >> i % 64 & 1))
			continue;
		apic_send(sh->apic_id[i], DYIELD_VECTOR_SHOOTDOWN);
		sent++;
	}

	/*
	 * Interrupts on, as in Linux: somebody else's shootdown must be
	 * answered while this one waits.
	 */
	irq_enable();
	while (!all_flushed(vcpu)) {
		pause();
		pauses++;
	}
	irq_disable();

	/* Nobody can reach the old frame now: reuse it. */
	WRITE_ONCE(*(u64 *)frame_gpa(window, old), FRAME_POISON);

	u32 phase = READ_ONCE(sh->phase);

	vcpu->shootdowns[phase]++;
	vcpu->ipis_sent[phase] += sent;
	vcpu->pauses[phase] += pauses;
}

void shootdown_interrupt(u32 me)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	u64 bit = 1ULL << me % 64;
	u32 phase = READ_ONCE(sh->phase);

	/* First, as Linux does it: the work comes after the EOI. */
	apic_eoi();

	/* One interrupt may stand for several: the APIC coalesces. */
	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		u64 *word = &sh->vcpu[i].waiting_for[me / 64];

		if (!(__atomic_load_n(word, __ATOMIC_ACQUIRE) & bit))
			continue;
		if (sh->fault != DYIELD_FAULT_NO_FLUSH)
			invlpg(window_va(READ_ONCE(sh->vcpu[i].window)));
		vcpu->flushes[phase]++;
		__atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
	}
	vcpu->progress++;
}

bool window_check(u32 me, u32 window, u64 *value, u64 *newest)
{
	*value = READ_ONCE(*(u64 *)window_va(window));
	*newest = newest_seen[me][window];
	if (*value == FRAME_POISON || *value < *newest)
		return false;
	newest_seen[me][window] = *value;
	return true;
}
