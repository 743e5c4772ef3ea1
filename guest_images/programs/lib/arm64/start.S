/* SPDX-License-Identifier: GPL-2.0-or-later */
    .section .text.start, "ax"
    .globl _start, signal_entry

/* x0 = argc, x1 = argv, sp 16-aligned */
_start:
    mov x29, xzr
    bl start_main

/* x0, x1, x2 = signal, address, access; x3 = handler; sp = signal frame, 16-aligned */
signal_entry:
    blr x3
    mov x0, sp
    mov x8, #13             /* SYS_sigreturn */
    svc #0
    udf #0
    .section .note.GNU-stack, "", %progbits
