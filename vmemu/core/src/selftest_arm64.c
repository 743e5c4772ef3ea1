/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The facts about Unicorn 2.1.4 that the arm64 files rest on. Another build is refused here, by the name of the fact. */
#include <string.h>

#include "arm64.h"

#define MAGIC 0x1122334455667000ull
#define CODE 0x1000ull
#define VECTORS 0x3000ull

static int differs(const char *what, u64 want, u64 got)
{
    return core_fail("Unicorn fact arm64, %s: expected %#llx, found %#llx", what, (unsigned long long)want, (unsigned long long)got);
}

/* A value written through the public interface shows at the offset. */
static int check_plain(struct vcpu *v, const char *what, int reg, u32 off, u64 value)
{
    u64 old = ENV(v, u64, off);

    UC.reg_write(v->uc, reg, &value);
    u64 seen = ENV(v, u64, off);
    ENV(v, u64, off) = old;
    return seen == value ? 0 : differs(what, value, seen);
}

/* A value at the offset shows through the public interface. */
static int check_system(struct vcpu *v, const char *what, u32 reg, u32 off, u64 value)
{
    uc_arm64_cp_reg cp = { .op0 = reg >> 14 & 3, .op1 = reg >> 11 & 7, .crn = reg >> 7 & 15, .crm = reg >> 3 & 15, .op2 = reg & 7 };
    u64 old = ENV(v, u64, off);

    ENV(v, u64, off) = value;
    UC.reg_read(v->uc, UC_ARM64_REG_CP_REG, &cp);
    ENV(v, u64, off) = old;
    return cp.val == value ? 0 : differs(what, value, cp.val);
}

static int check_layout(struct vcpu *v)
{
    static const struct { const char *name; int reg; u32 off; u64 value; } plain[] = {
        { "x0", UC_ARM64_REG_X0, E_X0, MAGIC + 1 },              { "x28", UC_ARM64_REG_X28, E_X0 + 8 * 28, MAGIC + 2 },
        { "x30", UC_ARM64_REG_X30, E_X0 + 8 * 30, MAGIC + 3 },   { "sp", UC_ARM64_REG_SP, E_SP, MAGIC + 4 },
        { "pc", UC_ARM64_REG_PC, E_PC, MAGIC + 8 },              { "elr_el1", UC_ARM64_REG_ELR_EL1, E_ELR_EL1, MAGIC + 5 },
        { "sp_el0", UC_ARM64_REG_SP_EL0, E_SP_EL0, MAGIC + 6 },  { "sp_el1", UC_ARM64_REG_SP_EL1, E_SP_EL1, MAGIC + 7 },
        { "d31", UC_ARM64_REG_D31, E_VREG + 31 * E_VREG_STRIDE, MAGIC + 9 },
        { "tpidr_el0", UC_ARM64_REG_TPIDR_EL0, E_TPIDR_EL0, MAGIC },
    };
    static const struct { const char *name; u32 reg, off; u64 value; } system[] = {
        { "SPSR_EL1", SYSREG(3, 0, 4, 0, 0), E_SPSR_EL1, 0x3c5 },           { "SCTLR_EL1", SYSREG(3, 0, 1, 0, 0), E_SCTLR_EL1, MAGIC + 1 },
        { "CPACR_EL1", SYSREG(3, 0, 1, 0, 2), E_CPACR_EL1, 0x300000 },      { "TTBR0_EL1", SYSREG(3, 0, 2, 0, 0), E_TTBR0_EL1, MAGIC + 2 },
        { "TTBR1_EL1", SYSREG(3, 0, 2, 0, 1), E_TTBR1_EL1, MAGIC + 3 },     { "TCR_EL1", SYSREG(3, 0, 2, 0, 2), E_TCR_EL1, MAGIC + 4 },
        { "ESR_EL1", SYSREG(3, 0, 5, 2, 0), E_ESR_EL1, 0x56000000 },        { "FAR_EL1", SYSREG(3, 0, 6, 0, 0), E_FAR_EL1, MAGIC + 5 },
        { "PAR_EL1", SYSREG(3, 0, 7, 4, 0), E_PAR_EL1, MAGIC + 6 },         { "MAIR_EL1", SYSREG(3, 0, 10, 2, 0), E_MAIR_EL1, MAGIC + 7 },
        { "VBAR_EL1", SYSREG(3, 0, 12, 0, 0), E_VBAR_EL1, MAGIC },          { "CONTEXTIDR_EL1", SYSREG(3, 0, 13, 0, 1), E_CONTEXTIDR_EL1, MAGIC },
        { "TPIDR_EL1", SYSREG(3, 0, 13, 0, 4), E_TPIDR_EL1, MAGIC },        { "TPIDRRO_EL0", SYSREG(3, 3, 13, 0, 3), E_TPIDRRO_EL0, MAGIC },
        { "CNTFRQ_EL0", SYSREG(3, 3, 14, 0, 0), E_CNTFRQ, 1234 },           { "CNTKCTL_EL1", SYSREG(3, 0, 14, 1, 0), E_CNTKCTL, 0x303 },
        { "SCR_EL3", SYSREG(3, 6, 1, 1, 0), E_SCR_EL3, SCR_RW },
        { "CSSELR_EL1", SYSREG(3, 2, 0, 0, 0), E_CSSELR_EL1, 1 },           { "MDSCR_EL1", SYSREG(2, 0, 0, 2, 2), E_MDSCR_EL1, 0x8000 },
        { "OSLSR_EL1", SYSREG(2, 0, 1, 1, 4), E_OSLSR_EL1, 8 },
        { "MIDR_EL1", SYSREG(3, 0, 0, 0, 0), E_EXCL_HIGH, 0x410fd083 },     /* a Cortex-A72: constant, no offset */
    };
    u32 r = 0;

    for (u32 i = 0; i < sizeof plain / sizeof *plain; i++)
        if (check_plain(v, plain[i].name, plain[i].reg, plain[i].off, plain[i].value))
            return -1;
    for (u32 i = 0; i < sizeof system / sizeof *system; i++)
        if (check_system(v, system[i].name, system[i].reg, system[i].off, system[i].value))
            return -1;
    /* PSTATE in its three places, and the exclusive monitor after them */
    r = 0x600003c5;
    UC.reg_write(v->uc, UC_ARM64_REG_PSTATE, &r);
    if (arm64_el(v) != 1 || ENV(v, u64, E_DAIF) != PS_DAIF || arm64_pstate(v) != r)
        return differs("PSTATE", r, arm64_pstate(v));
    return 0;
}

/* Run a few instructions at CODE, until one of them ends the run by itself. */
static void run(struct vcpu *v, const u32 *code, u32 n)
{
    for (u32 page = 0; page < 4; page++)
        s2_ensure(v->m, v, page * PAGE_SIZE, true);
    memcpy(s2_ptr(v->m, CODE, true), code, n * 4);
    vcpu_flush_tlb(v);
    v->m->arch->reset(v);
    v->m->arch->set_pc(v, CODE);
    v->pend.kind = PEND_NONE;
    vcpu_run(v, ~0ull, v->insns + 1000);
}

#define X(n) ENV(v, u64, E_X0 + 8 * (n))

static int check_behaviour(struct vcpu *v)
{
    static const u32 wfi[] = { 0xd503205f, 0xd503203f, 0xd503207f };                                    /* wfe; yield; wfi */
    static const u32 hvc[] = { 0xd2800540, 0xd4000002 };                                                /* mov x0, #42; hvc #0 */
    static const u32 smc[] = { 0xd4000003 };
    static const u32 regs[] = { 0xd538cca0, 0xd518cca0, 0xd53be041, 0xd53800a2, 0xd503207f };
        /* mrs x0, icc_sre_el1; msr icc_sre_el1, x0; mrs x1, cntvct_el0; mrs x2, mpidr_el1; wfi */
    static const u32 excl[] = { 0xd2840000, 0xc85f7c01, 0xd503207f };                                   /* mov x0, #0x2000; ldxr x1, [x0]; wfi */
    static const u32 exceptions[] = { 0xd4000541, 0xd4200540, 0x00000000, 0x1e604000 };                 /* svc #42; brk #42; udf; fmov d0, d0 */
    static const u32 classes[] = { 0x5600002a, 0xf200002a, 0x02000000, 0x1fe00000 };

    run(v, wfi, 3);
    if (v->exit.kind != EXIT_HALT || v->exit.pc != CODE + 12)
        return differs("WFE and YIELD go on, WFI ends the run behind itself", CODE + 12, v->exit.pc);
    run(v, hvc, 2);
    if (v->exit.kind != EXIT_HCALL || v->exit.nr != 0 || v->exit.pc != CODE + 8 || X(0) != 42)
        return differs("HVC is undefined with PC on it", CODE + 8, v->exit.pc);
    run(v, smc, 1);
    if (v->exit.kind != EXIT_HCALL || v->exit.nr != 1 || v->exit.pc != CODE + 4)
        return differs("SMC is exception 13 with PC behind it", CODE + 4, v->exit.pc);
    run(v, regs, 5);
    if (v->exit.kind != EXIT_HALT || v->exit.pc != CODE + 20 || X(2) != (1ull << 31 | (v->id & 15)))
        return differs("system registers can be defined", 1ull << 31, X(2));
    run(v, excl, 3);
    if (ENV(v, u64, E_EXCL_ADDR) != 0x2000)
        return differs("exclusive monitor", 0x2000, ENV(v, u64, E_EXCL_ADDR));

    for (u32 i = 0; i < 4; i++) {
        const u32 code[] = { 0xd2860000, 0xd518c000, 0xd5033fdf, exceptions[i] };   /* mov x0, #0x3000; msr vbar_el1, x0; isb; ... */
        memcpy(s2_ptr(v->m, VECTORS + 0x200, true), &wfi[2], 4);
        run(v, code, 4);
        if (v->exit.pc != VECTORS + 0x204 || ENV(v, u64, E_ESR_EL1) != classes[i])
            return differs("exception syndrome", classes[i], ENV(v, u64, E_ESR_EL1));
        if (ENV(v, u64, E_ELR_EL1) != CODE + (i == 0 ? 16 : 12))
            return differs("preferred return address", CODE + (i == 0 ? 16 : 12), ENV(v, u64, E_ELR_EL1));
    }
    return 0;
}

int selftest_arm64(struct vcpu *v)
{
    int r = check_layout(v);

    if (!r)
        r = check_behaviour(v);
    v->m->arch->reset(v);
    return r;
}
