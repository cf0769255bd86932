/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest for any VMM that takes a firmware image, such as QEMU's -bios: 64 KiB,
 * at 0xf0000 and at the top of 4 GiB. Of its VCPUS vCPUs the first sends ROUNDS
 * IPIs to all others and waits for each to be taken by all, counting the PAUSEs;
 * the others compute. Then it writes the count to the serial port, as 8
 * hexadecimal digits, and ends by a triple fault.
 */
#ifndef VCPUS
#define VCPUS 4
#endif
#ifndef ROUNDS
#define ROUNDS 100
#endif

#define BASE	 0xf0000
#define VECTOR	 0x40
#define ARRIVED	 0x1000 /* in RAM, zero at reset: vCPUs that have come here */
#define READY	 0x1004 /* vCPUs that can take an IPI */
#define TAKEN	 0x1008 /* IPIs taken of this round */
#define APIC_EOI 0xfee000b0
#define APIC_SVR 0xfee000f0
#define APIC_ICR 0xfee00300
#define SERIAL	 0x3f8

	.globl _start
	.code16
_start:
	/* The others come here by SIPI with the vector 0xf0. */
	cli
	lgdtl	%cs:(gdtr - _start)
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$8, $(BASE + flat - _start)

	.code32
flat:
	movw	$16, %ax
	movw	%ax, %ds
	movw	%ax, %ss
	movl	$1, %eax
	lock xaddl %eax, ARRIVED
	movl	%eax, %esp
	incl	%esp
	shll	$12, %esp
	addl	$0x10000, %esp
	lidtl	BASE + idtr - _start
	movl	$0x1ff, APIC_SVR
	testl	%eax, %eax
	jz	send
	lock incl READY
	sti
compute:
	incl	%ecx
	jmp	compute

send:
	movl	$0x000c4500, APIC_ICR	/* INIT to all but itself */
	movl	$0x000c46f0, APIC_ICR	/* SIPI */
	xorl	%esi, %esi
arrive:
	pause
	incl	%esi
	cmpl	$(VCPUS - 1), READY
	jb	arrive

	movl	$ROUNDS, %edi
round:
	movl	$0, TAKEN
	movl	$(0x000c4000 + VECTOR), APIC_ICR
wait:
	pause
	incl	%esi
	cmpl	$(VCPUS - 1), TAKEN
	jb	wait
	decl	%edi
	jnz	round

	movl	$8, %ecx
digit:
	roll	$4, %esi
	movl	%esi, %eax
	andl	$15, %eax
	movb	BASE + digits - _start(%eax), %al
	movw	$SERIAL, %dx
	outb	%al, %dx
	loop	digit
	lidtl	BASE + gdt - _start	/* no entries */
	int3

taken:
	lock incl TAKEN
	movl	$0, APIC_EOI
	iretl

digits:
	.ascii	"0123456789abcdef"
	.balign	8
gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff
gdtr:
	.word	23
	.long	BASE + gdt - _start
idtr:
	.word	(VECTOR + 1) * 8 - 1
	.long	BASE + idt - _start
	.balign	8
idt:
	.fill	VECTOR, 8, 0
	.word	taken - _start, 8, 0x8e00, BASE >> 16

	.org	0xfff0
	.code16
	ljmp	$0xf000, $0
	.org	0x10000
