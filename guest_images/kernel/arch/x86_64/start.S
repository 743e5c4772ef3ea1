/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Kernel entry: 64-bit mode, identity mapped, at the physical address; rdi = device tree (physical). Loads our own tables, goes
 * to virtual addresses and never looks back.
 */
#include "param.h"

    .section .text.boot, "ax"
    .globl _start
_start:
    cld
    movq $boot_pml4_phys, %rax
    movq %rax, %cr3
    movabsq $1f, %rax
    jmp *%rax
1:  lgdt boot_gdtr(%rip)
    movl $SEL_KDATA, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    leaq boot_stack_top(%rip), %rsp
    pushq $SEL_KCODE
    leaq 2f(%rip), %rax
    pushq %rax
    lretq
2:  xorl %ebp, %ebp
    movq %rdi, %rbx
    call arch_early                 /* per-CPU block, EFER, CR0, CR4 */
    movabsq $KBASE, %rdi
    addq %rbx, %rdi
    call kmain
    ud2

    .data
    .balign 8
boot_gdtr:
    .word gdt_end - gdt - 1
    .quad gdt

/* Every CPU gets a copy, with its TSS descriptor filled in by trap.c. Bits: SDM 3, 3.4.5. */
    .globl gdt
    .balign 16
gdt:
    .quad 0
    .quad 0x00af9b000000ffff        /* SEL_KCODE: 64-bit code */
    .quad 0x00cf93000000ffff        /* SEL_KDATA */
    .quad 0x00cff3000000ffff        /* SEL_UDATA */
    .quad 0x00affb000000ffff        /* SEL_UCODE: 64-bit code, DPL 3 */
    .quad 0, 0                      /* SEL_TSS */
gdt_end:

/* The first 4 GiB in 1 GiB pages: at 0 until vm_boot_done(), at KBASE for ever. Present, writable, 1 GiB, accessed, dirty, global. */
    .balign 4096
    .globl boot_pml4
boot_pml4:
    .quad boot_pdpt - KBASE + 0x23
    .fill 255, 8, 0
    .quad boot_pdpt - KBASE + 0x23  /* KBASE is entry 256 */
    .fill 255, 8, 0
boot_pdpt:
    .quad 0x00000000000001e3, 0x00000000400001e3, 0x00000000800001e3, 0x00000000c00001e3
    .fill 508, 8, 0

/*
 * Where another CPU starts, copied to TRAMPOLINE: real mode, CS base there (SDM 3, 8.4.4). The way to 64-bit mode is firmware's (SDM
 * 3, 9.8.5), with a page table that also maps this page where it is.
 */
#define AT(label) (TRAMPOLINE + label - trampoline)
    .section .rodata
    .balign 16
    .globl trampoline, trampoline_end
trampoline:
    .code16
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl AT(start_gdtr)
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x18, $AT(start32)
    .code32
start32:
    movl $SEL_KDATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $0x20, %eax                 /* PAE */
    movl %eax, %cr4
    movl TRAMPOLINE + TRAMPOLINE_ROOT, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx          /* EFER */
    rdmsr
    orl $0x901, %eax                /* NXE, LME, SCE */
    wrmsr
    movl %cr0, %eax
    andl $0x9fffffff, %eax          /* CD and NW are set after INIT */
    orl $0x80010000, %eax           /* PG, WP */
    movl %eax, %cr0
    ljmpl $SEL_KCODE, $AT(start64)
    .code64
start64:
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    movq TRAMPOLINE + TRAMPOLINE_STACK, %rsp
    movq TRAMPOLINE + TRAMPOLINE_LOCAL, %rdi
    movq TRAMPOLINE + TRAMPOLINE_ENTRY, %rax
    xorl %ebp, %ebp
    pushq $0                        /* as if called */
    jmp *%rax
    .balign 8
start_gdt:
    .quad 0
    .quad 0x00af9b000000ffff        /* SEL_KCODE */
    .quad 0x00cf93000000ffff        /* SEL_KDATA */
    .quad 0x00cf9b000000ffff        /* 32-bit code */
start_gdtr:
    .word start_gdtr - start_gdt - 1
    .long AT(start_gdt)
trampoline_end:

    .bss
    .balign 16
boot_stack:
    .skip 16384
boot_stack_top:
    .section .note.GNU-stack, "", %progbits
