/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exception vectors, the way back, and the context switch.
 *
 * SP_EL1 is a task's kernel stack: it is the stack's top whenever the task runs in user mode, because the way back pops the whole
 * frame. So nothing needs to be told which stack the next trap uses.
 */
#include "param.h"
#include "unwind.h"

    .text

.macro vector kind
    .balign 0x80
    sub sp, sp, #TF_SIZE
    stp x0, x1, [sp]
    mov x1, #\kind
    b save
.endm

.macro refuse                           /* SP_EL0 is never the kernel's stack, EL0 never AArch32 */
    .balign 0x80
    b .
.endm

    .balign 0x800
    .globl vectors
vectors:
    refuse
    refuse
    refuse
    refuse
    vector 0
    vector 1
    vector 2
    vector 3
    vector 0
    vector 1
    vector 2
    vector 3
    refuse
    refuse
    refuse
    refuse

save:
    stp x2, x3, [sp, #16]
    stp x4, x5, [sp, #32]
    stp x6, x7, [sp, #48]
    stp x8, x9, [sp, #64]
    stp x10, x11, [sp, #80]
    stp x12, x13, [sp, #96]
    stp x14, x15, [sp, #112]
    stp x16, x17, [sp, #128]
    stp x18, x19, [sp, #144]
    stp x20, x21, [sp, #160]
    stp x22, x23, [sp, #176]
    stp x24, x25, [sp, #192]
    stp x26, x27, [sp, #208]
    stp x28, x29, [sp, #224]
    mrs x2, sp_el0
    stp x30, x2, [sp, #240]
    mrs x2, elr_el1
    mrs x3, spsr_el1
    stp x2, x3, [sp, #TF_PC]
.Lsaved:
    mov x0, sp
    bl trap_entry
    mov x0, sp

    .globl arch_return_user
arch_return_user:
    mov sp, x0
    ldp x2, x3, [sp, #TF_PC]
    msr elr_el1, x2
    msr spsr_el1, x3
    ldp x30, x2, [sp, #240]
    msr sp_el0, x2
    ldp x28, x29, [sp, #224]
    ldp x26, x27, [sp, #208]
    ldp x24, x25, [sp, #192]
    ldp x22, x23, [sp, #176]
    ldp x20, x21, [sp, #160]
    ldp x18, x19, [sp, #144]
    ldp x16, x17, [sp, #128]
    ldp x14, x15, [sp, #112]
    ldp x12, x13, [sp, #96]
    ldp x10, x11, [sp, #80]
    ldp x8, x9, [sp, #64]
    ldp x6, x7, [sp, #48]
    ldp x4, x5, [sp, #32]
    ldp x2, x3, [sp, #16]
    ldp x0, x1, [sp]
.Lrestored:
    add sp, sp, #TF_SIZE
    eret

/*
 * An SDEI event: x0 = its number, x1 = its slot, x2 and x3 = interrupted PC and PSTATE, everything masked. The dispatcher has saved
 * x0 to x17; the rest, and the stack pointer, must be as they were when it is told that we are done. ELR_EL1 and SPSR_EL1 may be live.
 * PC, PSTATE and SP_EL0 are kept for debuggers alone: nothing else on this stack says what was interrupted.
 */
#define EVENT_LR 16                     /* and the stack pointer */
#define EVENT_PC 32                     /* and PSTATE */
#define EVENT_SP_EL0 48
#define EVENT_SIZE 64
    .globl sdei_entry
sdei_entry:
    mov x4, sp
    mrs x5, sp_el0
    sub sp, x1, #EVENT_SIZE
    stp x18, x29, [sp]
    stp x30, x4, [sp, #EVENT_LR]
    stp x2, x3, [sp, #EVENT_PC]
    str x5, [sp, #EVENT_SP_EL0]
.Levent_saved:
    mov x29, xzr
    bl sdei_taken                       /* returns the call that ends it, in x0 and x1 */
    ldp x30, x4, [sp, #EVENT_LR]
    ldp x18, x29, [sp]
.Levent_restored:
    mov sp, x4
    hvc #0
    b sdei_stuck

/* void arch_switch(struct context **save, struct context *to): x19..x30 on the stack, as struct context in trap.c */
    .globl arch_switch
arch_switch:
    stp x29, x30, [sp, #-96]!
    stp x19, x20, [sp, #16]
    stp x21, x22, [sp, #32]
    stp x23, x24, [sp, #48]
    stp x25, x26, [sp, #64]
    stp x27, x28, [sp, #80]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #16]
    ldp x21, x22, [sp, #32]
    ldp x23, x24, [sp, #48]
    ldp x25, x26, [sp, #64]
    ldp x27, x28, [sp, #80]
    ldp x29, x30, [sp], #96
    ret
/*
 * For debuggers; by DWARF's numbers (AADWARF64, 4.1) SP is 31, PC 32. The interrupted stack pointer is SP_EL0 at exception level 0, else
 * SP_EL1. All places are offsets from SP: of saved PSTATE and SP_EL0, and of SP_EL1 (deref 1), or SP_EL1 itself (deref 0).
 */
.macro unwind_sp pstate, sp_el0, sp_el1, deref
    .byte DW_CFA_def_cfa_expression
    .uleb128 7012f - 7011f
7011:
    .byte DW_OP_breg0 + 31
    .sleb128 \pstate
    .byte DW_OP_deref, DW_OP_lit0 + 0xc, DW_OP_and, DW_OP_bra
    .2byte 7014f - 7013f
7013:
    .byte DW_OP_breg0 + 31
    .sleb128 \sp_el0
    .byte DW_OP_deref, DW_OP_skip
    .2byte 7012f - 7014f
7014:
    .byte DW_OP_breg0 + 31
    .sleb128 \sp_el1
    .if \deref
    .byte DW_OP_deref
    .endif
7012:
.endm

    unwind_begin .Lsaved, .Lrestored, 32
    unwind_sp TF_PSTATE, TF_SP, TF_SIZE, 0
    .set offset, 0
    .rept 31
    unwind_saved offset / 8, 31, offset
    .set offset, offset + 8
    .endr
    unwind_saved 32, 31, TF_PC
    unwind_end

    unwind_begin .Levent_saved, .Levent_restored, 32
    unwind_sp EVENT_PC + 8, EVENT_SP_EL0, EVENT_LR + 8, 1
    .set offset, 0
    .rept 18                            /* the dispatcher has them */
    .byte DW_CFA_undefined
    .uleb128 offset
    .set offset, offset + 1
    .endr
    unwind_saved 18, 31, 0
    unwind_saved 29, 31, 8
    unwind_saved 30, 31, EVENT_LR
    unwind_saved 32, 31, EVENT_PC
    unwind_end
    .section .note.GNU-stack, "", %progbits
