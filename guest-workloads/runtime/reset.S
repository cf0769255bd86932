/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a vCPU comes back after INIT and SIPI: from real mode to payload_entry, as
 * it was started first (Intel SDM volume 3, "Initializing IA-32e Mode").
 * reset_prepare() copies this to the page that the SIPI names, and fills in what
 * the ABI header knows.
 */
	.text
	.globl	reset_code, reset_code_end, reset_cr3, reset_gdt, reset_gdt_base
	.code16
reset_code:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	reset_gdtr - reset_code
	movl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	reset_cr3 - reset_code, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER */
	rdmsr
	btsl	$8, %eax		/* LME */
	wrmsr
	movl	$0x80010033, %eax	/* as in harness/kvm/vm.cpp */
	movl	%eax, %cr0
	ljmpl	$8, $reset_long

	.balign	8
reset_gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* 64-bit code */
	.quad	0x00cf93000000ffff	/* data */
reset_gdtr:
	.word	reset_gdtr - reset_gdt - 1
reset_gdt_base:
	.long	0
reset_cr3:
	.long	0
reset_code_end:

	.code64
reset_long:
	movl	$16, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$0x802, %ecx		/* the x2APIC ID: the index, or vcpu_main() */
	rdmsr				/* says that it is not */
	movl	%eax, %edi
	leaq	1(%rdi), %rsp
	imulq	stack_size, %rsp
	addq	kernel_stacks, %rsp
	jmp	payload_entry

/*
 * The handler of SMIs: RSM. Before it, for a vCPU that was in real mode, the
 * saved SS gets DPL 0. On AMD KVM takes the DPL for the CPL, and at an INIT in
 * ring 3 the VMCB keeps that until the vCPU next enters the guest (init_vmcb() in
 * arch/x86/kvm/svm/svm.c); if an SMI comes before, ring 3 is what RSM restores.
 * Processors have no CPL but 0 in real mode (AMD64 manual volume 2, "VMRUN
 * instruction"), QEMU has, and then CLI faults. Where: AMD64's save area, which
 * KVM uses for Intel, too (arch/x86/kvm/smm.h).
 */
	.code16
	.globl	smi_code, smi_code_end
smi_code:
	testb	$1, %cs:0xff58		/* CR0.PE */
	jnz	1f
	andb	$0x9f, %cs:0xfe22	/* the attributes of SS */
1:	rsm
smi_code_end:
	.code64

	.section .note.GNU-stack, "", @progbits
