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
 * loop. Where the CPU pushes no error code, a zero goes in its place. It pushes
 * one for exceptions only, and a hostile guest sends itself IPIs of exceptions'
 * vectors. The CPU aligns the stack to 16 before it pushes the frame's five words,
 * so an error code shows in bit 3 of RSP.
 */
	.balign	16
	.globl	interrupt_stubs
interrupt_stubs:
vector = 0
	.rept	256
	.balign	16
	.if	vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30
	testb	$8, %spl
	jz	1f
	.endif
	pushq	$0
1:	pushq	$vector
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

/* bool wrmsr_may_fault(u32 msr, u64 value); true if the handler came by. */
	.globl	wrmsr_may_fault, wrmsr_at, wrmsr_refused
wrmsr_may_fault:
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
wrmsr_at:
	wrmsr
	xorl	%eax, %eax
	ret
wrmsr_refused:
	movl	$1, %eax
	ret

	.section .note.GNU-stack, "", @progbits
