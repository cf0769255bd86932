/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two fair spinlocks, as Linux had and has them without paravirtualization, and
 * a critical section that shows whether they exclude. Ring 0, interrupts off;
 * they are on while a vCPU waits for or holds a lock that is not one of
 * irqs_off.
 */
#ifndef DYIELD_GUEST_LOCK_H
#define DYIELD_GUEST_LOCK_H

#include "cpu.h"

struct lock {
	void (*acquire)(u32 me);
	void (*release)(u32 me);
	bool irqs_off;
};

extern const struct lock ticket_lock, mcs_lock, irqs_off_lock;

/*
 * Takes the lock, does that much work, calls the function, if any, and gives
 * the lock back.
 */
void critical_section(u32 me, const struct lock *lock, u32 units,
		      void (*inside)(u32 me));

/* Do the sections done add up? Once all vCPUs have stopped. */
void lock_verify(void);

#endif
