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
/* Registers: offsets in the xAPIC page, sixteenths of them from MSR 0x800. */
#define MSR_X2APIC	   0x800
#define APIC_ID		   0x20
#define APIC_LDR	   0xd0
#define APIC_DFR	   0xe0
#define APIC_SPIV	   0xf0
#define APIC_LVTT	   0x320
#define APIC_TMICT	   0x380
#define APIC_TDCR	   0x3e0
#define APIC_DFR_FLAT	   0xffffffff
#define APIC_SPIV_ENABLE   0x100
#define APIC_ICR_ASSERT	   (1u << 14)
#define APIC_TDCR_DIV_1	   0xb
/* Of KVM's emulated APIC, unless user space asks for another (APIC_BUS_CYCLE_NS
 * in arch/x86/kvm/lapic.h). */
#define APIC_TICKS_PER_US  1000
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
static u64 idt[256][2] __attribute__((aligned(16)));

extern char interrupt_stubs[];

/* The same for all vCPUs, and each writes them. */
static bool in_xapic_mode;
static bool is_amd;

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

/*
 * Every vCPU fills in the same bytes, so it does not matter who is first. A
 * gate is two words which never hold anything else: who comes back from a reset
 * does this while the others take interrupts.
 */
static void idt_init(void)
{
	for (int i = 0; i < 256; i++) {
		u64 stub = (u64)interrupt_stubs + i * 16;
		/* Interrupt gate; ring 3 may call only one of them. */
		u64 type = i == VECTOR_SYSCALL ? 0xee : 0x8e;

		WRITE_ONCE(idt[i][0], (stub & 0xffff) | KERNEL_CS << 16 |
					      type << 40 |
					      (stub >> 16 & 0xffff) << 48);
		WRITE_ONCE(idt[i][1], stub >> 32);
	}
}

void cpu_init(u32 index)
{
	struct cpu *cpu = &cpus[index];
	u64 tss = (u64)&cpu->tss;
	u32 leaf = 0, vendor, ecx, edx;

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

	/* "Auth" of AMD, "Hygo" of Hygon. */
	asm volatile("cpuid" : "+a"(leaf), "=b"(vendor), "=c"(ecx), "=d"(edx));
	is_amd = vendor == 0x68747541 || vendor == 0x6f677948;

	struct pointer idtr = {sizeof(idt) - 1, (u64)idt};

	asm volatile("lidt %0" ::"m"(idtr));
}

static void apic_write(u32 reg, u32 value)
{
	if (in_xapic_mode)
		/* One plain MOV, which KVM can emulate. */
		asm volatile("movl %0, (%1)" ::"r"(value),
			     "r"(DYIELD_APIC_GPA + reg)
			     : "memory");
	else
		wrmsr(MSR_X2APIC + (reg >> 4), value);
}

bool apic_poke(u32 reg, u64 value)
{
	if (!in_xapic_mode)
		return wrmsr_may_fault(MSR_X2APIC + (reg >> 4), value);
	apic_write(reg, value);
	return false;
}

bool apic_is_xapic(void)
{
	return in_xapic_mode;
}

void apic_enable(bool xapic)
{
	u64 base = rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE;

	in_xapic_mode = xapic;
	wrmsr(MSR_APIC_BASE, base);
	if (!xapic)
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
	apic_write(APIC_SPIV, APIC_SPIV_ENABLE | DYIELD_VECTOR_SPURIOUS);
	apic_write(APIC_TPR, 0);
	apic_write(APIC_TDCR, APIC_TDCR_DIV_1);
	/* x2APIC derives the logical ID from the APIC ID; flat has eight. */
	if (xapic && apic_id() < 8) {
		apic_write(APIC_DFR, APIC_DFR_FLAT);
		apic_write(APIC_LDR, 1u << (24 + apic_id()));
	}
}

u32 apic_id(void)
{
	u32 value;

	if (!in_xapic_mode)
		return rdmsr(MSR_X2APIC + (APIC_ID >> 4));
	asm volatile("movl (%1), %0"
		     : "=r"(value)
		     : "r"(DYIELD_APIC_GPA + APIC_ID));
	return value >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_send(u32 destination, u32 mode, u8 vector)
{
	u32 low = mode | APIC_ICR_ASSERT | vector;

	if (in_xapic_mode) {
		apic_write(APIC_ICR2, destination << 24);
		apic_write(APIC_ICR, low);
	} else {
		wrmsr(MSR_X2APIC + (APIC_ICR >> 4),
		      (u64)destination << 32 | low);
	}
}

/* For reset.S. */
const u64 kernel_stacks = DYIELD_KSTACK_GPA, stack_size = DYIELD_STACK_SIZE;
extern const char reset_code[], reset_code_end[], reset_cr3[], reset_gdt[],
	reset_gdt_base[], smi_code[], smi_code_end[];

static void copy(u64 to, const char *from, const char *end)
{
	while (from < end)
		*(volatile char *)to++ = *from++;
}

static void fill_in(const char *field, u32 value)
{
	WRITE_ONCE(*(u32 *)(DYIELD_RESET_GPA + (field - reset_code)), value);
}

void reset_prepare(void)
{
	copy(DYIELD_RESET_GPA, reset_code, reset_code_end);
	fill_in(reset_cr3, DYIELD_PML4_GPA);
	fill_in(reset_gdt_base, DYIELD_RESET_GPA + (reset_gdt - reset_code));
	copy(DYIELD_SMI_GPA, smi_code, smi_code_end);
}

void apic_timer(u32 microseconds)
{
	apic_write(APIC_LVTT, DYIELD_VECTOR_TIMER); /* one-shot */
	apic_write(APIC_TMICT, microseconds * APIC_TICKS_PER_US);
}

u64 hypercall(u64 number, u64 a, u64 b, u64 c, u64 d)
{
	u64 result = number;

	/* Each vendor has its own instruction. */
	if (is_amd)
		asm volatile("vmmcall"
			     : "+a"(result)
			     : "b"(a), "c"(b), "d"(c), "S"(d)
			     : "memory");
	else
		asm volatile("vmcall"
			     : "+a"(result)
			     : "b"(a), "c"(b), "d"(c), "S"(d)
			     : "memory");
	return result;
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
