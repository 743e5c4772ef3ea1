/* SPDX-License-Identifier: GPL-2.0-or-later */
    .section .text.start, "ax"
    .globl _start, signal_entry

/* r3 = argc, r4 = argv, r1 16-aligned, r12 = address of _start. r2 must point to the TOC before C code runs (ELFv2 2.3.2.1). */
_start:
    addis 2, 12, .TOC.-_start@ha
    addi 2, 2, .TOC.-_start@l
    li 0, 0
    stdu 0, -64(1)
    bl start_main
    nop

/* r3, r4, r5 = signal, address, access; r6 = handler; r1 = signal frame, 16-aligned. The handler saves LR in its caller's frame. */
signal_entry:
    mr 31, 1
    stdu 1, -64(1)
    mr 12, 6
    mtctr 12
    bctrl
    mr 3, 31
    li 0, 13                /* SYS_sigreturn */
    sc
    trap
    .section .note.GNU-stack, "", %progbits
