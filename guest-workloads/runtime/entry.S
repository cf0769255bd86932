/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Entry from the harness and from interrupts.
 *
 * The harness starts every vCPU here, in 64-bit mode at CPL 0, with flat
 * segments, interrupts off, RDI = vCPU index and RSP = its kernel stack.
 */
	.text
	.globl	payload_entry
payload_entry:
	xorl	%ebp, %ebp
	call	vcpu_main
	ud2

/*
 * One stub a vector, 16 bytes each, so that the IDT can be filled in by a
 * loop. Vectors that push no error code push a zero in its place.
 */
	.balign	16
	.globl	interrupt_stubs
interrupt_stubs:
vector = 0
	.rept	256
	.balign	16
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	interrupt_common
vector = vector + 1
	.endr

/* Builds struct frame (cpu.h) and hands it to C. */
interrupt_common:
	pushq	%rax
	pushq	%rbx
	pushq	%rcx
	pushq	%rdx
	pushq	%rsi
	pushq	%rdi
	pushq	%rbp
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$~15, %rsp
	call	interrupt
	movq	%rbp, %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rbp
	popq	%rdi
	popq	%rsi
	popq	%rdx
	popq	%rcx
	popq	%rbx
	popq	%rax
	addq	$16, %rsp
	iretq

/* void enter_user(u64 rip, u64 rsp, u64 arg); does not return. */
	.globl	enter_user
enter_user:
	cli
	pushq	$0x1b		/* user data, RPL 3 */
	pushq	%rsi
	pushq	$0x202		/* IF */
	pushq	$0x23		/* user code, RPL 3 */
	pushq	%rdi
	movq	%rdx, %rdi
	iretq

	.section .note.GNU-stack, "", @progbits
