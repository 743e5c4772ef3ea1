/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry from firmware: EL1, MMU off, x0 = device tree (physical). Makes the linear map and moves to it.
 *
 * One level-0 and one level-1 table serve both halves of the address space at first, so the code that turns the MMU on is mapped
 * where it runs and where it goes. TTBR0 gets an empty table as soon as the kernel runs high.
 */
#include "param.h"

#define MAIR 0x00ff                     /* attribute 0: normal, write-back; 1: device nGnRnE */
#define BLOCK_NORMAL 0x0040000000000701 /* UXN, AF, inner shareable, attribute 0, block */
#define BLOCK_DEVICE 0x0060000000000405 /* UXN, PXN, AF, attribute 1 */
/* T0SZ = T1SZ = 16, write-back inner shareable walks, 4 KiB granules (DDI 0487 D13.2.131); IPS is added */
#define TCR 0xb5103510
#define SCTLR 0x34d5983d                /* RES1 bits; I, C, M; stack alignment checks; EL0 may wait and clean code (UCI, UCT) */

    .section .text.boot, "ax"
    .globl _start
_start:
    msr daifset, #15
    mov x19, x0
    mov x0, xzr
    msr tpidr_el1, x0                   /* CPU number */
    msr cpacr_el1, x0                   /* no FP and SIMD, for anyone */

    adrp x1, boot_level0
    adrp x2, boot_level1
    orr x3, x2, #3
    str x3, [x1]
    ldr x3, =BLOCK_DEVICE               /* the first GiB holds the devices */
    str x3, [x2]
    ldr x3, =BLOCK_NORMAL
    mov x4, #1
1:  add x5, x3, x4, lsl #30
    str x5, [x2, x4, lsl #3]
    add x4, x4, #1
    cmp x4, #(LINEAR_MAX >> 30)
    b.lo 1b

    bl mmu_on
    ldr x5, =KBASE
    adr x6, high
    orr x6, x6, x5
    br x6

/* x1 = root of both halves (physical). Uses x3, x4; returns where it was called from, which is mapped at its physical address. */
mmu_on:
    ldr x3, =MAIR
    msr mair_el1, x3
    mrs x3, id_aa64mmfr0_el1
    and x3, x3, #7                      /* PARange has IPS's encoding */
    ldr x4, =TCR
    orr x4, x4, x3, lsl #32
    msr tcr_el1, x4
    msr ttbr0_el1, x1
    msr ttbr1_el1, x1
    dsb ish
    tlbi vmalle1
    dsb ish
    isb
    ldr x3, =SCTLR
    msr sctlr_el1, x3
    isb
    ret

/* x5 = KBASE, high addresses from here on: drop the low half, take our vectors. Uses x1. */
.macro leave_low
    adrp x1, empty_level0
    sub x1, x1, x5
    msr ttbr0_el1, x1
    isb
    tlbi vmalle1
    dsb nsh
    isb
    adrp x1, vectors
    add x1, x1, :lo12:vectors
    msr vbar_el1, x1
    isb
    mov x29, xzr
    mov x30, xzr
.endm

high:
    leave_low
    adrp x1, boot_stack
    add x1, x1, #BOOT_STACK
    mov sp, x1
    orr x0, x19, x5
    bl kmain
2:  wfi
    b 2b

/* Entry of another CPU from PSCI: EL1, MMU off, x0 = top of its stack (virtual), with its number just below (start_cpu in devices.c) */
    .globl secondary_start
secondary_start:
    msr daifset, #15
    mov x19, x0
    msr cpacr_el1, xzr
    adrp x1, boot_level0
    bl mmu_on
    ldr x5, =KBASE
    adr x6, secondary_high
    orr x6, x6, x5
    br x6
secondary_high:
    leave_low
    sub sp, x19, #16
    ldr x0, [sp]
    msr tpidr_el1, x0
    bl cpu_main
    .ltorg

    .section .bss.boot, "aw", %nobits
    .balign 4096
boot_level0:
    .space 4096
boot_level1:
    .space 4096
    .globl empty_level0
empty_level0:
    .space 4096
boot_stack:
    .space BOOT_STACK
    .section .note.GNU-stack, "", %progbits
