/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every way into the kernel and the one way out. The order of pushes is struct trapframe. */
#include "param.h"
#include "unwind.h"

    .text

/* ---- one stub a vector: all of them leave an error code and a vector number ---- */
    .globl trap_stubs
    .balign 16
trap_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
    .endr

trap_common:
    testb $3, 24(%rsp)              /* cs */
    jz 1f
    swapgs
1:  call save_registers             /* returns with rdi = trapframe */
.Ltrap_saved:
    call trap_dispatch

/* Load the trapframe at rsp and return to where it came from. */
trap_return:
    popq %r15
.Ltrap_restoring:
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp                  /* vector, error */
    testb $3, 8(%rsp)
    jz 1f
    swapgs
1:  iretq

/* Pushes the registers below the vector number and goes back with them in place. */
save_registers:
    xchgq %rax, (%rsp)              /* rax goes where the return address was, the return address into rax */
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, %rdi
    cld
    jmp *%rax

/* ---- SYSCALL: rcx = user rip, r11 = user rflags, interrupts off (FMASK) ---- */
    .globl syscall_entry
    .balign 16
syscall_entry:
    swapgs
    movq %rsp, %gs:PERCPU_USER_RSP
    movq %gs:PERCPU_KSTACK, %rsp
    pushq $SEL_UDATA + 3
    pushq %gs:PERCPU_USER_RSP
    pushq %r11
    pushq $SEL_UCODE + 3
    pushq %rcx
    pushq $0
    pushq $VEC_SYSCALL
    call save_registers
.Lsyscall_saved:
    call trap_dispatch
    jmp trap_return
.Lsyscall_end:

/* void arch_return_user(struct trapframe *tf) */
    .globl arch_return_user
arch_return_user:
    movq %rdi, %rsp
    jmp trap_return

/* void arch_switch(struct context **save, struct context *to) */
    .globl arch_switch
arch_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

/* int rdmsr_safe(u32 msr, u64 *value), int wrmsr_safe(u32 msr, u64 value): trap.c knows the two instructions that may fault */
    .globl rdmsr_safe, msr_safe_read
rdmsr_safe:
    movl %edi, %ecx
msr_safe_read:
    rdmsr
    movl %eax, (%rsi)
    movl %edx, 4(%rsi)
    xorl %eax, %eax
    ret
    .globl wrmsr_safe, msr_safe_write
wrmsr_safe:
    movl %edi, %ecx
    movl %esi, %eax
    movq %rsi, %rdx
    shrq $32, %rdx
msr_safe_write:
    wrmsr
    xorl %eax, %eax
    ret
    .globl msr_safe_refused
msr_safe_refused:
    movl $-1, %eax
    ret

/* struct trapframe, by DWARF's numbers (System V ABI AMD64, figure 3.36): rsp is 7, the column of rip 16 */
.macro unwind_trapframe from, to
    unwind_begin \from, \to, 16
    unwind_cfa_at 7, 160
    .set offset, 0
    .irp register, 15, 14, 13, 12, 11, 10, 9, 8, 5, 4, 6, 3, 1, 2, 0
    unwind_saved \register, 7, offset
    .set offset, offset + 8
    .endr
    unwind_saved 16, 7, 136
    unwind_end
.endm
    unwind_trapframe .Ltrap_saved, .Ltrap_restoring
    unwind_trapframe .Lsyscall_saved, .Lsyscall_end
    .section .note.GNU-stack, "", %progbits
