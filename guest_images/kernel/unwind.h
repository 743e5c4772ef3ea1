/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * .debug_frame of assembler that stands on top of interrupted code, for debuggers (DWARF 4, 6.4): where each register of that code
 * has been saved. By hand: only .eh_frame gets what .cfi_signal_frame says, and without the mark "S" a debugger looks for the call
 * before the interrupted instruction, and gives up at user stacks, which lie below the kernel's.
 *
 *     unwind_begin FROM, TO, COLUMN       code from FROM up to TO; COLUMN stands for the interrupted pc, and is no other register
 *     unwind_cfa_at REG, OFFSET           the interrupted stack pointer lies at REG + OFFSET, or any other rule for it
 *     unwind_saved WHAT, REG, OFFSET      register WHAT lies at REG + OFFSET
 *     unwind_end
 */
#ifndef VMEMU_UNWIND_H
#define VMEMU_UNWIND_H

#define DW_CFA_undefined 0x07
#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
#define DW_OP_deref 0x06
#define DW_OP_and 0x1a
#define DW_OP_bra 0x28
#define DW_OP_skip 0x2f
#define DW_OP_lit0 0x30
#define DW_OP_breg0 0x70

.macro unwind_begin from, to, column
    .section .debug_frame, "", %progbits
7000:
    .4byte 7002f - 7001f
7001:
    .4byte 0xffffffff                   /* a CIE */
    .byte 3                             /* version */
    .asciz "zS"
    .uleb128 1                          /* factors of code and data */
    .sleb128 1
    .uleb128 \column
    .uleb128 0                          /* nothing more: "z" says how much */
    .balign 8, 0                        /* DW_CFA_nop */
7002:
    .4byte 7004f - 7003f
7003:
    .4byte 7000b
    .8byte \from
    .8byte \to - \from
    .uleb128 0
.endm

.macro unwind_cfa_at reg, offset
    .byte DW_CFA_def_cfa_expression
    .uleb128 7006f - 7005f
7005:
    .byte DW_OP_breg0 + \reg
    .sleb128 \offset
    .byte DW_OP_deref
7006:
.endm

.macro unwind_saved what, reg, offset
    .byte DW_CFA_expression
    .uleb128 \what
    .uleb128 7006f - 7005f
7005:
    .byte DW_OP_breg0 + \reg
    .sleb128 \offset
7006:
.endm

.macro unwind_end
    .balign 8, 0
7004:
    .previous
.endm

#endif
