/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arm64: set-up, reset state, registers. */
#include <stdlib.h>
#include <string.h>

#include "arm64.h"
#include "gen_regs_arm64.h"

static void (*rebuild_hflags)(void *env);

void arm64_rebuild_hflags(struct vcpu *v) { rebuild_hflags(v->env); }

/* ------------------------------------------------------------------ PSTATE */

u32 arm64_pstate(struct vcpu *v)
{
    u32 p = 0;

    UC.reg_read(v->uc, UC_ARM64_REG_PSTATE, &p);
    return p;
}

static u32 sp_offset(u32 pstate) { return (pstate & PS_EL) && (pstate & PS_SP) ? E_SP_EL1 : E_SP_EL0; }

/* Writing PSTATE through the public interface banks no stack pointer and leaves the translator's flags stale (engine.md 3). */
void arm64_set_pstate(struct vcpu *v, u32 pstate)
{
    ENV(v, u64, sp_offset(ENV(v, u32, E_PSTATE))) = ENV(v, u64, E_SP);
    UC.reg_write(v->uc, UC_ARM64_REG_PSTATE, &pstate);
    ENV(v, u64, E_SP) = ENV(v, u64, sp_offset(pstate));
    rebuild_hflags(v->env);
}

/*
 * A core without AArch32 takes an Illegal Execution State on a return to it (D1.11.4). Unicorn's would go to AArch32 EL0; mode
 * Monitor is one that it always refuses, so that is what such an SPSR_EL1 is turned into.
 */
u64 arm64_clean_spsr(u64 spsr)
{
    return spsr & PS_NRW ? (spsr & ~0xfull) | 6 : spsr;
}

static bool bad_pstate(u64 value) { return value & (PS_NRW | 2u << PS_EL_SHIFT) || value >> 32; }

/* ---------------------------------------------------------- set-up, reset */

static int arm64_setup(struct vcpu *v)
{
    /* the granule was set to 4 KiB by the engine, as the very first call: Unicorn's default of 1 KiB cannot be changed later */
    rebuild_hflags = (void (*)(void *))uclib_symbol("arm_rebuild_hflags", "aarch64");
    if (!rebuild_hflags)
        return core_fail("libunicorn lacks arm_rebuild_hflags_aarch64");
    return arm64_sysregs(v);
}

/*
 * What the architecture defines, zero where it says UNKNOWN. SCTLR_EL1 as KVM resets it: MMU off, little-endian, nTWI, nTWE.
 * Unicorn's core has an EL3 that nobody enters; without SCR_EL3.RW it takes EL1 for AArch32 in places (fault encodings, debug).
 */
static int arm64_reset(struct vcpu *v)
{
    static const u16 zero[] = {
        E_CPACR_EL1, E_TTBR0_EL1, E_TTBR1_EL1, E_TCR_EL1, E_ESR_EL1, E_FAR_EL1, E_PAR_EL1, E_MAIR_EL1, E_VBAR_EL1, E_CONTEXTIDR_EL1,
        E_TPIDR_EL0, E_TPIDR_EL1, E_TPIDRRO_EL0, E_CNTKCTL, E_MDSCR_EL1, E_CSSELR_EL1, E_SPSR_EL1, E_ELR_EL1, E_SP_EL0, E_SP_EL1,
        E_EXCL_VAL, E_EXCL_HIGH,
    };
    u32 word = 0;

    for (u32 i = 0; i < 32; i++) {
        ENV(v, u64, E_X0 + 8 * i) = 0;
        memset((char *)v->env + E_VREG + E_VREG_STRIDE * i, 0, 16);
    }
    for (u32 i = 0; i < sizeof zero / sizeof *zero; i++)
        ENV(v, u64, zero[i]) = 0;
    UC.reg_write(v->uc, UC_ARM64_REG_FPCR, &word);
    UC.reg_write(v->uc, UC_ARM64_REG_FPSR, &word);
    ENV(v, u64, E_OSLSR_EL1) = 10;                      /* OS lock implemented and locked (D13.3.12) */
    ENV(v, u64, E_EXCL_ADDR) = ~0ull;                   /* no reservation */
    ENV(v, u64, E_SCTLR_EL1) = 0x00c50078;
    ENV(v, u64, E_SCR_EL3) |= SCR_RW;
    ENV(v, u64, E_CNTFRQ) = CNTFRQ_HZ;
    ENV(v, u64, E_PC) = 0;
    arm64_set_pstate(v, PS_DAIF | EL1H);
    CPU(v, u32, CPU_HALTED) = 0;
    v->halted = false;
    v->pend.kind = PEND_NONE;
    v->irq_lines = 0;
    vcpu_flush_tlb(v);
    return 0;
}

static bool in_user(struct vcpu *v) { return arm64_el(v) == 0; }

/* ERET. */
static bool is_return(const u8 *c, u32 n) { return n >= 4 && c[0] == 0xe0 && c[1] == 0x03 && c[2] == 0x9f && c[3] == 0xd6; }

static u64 get_pc(struct vcpu *v) { return ENV(v, u64, E_PC); }
static void set_pc(struct vcpu *v, u64 pc) { ENV(v, u64, E_PC) = pc; }

/* An exception return by firmware (D1.11): the local monitor is cleared. Fills are made for each level apart: none goes. */
static int go_to(struct vcpu *v, u64 pc, u64 status)
{
    if (bad_pstate(status))
        return core_fail("PSTATE %#llx is not one of EL0 or EL1 in AArch64", (unsigned long long)status);
    arm64_set_pstate(v, (u32)status);
    ENV(v, u64, E_PC) = pc;
    ENV(v, u64, E_EXCL_ADDR) = ~0ull;
    return 0;
}

static bool is_halted(struct vcpu *v) { return CPU(v, u32, CPU_HALTED); }
static void clear_halt(struct vcpu *v) { CPU(v, u32, CPU_HALTED) = 0; }

/* -------------------------------------------------------------- registers */

#define HIGH(n) [R_ARM64_V##n##_HI] = E_VREG + E_VREG_STRIDE * n + 8

/* 64-bit fields of the environment, for registers without a (usable) public id */
static const u16 fields[N_ARM64] = {
    [R_ARM64_PC] = E_PC, [R_ARM64_SPSR_EL1] = E_SPSR_EL1, [R_ARM64_ELR_EL1] = E_ELR_EL1,
    [R_ARM64_SCTLR_EL1] = E_SCTLR_EL1, [R_ARM64_CPACR_EL1] = E_CPACR_EL1, [R_ARM64_TTBR0_EL1] = E_TTBR0_EL1,
    [R_ARM64_TTBR1_EL1] = E_TTBR1_EL1, [R_ARM64_TCR_EL1] = E_TCR_EL1, [R_ARM64_MAIR_EL1] = E_MAIR_EL1, [R_ARM64_VBAR_EL1] = E_VBAR_EL1,
    [R_ARM64_ESR_EL1] = E_ESR_EL1, [R_ARM64_FAR_EL1] = E_FAR_EL1, [R_ARM64_PAR_EL1] = E_PAR_EL1,
    [R_ARM64_CONTEXTIDR_EL1] = E_CONTEXTIDR_EL1, [R_ARM64_TPIDR_EL0] = E_TPIDR_EL0, [R_ARM64_TPIDRRO_EL0] = E_TPIDRRO_EL0,
    [R_ARM64_TPIDR_EL1] = E_TPIDR_EL1, [R_ARM64_CNTKCTL_EL1] = E_CNTKCTL, [R_ARM64_CNTFRQ_EL0] = E_CNTFRQ,
    [R_ARM64_CSSELR_EL1] = E_CSSELR_EL1, [R_ARM64_MDSCR_EL1] = E_MDSCR_EL1, [R_ARM64_OSLSR_EL1] = E_OSLSR_EL1,
    [R_ARM64_EXCLUSIVE_ADDR] = E_EXCL_ADDR, [R_ARM64_EXCLUSIVE_VAL] = E_EXCL_VAL, [R_ARM64_EXCLUSIVE_HIGH] = E_EXCL_HIGH,
    HIGH(0), HIGH(1), HIGH(2), HIGH(3), HIGH(4), HIGH(5), HIGH(6), HIGH(7), HIGH(8), HIGH(9), HIGH(10), HIGH(11), HIGH(12), HIGH(13),
    HIGH(14), HIGH(15), HIGH(16), HIGH(17), HIGH(18), HIGH(19), HIGH(20), HIGH(21), HIGH(22), HIGH(23), HIGH(24), HIGH(25), HIGH(26),
    HIGH(27), HIGH(28), HIGH(29), HIGH(30), HIGH(31),
};

/* The stack pointer of an EL is in `SP` while it is in use. */
static u32 field_of(struct vcpu *v, u32 index)
{
    u32 bank = index == R_ARM64_SP_EL0 ? E_SP_EL0 : index == R_ARM64_SP_EL1 ? E_SP_EL1 : 0;

    if (!bank)
        return fields[index];
    return bank == sp_offset(ENV(v, u32, E_PSTATE)) ? (u32)E_SP : bank;
}

static u64 reg_get(struct vcpu *v, u32 index)
{
    u64 value = 0;

    if (index >= N_ARM64)
        return 0;
    u32 field = field_of(v, index);
    if (field)
        return ENV(v, u64, field);
    UC.reg_read(v->uc, regs_arm64_uc[index], &value);
    return value;
}

static int reg_set(struct vcpu *v, u32 index, u64 value)
{
    if (index >= N_ARM64)
        return core_fail("arm64 has no register %u", index);
    u32 field = field_of(v, index);
    if (index == R_ARM64_PSTATE) {
        if (bad_pstate(value))
            return core_fail("PSTATE %#llx is not one of EL0 or EL1 in AArch64", (unsigned long long)value);
        arm64_set_pstate(v, (u32)value);
        vcpu_flush_tlb(v);                              /* fills are made for the level that asks */
        return 0;
    }
    if (index == R_ARM64_SPSR_EL1)
        value = arm64_clean_spsr(value);
    if (!field) {
        UC.reg_write(v->uc, regs_arm64_uc[index], &value);
        return 0;
    }
    ENV(v, u64, field) = value;
    if (index >= R_ARM64_SCTLR_EL1 && index <= R_ARM64_MAIR_EL1) {  /* what translation depends on; adjacent in registers.py */
        rebuild_hflags(v->env);
        vcpu_flush_tlb(v);
    }
    return 0;
}

const struct arch arch_arm64 = {
    .name = "arm64", .suffix = "aarch64", .uc_arch = UC_ARCH_ARM64, .uc_mode = UC_MODE_ARM, .wake_masked = true,
    .setup = arm64_setup, .reset = arm64_reset,
    .in_user = in_user, .is_return = is_return, .get_pc = get_pc, .set_pc = set_pc, .go_to = go_to,
    .walk = arm64_walk, .decode = arm64_decode, .sense = arm64_sense, .check_pc = arm64_check_pc,
    .page_fault = arm64_page_fault, .mem_error = arm64_mem_error, .trap = arm64_trap,
    .irq_ready = arm64_irq_ready, .irq_take = arm64_irq_take, .deliver = arm64_deliver,
    .is_halted = is_halted, .clear_halt = clear_halt,
    .reg_get = reg_get, .reg_set = reg_set,
};
