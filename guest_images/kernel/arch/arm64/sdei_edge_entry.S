/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What C cannot do for the SDEI self-test: all registers at a call, at a handler's entry, and where it is told to resume. */

    .text

/* The handler's entry: note x2..x17, then go on as for any event. The event is 0, so x0 can be made again. */
    .globl edge_entry
edge_entry:
    adrp x0, edge_seen
    add x0, x0, :lo12:edge_seen
    stp x2, x3, [x0, #16]
    stp x4, x5, [x0, #32]
    stp x6, x7, [x0, #48]
    stp x8, x9, [x0, #64]
    stp x10, x11, [x0, #80]
    stp x12, x13, [x0, #96]
    stp x14, x15, [x0, #112]
    stp x16, x17, [x0, #128]
    mov x0, xzr
    b sdei_entry

    .globl edge_probe, edge_probe_back
edge_probe:
    stp x29, x30, [sp, #-32]!
    str x0, [sp, #16]
    mov x29, x0
    mov x30, #0x90000000
    msr nzcv, x30
    ldp x0, x1, [x29]
    ldp x2, x3, [x29, #16]
    ldp x4, x5, [x29, #32]
    ldp x6, x7, [x29, #48]
    ldp x8, x9, [x29, #64]
    ldp x10, x11, [x29, #80]
    ldp x12, x13, [x29, #96]
    ldp x14, x15, [x29, #112]
    ldp x16, x17, [x29, #128]
    hvc #0
edge_probe_back:
    ldr x29, [sp, #16]
    stp x0, x1, [x29]
    stp x2, x3, [x29, #16]
    stp x4, x5, [x29, #32]
    stp x6, x7, [x29, #48]
    stp x8, x9, [x29, #64]
    stp x10, x11, [x29, #80]
    stp x12, x13, [x29, #96]
    stp x14, x15, [x29, #112]
    stp x16, x17, [x29, #128]
    mrs x0, nzcv
    ldp x29, x30, [sp], #32
    ret

/*
 * Where COMPLETE_AND_RESUME goes. As an exception handler it has one register, TPIDR_EL0, to work with: it notes in edge_resumed the
 * three registers that the call must have set, and returns.
 */
    .globl edge_landing
edge_landing:
    msr tpidr_el0, x0
    adrp x0, edge_resumed
    add x0, x0, :lo12:edge_resumed
    stp x1, x2, [x0, #32]
    mrs x1, elr_el1
    mrs x2, spsr_el1
    stp x1, x2, [x0]
    mrs x1, daif
    mrs x2, spsel
    stp x1, x2, [x0, #16]
    ldp x1, x2, [x0, #32]
    mrs x0, tpidr_el0
    eret

    .bss
    .balign 8
    .globl edge_seen, edge_resumed
edge_seen:
    .space 144
edge_resumed:                           /* ELR_EL1, SPSR_EL1, DAIF, SPSel, two saved registers */
    .space 48
    .section .note.GNU-stack, "", %progbits
