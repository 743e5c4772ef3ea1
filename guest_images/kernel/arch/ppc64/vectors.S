/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupt vectors, loaded twice (kernel.ld): at physical 0 for interrupts in real mode, at physical 0x4000 for those taken with
 * translation on (AIL 3: effective 0xc000000000004000 + offset). Position independent: they leave through the paca.
 *
 * A vector saves what it needs in the paca: r13 (SPRG1), r10, r11, CTR. That is safe because interrupts are off and the kernel's
 * pages are pinned and mapped until trap_entry has moved it all to the stack.
 */
#include "asm.h"
#include "unwind.h"

    .macro vector offset
    .org \offset
    mtsprg 1, 13
    mfsprg 13, 0
    std 10, PACA_R10(13)
    std 11, PACA_R11(13)
    mfctr 11
    std 11, PACA_CTR(13)
    li 10, \offset
    ld 11, PACA_HANDLER(13)
    mtctr 11
    bctr
    .endm

/* Facility interrupts have room for 8 instructions only. They all mean the same here: the kernel lets nobody use a facility. */
    .macro short_vector offset
    .org \offset
    b 7f
    .endm

    .macro vectors
    .irp offset, 0x100, 0x200, 0x300, 0x380, 0x400, 0x480, 0x500, 0x600, 0x700, 0x800, 0x900, 0xa00, 0xc00, 0xd00
    vector \offset
    .endr
    short_vector 0xf00
    short_vector 0xf20
    short_vector 0xf40
    short_vector 0xf60
    short_vector 0xf80
    .org 0xf90
7:  mtsprg 1, 13
    mfsprg 13, 0
    std 10, PACA_R10(13)
    std 11, PACA_R11(13)
    mfctr 11
    std 11, PACA_CTR(13)
    li 10, 0xf00
    ld 11, PACA_HANDLER(13)
    mtctr 11
    bctr
    .org 0x1000
    .endm

    .section .vectors.real, "ax"
    vectors
    .section .vectors.virtual, "ax"
    vectors

    .text
/* From a vector: r10 = offset, r13 = paca; r10, r11, r13, CTR saved. Real mode after a machine check or reset, else virtual. */
    .globl trap_entry
    .balign 4
trap_entry:
    mfcr 11
    std 11, PACA_CR(13)
    mfsrr1 11
    andi. 11, 11, MSR_PR
    mr 11, 1
    beq 1f
    ld 11, PACA_KSTACK(13)              /* from user mode: the task's stack is empty */
    addi 11, 11, -TF_SIZE
    b 2f
1:  addi 11, 11, -(TF_SIZE + 512)       /* from the kernel: below what its functions may use under r1 (ELFv2 2.2.3.4) */
    rldicr 11, 11, 0, 59
2:  std 0, TF_GPR(0)(11)
    std 1, TF_GPR(1)(11)
    mr 1, 11
    .irp n, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    std \n, TF_GPR(\n)(1)
    .endr
    std 10, TF_TRAP(1)
    ld 3, PACA_R10(13)
    std 3, TF_GPR(10)(1)
    ld 3, PACA_R11(13)
    std 3, TF_GPR(11)(1)
    mfsprg 3, 1
    std 3, TF_GPR(13)(1)
    ld 3, PACA_CTR(13)
    std 3, TF_CTR(1)
    ld 3, PACA_CR(13)
    std 3, TF_CR(1)
    mfsrr0 3
    std 3, TF_NIP(1)
    mfsrr1 3
    std 3, TF_MSR(1)
    mflr 3
    std 3, TF_LR(1)
    mfxer 3
    std 3, TF_XER(1)
    mfdar 3
    std 3, TF_DAR(1)
    mfdsisr 3
    std 3, TF_DSISR(1)
    ld 2, PACA_TOC(13)
    LOAD64(3, MSR_KERNEL)               /* everything is on the stack: recoverable, and translation on whatever the vector was */
    mtmsrd 3
    isync
    mr 3, 1
    li 0, 0
    stdu 0, -FRAME_MIN-16(1)            /* ends the back chain */
.Ltrap_saved:
    bl trap_dispatch
    nop
    addi 3, 1, FRAME_MIN+16
.Ltrap_restoring:

/* void arch_return_user(struct trapframe *): also the way back to the kernel. Interrupts off. */
    .globl arch_return_user
    .type arch_return_user, @function
arch_return_user:
    mr 1, 3
    li 3, 0
    mtmsrd 3, 1                         /* SRR0 and SRR1 are live from here on: not recoverable */
    ld 3, TF_NIP(1)
    mtsrr0 3
    ld 3, TF_MSR(1)
    mtsrr1 3
    ld 3, TF_CTR(1)
    mtctr 3
    ld 3, TF_LR(1)
    mtlr 3
    ld 3, TF_XER(1)
    mtxer 3
    ld 3, TF_CR(1)
    mtcrf 0xff, 3
    .irp n, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld \n, TF_GPR(\n)(1)
    .endr
    ld 1, TF_GPR(1)(1)
    rfid

/* The vectors are pinned, too (note.S has the image proper). */
    .section .note.vmemu, "a", %note
    .balign 4
    .4byte 2f - 1f
    .4byte 4f - 3f
    .4byte 1
1:  .asciz "vmemu"
2:  .balign 4
3:  .8byte 0, 0x1000
    .8byte 0x4000, 0x5000
4:  .balign 4
/* For debuggers: struct trapframe lies above the frame of trap_dispatch's caller. LR is 65, CTR 66 (ELFv2 2.4); 113 is nobody's. */
#define FRAME (FRAME_MIN + 16)
    unwind_begin .Ltrap_saved, .Ltrap_restoring, 113
    unwind_cfa_at 1, FRAME + TF_GPR(1)
    .irp n, 0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    unwind_saved \n, 1, FRAME + TF_GPR(\n)
    .endr
    unwind_saved 65, 1, FRAME + TF_LR
    unwind_saved 66, 1, FRAME + TF_CTR
    unwind_saved 113, 1, FRAME + TF_NIP
    unwind_end
    .section .note.GNU-stack, "", %progbits
