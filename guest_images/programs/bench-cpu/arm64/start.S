/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entry at EL1 with the MMU off. bench_start is the same place: nothing has to be set up but the stack. */
    .section .text.start, "ax"
    .globl _start, bench_start
_start:
bench_start:
    adrp x0, stack_top
    add x0, x0, :lo12:stack_top
    mov sp, x0
    bl bench_main
    b .

    .globl put_char
put_char:
    mov x1, #0x09000000                 /* PL011 of the virt board, data register */
    str w0, [x1]
    ret

    .globl power_off
power_off:
    movz w0, #0x8400, lsl #16           /* PSCI SYSTEM_OFF 0x84000008 (DEN0022, 5.1.9) */
    movk w0, #8
    hvc #0
1:  wfi
    b 1b

    .bss
    .balign 16
    .skip 16384
stack_top:
