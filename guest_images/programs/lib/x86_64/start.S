/* SPDX-License-Identifier: GPL-2.0-or-later */
    .section .text.start, "ax"
    .globl _start, signal_entry

/* rdi = argc, rsi = argv, rsp 16-aligned */
_start:
    xor %ebp, %ebp
    call start_main

/* rdi, rsi, rdx = signal, address, access; rcx = handler; rsp = signal frame, 16-aligned */
signal_entry:
    call *%rcx
    mov %rsp, %rdi
    mov $13, %eax           /* SYS_sigreturn */
    syscall
    ud2
    .section .note.GNU-stack, "", %progbits
