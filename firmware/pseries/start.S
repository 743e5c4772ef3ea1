/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Reset code of the pseries board: real mode, 64-bit, big-endian; r3 = device tree, r4 = the kernel's entry (physical). There is
 * nothing to set up: a partition starts with its memory, time base and console ready. Registers that a kernel must not rely on
 * are cleared, so that runs are alike.
 */
    .section .text, "ax"
    .globl _start
_start:
    .irp n, 0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    li \n, 0
    .endr
    mtctr 4
    li 4, 0
    bctr

/* RTAS entry point (the device tree's linux,rtas-entry): r3 = argument buffer */
    .org 0x100
rtas_entry:
    mr 4, 3
    lis 3, 0
    ori 3, 3, 0xf000                    /* H_RTAS */
    .long 0x44000022                    /* sc 1 */
    blr
    .section .note.GNU-stack, "", %progbits
