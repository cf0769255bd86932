// SPDX-License-Identifier: GPL-2.0-only
#include "shootdown.h"

#include "wait.h"
#include "workload.h"

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

/* Long enough before the IPI for a receiver on another CPU to read the window.
 */
static void free_early(u32 window, u32 frame)
{
	WRITE_ONCE(*(u64 *)frame_gpa(window, frame), FRAME_POISON);
	for (u32 i = 0; i < 100000; i++)
		asm volatile("");
}

/* The window has been remapped: whoever is lazy from here on will flush it. */
static void spare_lazy(struct dyield_vcpu *vcpu, struct vcpu_set *receivers)
{
	struct dyield_shared *sh = shared();
	u64 spared = 0;

	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		if (set_has(receivers, i) &&
		    __atomic_load_n(&sh->vcpu[i].lazy, __ATOMIC_SEQ_CST)) {
			set_remove(receivers, i);
			spared++;
		}
	}
	vcpu->lazy_skips[READ_ONCE(sh->phase)] += spared;
}

void shootdown(u32 me, u32 window, struct vcpu_set receivers)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	u32 old = window_state[window].frame;
	u32 sent, phase;

	window_state[window].frame = !old;
	window_state[window].generation++;
	WRITE_ONCE(*(u64 *)frame_gpa(window, !old),
		   window_state[window].generation);
	map_window(window, !old);
	invlpg(window_va(window));
	spare_lazy(vcpu, &receivers);

	if (sh->fault == DYIELD_FAULT_EARLY_FREE)
		free_early(window, old);

	/* Entry and window are there before anybody can see the bit and flush.
	 */
	WRITE_ONCE(vcpu->window, window);
	WRITE_ONCE(vcpu->sent, rdtsc());
	wait_publish(vcpu, DYIELD_WAIT_SHOOTDOWN, &receivers);
	sent = ipi_send(me, &receivers, DYIELD_VECTOR_SHOOTDOWN);
	spin_while(vcpu, !wait_over(vcpu));
	if (sent)
		latency_add(vcpu, DYIELD_LATENCY_RELEASE, vcpu->sent, rdtsc());
	wait_end(vcpu);

	/* Nobody can reach the old frame now: reuse it. */
	WRITE_ONCE(*(u64 *)frame_gpa(window, old), FRAME_POISON);

	/* In the same phase, so that they can be compared. */
	phase = READ_ONCE(sh->phase);
	vcpu->shootdowns[phase]++;
	vcpu->ipis_sent[phase] += sent;
}

void shootdown_interrupt(u32 me, u64 entered)
{
	struct dyield_shared *sh = shared();
	struct dyield_vcpu *vcpu = &sh->vcpu[me];
	u64 bit = 1ULL << me % 64;
	u32 phase = READ_ONCE(sh->phase);

	/* One interrupt may stand for several: the APIC coalesces. */
	for (u32 i = 0; i < sh->nr_vcpus; i++) {
		struct dyield_vcpu *sender = &sh->vcpu[i];
		u64 sent;

		if (!(__atomic_load_n(&sender->waiting_for[me / 64],
				      __ATOMIC_ACQUIRE) &
		      bit))
			continue;
		/*
		 * The bit may be that of another wait. If it is, and a
		 * shootdown follows in between, then that one is answered: its
		 * window is what is read here.
		 */
		if (__atomic_load_n(&sender->wait_kind, __ATOMIC_ACQUIRE) !=
		    DYIELD_WAIT_SHOOTDOWN)
			continue;
		sent = READ_ONCE(sender->sent);
		if (sh->fault != DYIELD_FAULT_NO_FLUSH)
			invlpg(window_va(READ_ONCE(sender->window)));
		if (!wait_answer(sender, me))
			continue;
		vcpu->flushes[phase]++;
		latency_add(vcpu, DYIELD_LATENCY_HANDLER, sent, entered);
	}
	vcpu->progress++;
}

void lazy_enter(u32 me)
{
	__atomic_store_n(&shared()->vcpu[me].lazy, 1, __ATOMIC_SEQ_CST);
}

void lazy_leave(u32 me)
{
	/*
	 * In this order: a sender that still saw the state had remapped its
	 * window before, and the flush drops what was there.
	 */
	if (shared()->fault != DYIELD_FAULT_STILL_LAZY)
		__atomic_store_n(&shared()->vcpu[me].lazy, 0, __ATOMIC_SEQ_CST);
	flush_tlb();
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
