/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Multiboot 1 entry in 32-bit protected mode, then long mode over an identity map of 1 GiB with 2 MiB pages (64-bit x86 has no mode
 * without paging). The header carries load addresses (flag bit 16), so that loaders that refuse 64-bit ELF take it as it is.
 * bench_start: entry for an engine that is in 64-bit mode already.
 */
    .section .text.start, "ax"
    .code32
    .balign 4
header:
    .long 0x1badb002, 0x00010003, -(0x1badb002 + 0x00010003)
    .long header, __load_start, __load_end, __bss_end, _start

    .globl _start
_start:
    movl $pml4, %edi
    movl $pdpt + 3, (%edi)
    movl $pdpt, %edi
    movl $pd + 3, (%edi)
    movl $pd, %edi
    movl $0x83, %eax                    /* present, writable, 2 MiB */
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $0x40000083, %eax
    jne 1b
    movl $pml4, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                     /* PAE */
    movl %eax, %cr4
    movl $0xc0000080, %ecx              /* EFER */
    rdmsr
    orl $0x100, %eax                    /* LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000001, %eax               /* PG, PE */
    movl %eax, %cr0
    lgdt gdt_pointer
    ljmp $8, $1f
    .code64
1:  xorl %eax, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    .globl bench_start
bench_start:
    leaq stack_top(%rip), %rsp
    xorl %ebp, %ebp
    call bench_main
    ud2

    .globl put_char
put_char:
    movl %edi, %eax
    movl $0x3f8, %edx                   /* COM1, transmitter */
    outb %al, %dx
    ret

    .globl power_off
power_off:
    xorl %eax, %eax
    movl $0xf4, %edx                    /* debug-exit port: status 0 (isa-debug-exit ends with 1) */
    outl %eax, %dx
1:  cli
    hlt
    jmp 1b

    .section .rodata
    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff         /* 64-bit code */
gdt_pointer:
    .word 15
    .long gdt

    .bss
    .balign 4096
pml4: .skip 4096
pdpt: .skip 4096
pd: .skip 4096
    .skip 16384
stack_top:
    .section .note.GNU-stack, "", %progbits
