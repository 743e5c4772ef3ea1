/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Firmware of the pc board. Reset state: 32-bit protected mode, flat, no paging; EDI = device tree, ESI = kernel entry, both
 * physical. Maps the first 4 GiB to themselves in 1 GiB pages, enters long mode (SDM 3, 9.8.5) and jumps to the kernel with
 * RDI = device tree.
 */
    .section .text.reset, "ax"
    .code32
    .globl _start
_start:
    cli
    cld
    movl $stack_top, %esp
    movl $pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                 /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx          /* EFER */
    rdmsr
    orl $0x100, %eax                /* LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80010000, %eax           /* PG, WP */
    movl %eax, %cr0
    lgdt gdtr
    ljmp $8, $long_mode

    .code64
long_mode:
    movl $16, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %edi, %edi                 /* the upper halves are undefined after the switch */
    movl %esi, %esi
    jmp *%rsi

    .section .data
    .balign 4096
pml4:
    .quad pdpt + 0x23               /* present, writable, accessed */
    .fill 511, 8, 0
pdpt:
    .quad 0x00000000000000e3, 0x00000000400000e3, 0x00000000800000e3, 0x00000000c00000e3
    .fill 508, 8, 0
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        /* 64-bit code */
    .quad 0x00cf93000000ffff        /* data */
gdtr:
    .word gdtr - gdt - 1
    .long gdt
    .balign 16
    .skip 256
stack_top:
    .section .note.GNU-stack, "", %progbits
