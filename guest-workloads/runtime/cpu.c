// SPDX-License-Identifier: GPL-2.0-only
#include "cpu.h"

/* Selectors; entry.S knows the user ones. */
#define KERNEL_CS	   0x08
#define KERNEL_DS	   0x10
#define USER_DS		   0x1b
#define USER_CS		   0x23
#define TSS_SEL		   0x28

#define MSR_APIC_BASE	   0x1b
#define APIC_BASE_X2APIC   (1u << 10)
#define APIC_BASE_ENABLE   (1u << 11)
#define MSR_X2APIC_ID	   0x802
#define MSR_X2APIC_TPR	   0x808
#define MSR_X2APIC_EOI	   0x80b
#define MSR_X2APIC_SPIV	   0x80f
#define MSR_X2APIC_ICR	   0x830
#define APIC_SPIV_ENABLE   0x100
#define APIC_ICR_ASSERT	   (1u << 14)
#define MSR_GS_BASE	   0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102

struct tss {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap;
} __attribute__((packed));

struct gate {
	u16 offset_low;
	u16 selector;
	u8 ist;
	u8 type;
	u16 offset_middle;
	u32 offset_high;
	u32 reserved;
};

struct pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

/* Per vCPU; the address is in GS_BASE, whatever the privilege level. */
struct cpu {
	u64 index;
	u64 gdt[7];
	struct tss tss;
} __attribute__((aligned(64)));

static struct cpu cpus[DYIELD_MAX_VCPUS + 1];
static struct gate idt[256] __attribute__((aligned(16)));

extern char interrupt_stubs[];

static void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" ::"c"(msr), "a"((u32)value),
		     "d"((u32)(value >> 32))
		     : "memory");
}

static u64 rdmsr(u32 msr)
{
	u32 low, high;

	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (u64)high << 32 | low;
}

u32 cpu_index(void)
{
	u64 index;

	asm volatile("movq %%gs:0, %0" : "=r"(index));
	return index;
}

/* Every vCPU fills in the same bytes, so it does not matter who is first. */
static void idt_init(void)
{
	for (int i = 0; i < 256; i++) {
		u64 stub = (u64)interrupt_stubs + i * 16;

		idt[i] = (struct gate){
			.offset_low = stub,
			.selector = KERNEL_CS,
			/* Interrupt gate; ring 3 may call only one of them. */
			.type = i == VECTOR_SYSCALL ? 0xee : 0x8e,
			.offset_middle = stub >> 16,
			.offset_high = stub >> 32,
		};
	}
}

void cpu_init(u32 index)
{
	struct cpu *cpu = &cpus[index];
	u64 tss = (u64)&cpu->tss;

	cpu->index = index;
	cpu->tss.rsp[0] = DYIELD_KSTACK_GPA + (index + 1) * DYIELD_STACK_SIZE;
	cpu->tss.iomap = sizeof(cpu->tss);
	cpu->gdt[KERNEL_CS / 8] = 0x00af9b000000ffff;
	cpu->gdt[KERNEL_DS / 8] = 0x00cf93000000ffff;
	cpu->gdt[USER_DS / 8] = 0x00cff3000000ffff;
	cpu->gdt[USER_CS / 8] = 0x00affb000000ffff;
	cpu->gdt[TSS_SEL / 8] = (sizeof(cpu->tss) - 1) |
				(tss & 0xffffff) << 16 | 0x89ULL << 40 |
				(tss >> 24 & 0xff) << 56;
	cpu->gdt[TSS_SEL / 8 + 1] = tss >> 32;

	struct pointer gdtr = {sizeof(cpu->gdt) - 1, (u64)cpu->gdt};

	asm volatile("lgdt %0" ::"m"(gdtr));
	asm volatile(
		"pushq %0\n\t"
		"leaq 1f(%%rip), %%rax\n\t"
		"pushq %%rax\n\t"
		"lretq\n"
		"1:\n\t"
		"movl %1, %%eax\n\t"
		"movl %%eax, %%ss\n\t"
		/* DPL 3: IRET to ring 3 would null what is more privileged,
		 * and with the GS selector some CPUs lose its base. */
		"movl %2, %%eax\n\t"
		"movl %%eax, %%ds\n\t"
		"movl %%eax, %%es\n\t"
		"movl %%eax, %%gs" ::"i"(KERNEL_CS),
		"i"(KERNEL_DS), "i"(USER_DS)
		: "rax", "memory");
	wrmsr(MSR_GS_BASE, (u64)cpu);
	wrmsr(MSR_KERNEL_GS_BASE, (u64)cpu);
	asm volatile("ltr %w0" ::"r"(TSS_SEL));

	idt_init();

	struct pointer idtr = {sizeof(idt) - 1, (u64)idt};

	asm volatile("lidt %0" ::"m"(idtr));
}

void apic_enable(void)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE);
	wrmsr(MSR_APIC_BASE,
	      rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	wrmsr(MSR_X2APIC_SPIV, APIC_SPIV_ENABLE | DYIELD_VECTOR_SPURIOUS);
	wrmsr(MSR_X2APIC_TPR, 0);
}

u32 apic_id(void)
{
	return rdmsr(MSR_X2APIC_ID);
}

void apic_eoi(void)
{
	wrmsr(MSR_X2APIC_EOI, 0);
}

void apic_send(u32 destination, u8 vector)
{
	wrmsr(MSR_X2APIC_ICR,
	      (u64)destination << 32 | APIC_ICR_ASSERT | vector);
}

void fail(u32 code, u64 d0, u64 d1, u64 d2, u64 d3)
{
	static u32 reported;
	struct dyield_error *error = &shared()->error;

	irq_disable();
	/* The first error is the one that explains the others. */
	if (!__atomic_exchange_n(&reported, 1, __ATOMIC_SEQ_CST)) {
		error->vcpu = cpu_index();
		error->detail[0] = d0;
		error->detail[1] = d1;
		error->detail[2] = d2;
		error->detail[3] = d3;
		__atomic_store_n(&error->code, code, __ATOMIC_RELEASE);
		out32(DYIELD_PORT_FAULT, error->vcpu);
	}
	for (;;)
		asm volatile("cli; hlt");
}
