/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a virt board runs at reset: EL1, MMU off, x0 = device tree, x1 = kernel entry, both physical.
 *
 * It owns the 64 KiB at address 0 and nothing else. All that the kernel needs from it is to be entered with interrupts masked and
 * with vectors that say so when it falls over before it has its own.
 */
    .section .text.boot, "ax"
    .globl _start
_start:
    msr daifset, #15
    adrp x2, vectors
    add x2, x2, :lo12:vectors
    msr vbar_el1, x2
    mov x2, xzr
    mov x3, xzr
    isb
    br x1

#define UART 0x09000000
#define PSCI_SYSTEM_OFF 0x84000008

died:
    mov x0, #UART
    adr x1, message
1:  ldrb w2, [x1], #1
    cbz w2, 2f
    str w2, [x0]
    b 1b
2:  mov x0, #0x090f0000                 /* exit device: status 1 */
    mov w1, #1
    str w1, [x0]
    ldr w0, =PSCI_SYSTEM_OFF
    hvc #0
3:  wfi
    b 3b
message:
    .asciz "firmware: exception before the kernel has vectors\n"
    .balign 4
    .ltorg

    .balign 0x800
vectors:
    .rept 16
    .balign 0x80
    b died
    .endr
    .section .note.GNU-stack, "", %progbits
