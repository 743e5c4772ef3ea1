/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * arm64.h - private to the arm64 files: where Unicorn 2.1.4 keeps the state, and the formats of the Arm ARM (DDI 0487) in use.
 *
 * The model is Unicorn's default, a Cortex-A72 (Armv8.0-A). vmemu presents it without EL2, EL3, AArch32 and PMU.
 */
#ifndef VMEMU_ARM64_H
#define VMEMU_ARM64_H

#include "core.h"

/* CPUState and CPUARMState of 2.1.4; selftest_arm64() compares each of them with what the public interface says. */
enum {
    CPU_HALTED = 33176, CPU_CP_REGS = 54544,
    E_X0 = 64, E_SP = 64 + 31 * 8, E_PC = 320, E_PSTATE = 328, E_AARCH64 = 332, E_SPSR_EL1 = 360,
    E_DAIF = 560, E_ELR_EL1 = 576, E_SP_EL0 = 600, E_SP_EL1 = 608,
    E_CSSELR_EL1 = 648, E_SCTLR_EL1 = 680, E_CPACR_EL1 = 704, E_TTBR0_EL1 = 776, E_TTBR1_EL1 = 808, E_TCR_EL1 = 856, E_SCR_EL3 = 960,
    E_ESR_EL1 = 992, E_FAR_EL1 = 1056, E_PAR_EL1 = 1104, E_MAIR_EL1 = 1192, E_VBAR_EL1 = 1224, E_CONTEXTIDR_EL1 = 1272,
    E_TPIDR_EL0 = 1296, E_TPIDR_EL1 = 1304, E_TPIDRRO_EL0 = 1352, E_CNTFRQ = 1360, E_CNTKCTL = 1368,
    E_MDSCR_EL1 = 2024, E_OSLSR_EL1 = 2032,
    E_SYNDROME = 3024, E_VADDRESS = 3032, E_VREG = 3088, E_VREG_STRIDE = 256,
    E_EXCL_ADDR = 12032, E_EXCL_VAL = 12040, E_EXCL_HIGH = 12048
};
#define ENV(v, type, off) (*(type *)((char *)(v)->env + (off)))
#define CPU(v, type, off) (*(type *)((char *)(v)->cpu + (off)))

/* PSTATE as SPSR_EL1 shows it (C5.2.18). Unicorn keeps EL and SP in `pstate`, DAIF apart, and the flags in a third place. */
#define PS_SP 1u
#define PS_EL_SHIFT 2
#define PS_EL (3u << PS_EL_SHIFT)
#define PS_NRW (1u << 4)
#define PS_F (1u << 6)
#define PS_I (1u << 7)
#define PS_A (1u << 8)
#define PS_D (1u << 9)
#define PS_DAIF (15u << 6)
#define PS_NZCV (15u << 28)
#define EL0T 0u
#define EL1H 5u

static inline u32 arm64_el(const struct vcpu *v) { return ENV(v, u32, E_PSTATE) >> PS_EL_SHIFT & 3; }

/* SCTLR_EL1 (D13.2.118) */
#define SCTLR_M (1ull << 0)
#define SCTLR_WXN (1ull << 19)
#define SCTLR_EE (1ull << 25)

#define SCR_RW (1ull << 10)

/* ESR_EL1 (D13.2.37) */
enum { EC_UNKNOWN = 0, EC_SVC = 0x15, EC_IABT_LOW = 0x20, EC_IABT = 0x21, EC_PC_ALIGNMENT = 0x22,
       EC_DABT_LOW = 0x24, EC_DABT = 0x25, EC_SERROR = 0x2f };
#define ESR_EC_SHIFT 26
#define ESR_IL (1u << 25)
#define ESR_WNR (1u << 6)

/* Fault status codes; the level goes into the low two bits (table "DFSC" of D13.2.37). */
enum { FSC_ADDRESS = 0x00, FSC_TRANSLATION = 0x04, FSC_ACCESS_FLAG = 0x08, FSC_PERMISSION = 0x0c, FSC_EXTERNAL = 0x10,
       FSC_EXTERNAL_WALK = 0x14, FSC_ALIGNMENT = 0x21 };

/* v->irq_lines */
enum irq_arm64 { ARM64_IRQ, ARM64_FIQ, ARM64_SERROR };

/* v->pend.vector: which quarter of a vector group (D1.10.2), offset / 0x80. pend.aux = ESR, pend.addr = FAR when has_error. */
enum { VECTOR_SYNC, VECTOR_IRQ, VECTOR_FIQ, VECTOR_SERROR };

/* System register number as in IO_REG_*: op0:op1:crn:crm:op2 (2, 3, 4, 4, 3 bits) */
#define SYSREG(op0, op1, crn, crm, op2) ((u32)(op0) << 14 | (u32)(op1) << 11 | (u32)(crn) << 7 | (u32)(crm) << 3 | (u32)(op2))

#define CNTFRQ_HZ 62500000u

/* arch_arm64.c */
void arm64_rebuild_hflags(struct vcpu *);
u32 arm64_pstate(struct vcpu *);
void arm64_set_pstate(struct vcpu *, u32 pstate);       /* with SP banking */
u64 arm64_clean_spsr(u64 spsr);
int selftest_arm64(struct vcpu *);
/* sysreg_arm64.c */
int arm64_sysregs(struct vcpu *);
/* walk_arm64.c, decode_arm64.c, sense_arm64.c, entry_arm64.c */
void arm64_sense(struct vcpu *, u64 va, const u8 *page);
enum walk_status arm64_walk(struct vcpu *, u64 va, enum access, struct walk *);
void arm64_decode(struct vcpu *, const u8 *code, u32 size, struct decoded *);
void arm64_page_fault(struct vcpu *, const struct walk *, u64 va, enum access);
void arm64_mem_error(struct vcpu *, u64 gva, u64 gpa, enum access);
bool arm64_trap(struct vcpu *, struct vm_exit *);
bool arm64_check_pc(struct vcpu *, u64 pc);
bool arm64_irq_ready(struct vcpu *);
bool arm64_irq_take(struct vcpu *, struct vm_exit *);
enum s2_result arm64_deliver(struct vcpu *);

#endif
