/* SPDX-License-Identifier: GPL-2.0-only */
/* The processor: descriptor tables, the local APIC, atomics. */
#ifndef DYIELD_GUEST_CPU_H
#define DYIELD_GUEST_CPU_H

#include <stdbool.h>

#include "dyield_abi.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef dyield_u32 u32;
typedef dyield_u64 u64;

#define READ_ONCE(x)	 (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile typeof(x) *)&(x) = (v))

/* System calls of the ring 3 code: INT, number in RAX, arguments RDI to RDX. */
#define VECTOR_SYSCALL	 0x80

/* What interrupt_common in entry.S pushes. */
struct frame {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rbp, rdi, rsi, rdx, rcx, rbx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/* The vCPU's index, not its APIC ID; valid in ring 0 after cpu_init(). */
u32 cpu_index(void);
void cpu_init(u32 index);

/* In x2APIC or xAPIC mode, with its logical ID where the mode has one to set.
 */
void apic_enable(bool xapic);
u32 apic_id(void);
void apic_eoi(void);
/* Destination modes and shorthand of the ICR. */
#define APIC_ICR_PHYSICAL     0u
#define APIC_ICR_LOGICAL      (1u << 11)
#define APIC_ICR_ALL_BUT_SELF (3u << 18)
/* A fixed, edge-triggered IPI. Interrupts off: xAPIC takes two writes. */
void apic_send(u32 destination, u32 mode, u8 vector);
/*
 * Writes any value to a register of the local APIC, whatever it does. True if
 * the CPU refused it: #GP, in x2APIC mode. Both modes name registers by their
 * offsets in the xAPIC page.
 */
bool apic_poke(u32 reg, u64 value);
#define APIC_TPR      0x80
#define APIC_EOI      0xb0
#define APIC_ICR      0x300
#define APIC_ICR2     0x310 /* xAPIC mode only */
#define APIC_SELF_IPI 0x3f0 /* x2APIC mode only */
bool apic_is_xapic(void);
/* One DYIELD_VECTOR_TIMER in that many microseconds; 0 stops the timer. */
void apic_timer(u32 microseconds);

/*
 * Makes vCPUs come back after INIT and a SIPI of vector DYIELD_RESET_GPA >> 12,
 * in x2APIC mode, and out of the handler of an SMI. All save their state at one
 * place in memory, so only one vCPU may get SMIs.
 */
void reset_prepare(void);

/* KVM's hypercalls (Documentation/virt/kvm/x86/hypercalls.rst); its result. */
u64 hypercall(u64 number, u64 a, u64 b, u64 c, u64 d);

/* In entry.S: WRMSR, and whether it took a #GP, which the handler of vector 13
 * has to send from wrmsr_at to wrmsr_refused. */
bool wrmsr_may_fault(u32 msr, u64 value);
extern char wrmsr_at[], wrmsr_refused[];

void enter_user(u64 rip, u64 rsp, u64 arg) __attribute__((noreturn));

static inline void out32(u16 port, u32 value)
{
	asm volatile("outl %0, %1" ::"a"(value), "Nd"(port) : "memory");
}

static inline void pause(void)
{
	asm volatile("pause" ::: "memory");
}

static inline void irq_disable(void)
{
	asm volatile("cli" ::: "memory");
}

static inline void irq_enable(void)
{
	asm volatile("sti" ::: "memory");
}

/* STI takes effect after HLT, so an interrupt cannot slip in between. */
static inline void irq_enable_and_halt(void)
{
	asm volatile("sti; hlt" ::: "memory");
}

static inline void invlpg(u64 address)
{
	asm volatile("invlpg (%0)" ::"r"(address) : "memory");
}

/* Drops every translation: nothing here is global. */
static inline void flush_tlb(void)
{
	u64 cr3;

	asm volatile("movq %%cr3, %0; movq %0, %%cr3" : "=r"(cr3)::"memory");
}

/* Not before what precedes it in the program, nor after what follows. */
static inline u64 rdtsc(void)
{
	u32 low, high;

	asm volatile("lfence; rdtsc; lfence" : "=a"(low), "=d"(high)::"memory");
	return (u64)high << 32 | low;
}

static inline struct dyield_shared *shared(void)
{
	return (struct dyield_shared *)DYIELD_SHARED_GPA;
}

/* Fills in the error record once, rings the FAULT doorbell, and stops. */
void fail(u32 code, u64 d0, u64 d1, u64 d2, u64 d3) __attribute__((noreturn));

#endif
