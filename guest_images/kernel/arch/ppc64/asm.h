/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What assembler and C of this port share. Power ISA 3.1B, Book III unless said otherwise. */
#ifndef VMEMU_PPC64_ASM_H
#define VMEMU_PPC64_ASM_H

#define MSR_SF 0x8000000000000000
#define MSR_EE 0x8000
#define MSR_PR 0x4000
#define MSR_ME 0x1000
#define MSR_IR 0x20
#define MSR_DR 0x10
#define MSR_RI 0x2
#define MSR_KERNEL (MSR_SF | MSR_ME | MSR_IR | MSR_DR | MSR_RI)
#define MSR_USER (MSR_KERNEL | MSR_EE | MSR_PR)

/* struct trapframe */
#define TF_GPR(n) ((n) * 8)
#define TF_NIP 256
#define TF_MSR 264
#define TF_CTR 272
#define TF_LR 280
#define TF_XER 288
#define TF_CR 296
#define TF_TRAP 304
#define TF_DAR 312
#define TF_DSISR 320
#define TF_SIZE 336

/* struct paca: per-CPU area; SPRG0 holds its address, and r13 while in the kernel. SPRG1 is scratch of the vectors. */
#define PACA_SIZE 128
#define PACA_CPU 0
#define PACA_KSTACK 8
#define PACA_TOC 16
#define PACA_HANDLER 24
#define PACA_R10 32
#define PACA_R11 40
#define PACA_CTR 48
#define PACA_CR 56

#define FRAME_MIN 32                    /* ELFv2 2.2.2.1: minimal stack frame */
#define CONTEXT_SIZE 192                /* frame of arch_switch: r14-r31 from FRAME_MIN on */
#define BOOT_STACK 16384

#ifdef __ASSEMBLER__
/* A 64-bit constant or address, with no table. */
#define LOAD64(reg, value)              \
    lis reg, (value)@highest;           \
    ori reg, reg, (value)@higher;       \
    sldi reg, reg, 32;                  \
    oris reg, reg, (value)@high;        \
    ori reg, reg, (value)@l
#endif

#endif
