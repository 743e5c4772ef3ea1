/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entry in 64-bit real mode at 0x100, where a partition's firmware starts: qemu-system takes the flat image with -bios.
 * bench_start is the same place.
 */
    .section .text.start, "ax"
    .globl _start, bench_start
_start:
bench_start:
    lis 1, stack_top@h
    ori 1, 1, stack_top@l
    lis 2, .TOC.@h
    ori 2, 2, .TOC.@l
    li 0, 0
    stdu 0, -32(1)
    bl bench_main
    nop
    b .

    .globl put_char
    .type put_char, @function
put_char:
    sldi 6, 3, 56                       /* H_PUT_TERM_CHAR(0x58): vty 0, length 1, the byte at the top of r6 */
    li 3, 0x58
    li 4, 0
    li 5, 1
    li 7, 0
    .long 0x44000022                    /* sc 1 */
    blr

    .globl power_off
    .type power_off, @function
power_off:
    li 3, 0
    ori 3, 3, 0xf0ff                    /* vmemu's exit call, status 0; elsewhere H_FUNCTION comes back */
    li 4, 0
    .long 0x44000022
    lis 4, rtas@h                       /* qemu-system: H_RTAS with its power-off token */
    ori 4, 4, rtas@l
    li 3, 0
    ori 3, 3, 0xf000
    .long 0x44000022
1:  b 1b

    .section .rodata
    .balign 8
rtas:
    .long 0x2003, 2, 1, 0, 0, 0         /* token (qemu: spapr.h, RTAS_POWER_OFF), nargs, nret, arguments, status */
    .bss
    .balign 16
    .skip 16384
stack_top:
    .skip 64
