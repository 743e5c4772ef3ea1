/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry from the firmware: real mode, r3 = device tree. Real mode drops the top bits of addresses, so everything here already
 * uses its linked address. RAM is zero at reset: .bss needs no clearing.
 */
#include "param.h"
#include "asm.h"

    .section .text.boot, "ax"
    .globl _start
_start:
    mr 31, 3
    LOAD64(1, boot_stack + BOOT_STACK - FRAME_MIN)
    LOAD64(2, .TOC.)
    LOAD64(13, pacas)
    mtsprg 0, 13
    std 2, PACA_TOC(13)
    LOAD64(4, trap_entry)
    std 4, PACA_HANDLER(13)
    addi 4, 1, FRAME_MIN
    std 4, PACA_KSTACK(13)
    li 0, 0
    std 0, 0(1)
    LOAD64(12, mmu_boot)
    mtctr 12
    bctrl

    LOAD64(4, MSR_KERNEL)
    LOAD64(5, 1f)
    mtsrr1 4
    mtsrr0 5
    rfid
1:  LOAD64(4, KBASE)
    or 3, 31, 4
    LOAD64(12, kmain)
    mtctr 12
    bctrl

/* Entry of another CPU from RTAS: real mode, r3 = its number; its paca is ready, with the top of this stack as KSTACK. */
    .globl secondary_start
secondary_start:
    LOAD64(13, pacas)
    mulli 3, 3, PACA_SIZE
    add 13, 13, 3
    mtsprg 0, 13
    ld 2, PACA_TOC(13)
    ld 1, PACA_KSTACK(13)
    addi 1, 1, -FRAME_MIN
    li 0, 0
    std 0, 0(1)
    LOAD64(4, MSR_KERNEL)
    LOAD64(5, 1f)
    mtsrr1 4
    mtsrr0 5
    rfid
1:  LOAD64(12, cpu_main)
    mtctr 12
    bctrl

    .text
/* s64 hcall(u64 token, u64 a, u64 b, u64 c, u64 d, u64 *out): r3..r7 are where the hypervisor wants them */
    .globl hcall
    .type hcall, @function
hcall:
    mfcr 0
    std 0, 8(1)
    std 8, -8(1)                        /* r8 is volatile over the call; below r1 is ours (ELFv2 2.2.3.4) */
    .long 0x44000022                    /* sc 1 */
    ld 8, -8(1)
    cmpdi 8, 0
    beq 1f
    std 4, 0(8)
    std 5, 8(8)
    std 6, 16(8)
1:  ld 0, 8(1)
    mtcrf 0xff, 0
    blr

/* void arch_switch(struct context **save, struct context *to) */
    .globl arch_switch
    .type arch_switch, @function
arch_switch:
    mflr 0
    std 0, 16(1)
    mfcr 0
    std 0, 8(1)
    stdu 1, -CONTEXT_SIZE(1)
    .irp n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    std \n, (FRAME_MIN + (\n - 14) * 8)(1)
    .endr
    std 1, 0(3)
    mr 1, 4
    .irp n, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    ld \n, (FRAME_MIN + (\n - 14) * 8)(1)
    .endr
    addi 1, 1, CONTEXT_SIZE
    ld 0, 8(1)
    mtcrf 0xff, 0
    ld 0, 16(1)
    mtlr 0
    blr

/* First return of a new context: r14 = function, which never returns */
    .globl context_start
context_start:
    mr 12, 14
    mtctr 12
    bctrl
    trap

    .section .bss
    .balign 4096
boot_stack:
    .space BOOT_STACK
    .section .note.GNU-stack, "", %progbits
