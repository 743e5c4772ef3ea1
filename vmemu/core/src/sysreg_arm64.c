/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * System registers that are not Unicorn's own.
 *
 * Unicorn keeps a table of them (QEMU's ARMCPRegInfo) and exports the function that adds entries. An entry with callbacks is as
 * good as a native register: access rights are checked, traps carry the right syndrome, and the translated block goes on behind
 * the instruction. The public way, a hook on MRS and MSR, calls out for *every* system register access and must leave the block
 * by writing PC for those that Unicorn does not know; it is not used.
 *
 * Served here: counters (virtual time), identification. Served by Python: GIC CPU interface, timers. Refused: PMU (host time) and
 * hardware breakpoints.
 */
#include <stdlib.h>

#include "arm64.h"

/* struct ARMCPRegInfo of 2.1.4 (target/arm/cpu.h); selftest_arm64() reads registers through it. */
struct cpreg {
    const char *name;
    u8 cp, crn, crm, op0, op1, op2;
    int state, type, access, secure;
    void *opaque;
    u64 resetvalue;
    ptrdiff_t fieldoffset, bank_fieldoffsets[2];
    int (*accessfn)(void *env, const struct cpreg *, bool read);
    u64 (*readfn)(void *env, const struct cpreg *);
    void (*writefn)(void *env, const struct cpreg *, u64);
    void *raw_readfn, *raw_writefn, *resetfn, *orig_readfn, *orig_writefn;
};
enum { CP_CONST = 0x02, CP_NO_TB_END = 0x08, CP_OVERRIDE = 0x10, CP_NO_RAW = 0x80, CP_RAISES = 0x8000 };
enum { PL1_R = 0xa8, PL1_W = 0x54, PL1_RW = 0xfc, PL0_R = 0xaa, PL0_RW = 0xff };
enum { STATE_AA64 = 1, ACCESS_OK = 0, ACCESS_TRAP = 1, ANY = 0xff };
enum { EXCP_UDEF = 1, TARGET_EL1 = 1 };

static void (*define)(void *cpu, const struct cpreg *, void *opaque);
static const struct cpreg *(*lookup)(void *regs, u32 key);
static void (*raise_exception)(void *env, u32 excp, u32 syndrome, u32 el);  /* does not return: it leaves emu_start's inner loop */

static const struct cpreg *find(struct vcpu *v, u32 op0, u32 op1, u32 crn, u32 crm, u32 op2)
{
    /* ENCODE_AA64_CP_REG: coprocessor 0x13, a set bit 28, then as KVM numbers them */
    u32 key = 1u << 28 | 0x13u << 16 | SYSREG(op0, op1, crn, crm, op2);

    return lookup(CPU(v, void *, CPU_CP_REGS), key);
}

static u32 number(const struct cpreg *r) { return SYSREG(r->op0, r->op1, r->crn, r->crm, r->op2); }

/* ------------------------------------------------------- served by Python */

static u64 io_read(void *env, const struct cpreg *r)
{
    u64 value = 0;

    if (vcpu_io(r->opaque, IO_REG_READ, number(r), 8, &value) == IO_FAULT)
        raise_exception(env, EXCP_UDEF, ESR_IL, TARGET_EL1);      /* PC is on the instruction: CP_RAISES */
    return value;
}

static void io_write(void *env, const struct cpreg *r, u64 value)
{
    if (vcpu_io(r->opaque, IO_REG_WRITE, number(r), 8, &value) == IO_FAULT)
        raise_exception(env, EXCP_UDEF, ESR_IL, TARGET_EL1);
}

/* --------------------------------------------------------------- counters */

static u64 counter_read(void *env, const struct cpreg *r)
{
    (void)env;
    return vcpu_ticks(r->opaque, CNTFRQ_HZ);            /* CNTVOFF is zero: virtual and physical are one */
}

/* CNTKCTL_EL1 (D13.8.14) says what EL0 may read: EL0PCTEN 0, EL0VCTEN 1, EL0VTEN 8, EL0PTEN 9. */
static int timer_access(void *env, const struct cpreg *r, bool read)
{
    struct vcpu *v = r->opaque;
    u32 bit = r->crm == 0 ? (r->op2 == 2 ? 1 : 0) : r->crm == 3 ? 8 : 9;

    (void)env;
    (void)read;
    if (arm64_el(v) > 0 || ENV(v, u64, E_CNTKCTL) >> bit & 1)
        return ACCESS_OK;
    return ACCESS_TRAP;
}

/* ------------------------------------------------------------ translation */

static void spsr_write(void *env, const struct cpreg *r, u64 value)
{
    (void)env;
    ENV((struct vcpu *)r->opaque, u64, E_SPSR_EL1) = arm64_clean_spsr(value);
}

/* TLBI of the inner shareable kind: Unicorn's own function for this core, then every other core of the machine. */
static void tlbi_broadcast(void *env, const struct cpreg *r, u64 value)
{
    struct vcpu *v = r->opaque;
    void (*local)(void *, const struct cpreg *, u64) = (void (*)(void *, const struct cpreg *, u64))r->resetvalue;

    local(env, r, value);
    for (u32 i = 0; i < v->m->nvcpus; i++)
        if (v->m->vcpu[i] != v)
            vcpu_flush_tlb(v->m->vcpu[i]);
}

/* -------------------------------------------------------------- the lists */

static void add(struct vcpu *v, const char *name, u32 reg, int access, int type, const struct cpreg *how)
{
    struct cpreg r = *how;

    r.name = name;
    r.op0 = reg >> 14 & 3, r.op1 = reg >> 11 & 7, r.crn = reg >> 7 & 15, r.crm = reg >> 3 & 15, r.op2 = reg & 7;
    r.state = STATE_AA64;
    r.access = access;
    r.type = type | CP_OVERRIDE | CP_NO_RAW;
    define(v->cpu, &r, v);
}

static void add_io(struct vcpu *v, const char *name, u32 reg, int access, bool timer)
{
    struct cpreg r = { .readfn = io_read, .writefn = io_write, .accessfn = timer ? timer_access : NULL };

    add(v, name, reg, access, CP_RAISES, &r);
}

static void add_const(struct vcpu *v, const char *name, u32 reg, u64 value)
{
    struct cpreg r = { .resetvalue = value };

    add(v, name, reg, PL1_R, CP_CONST, &r);
}

/* GIC CPU interface (IHI 0069, 12.2): ICC_* of group 0 and 1. Which of them exist is the board's business. */
static void add_gic(struct vcpu *v)
{
    add_io(v, "ICC_PMR_EL1", SYSREG(3, 0, 4, 6, 0), PL1_RW, false);
    for (u32 op2 = 0; op2 < 8; op2++) {
        add_io(v, "ICC group 0", SYSREG(3, 0, 12, 8, op2), PL1_RW, false);
        add_io(v, "ICC_AP1Rn_EL1", SYSREG(3, 0, 12, 9, op2), PL1_RW, false);
        add_io(v, "ICC common", SYSREG(3, 0, 12, 11, op2), PL1_RW, false);
        add_io(v, "ICC group 1", SYSREG(3, 0, 12, 12, op2), PL1_RW, false);
    }
}

static void add_timers(struct vcpu *v)
{
    struct cpreg count = { .readfn = counter_read, .accessfn = timer_access };

    add(v, "CNTPCT_EL0", SYSREG(3, 3, 14, 0, 1), PL0_R, CP_RAISES, &count);
    add(v, "CNTVCT_EL0", SYSREG(3, 3, 14, 0, 2), PL0_R, CP_RAISES, &count);
    for (u32 op2 = 0; op2 < 3; op2++) {                 /* TVAL, CTL, CVAL */
        add_io(v, "CNTP_x_EL0", SYSREG(3, 3, 14, 2, op2), PL0_RW, true);
        add_io(v, "CNTV_x_EL0", SYSREG(3, 3, 14, 3, op2), PL0_RW, true);
    }
}

/* The performance monitors count host time in Unicorn: access rights nobody has make them undefined, as without FEAT_PMUv3. */
static void remove_pmu(struct vcpu *v)
{
    struct cpreg none = { 0 };

    for (u32 op2 = 0; op2 < 8; op2++) {
        for (u32 crm = 12; crm <= 14; crm++) {
            add(v, "no PMU", SYSREG(3, 3, 9, crm, op2), 0, CP_CONST, &none);
            add(v, "no PMU", SYSREG(3, 0, 9, crm, op2), 0, CP_CONST, &none);
        }
        for (u32 crm = 8; crm < 16; crm++)
            add(v, "no PMU", SYSREG(3, 3, 14, crm, op2), 0, CP_CONST, &none);
    }
}

/* Breakpoint and watchpoint registers read zero: Unicorn would stop the host's run, not the guest's. */
static void blind_debug(struct vcpu *v)
{
    struct cpreg none = { 0 };

    for (u32 crm = 0; crm < 16; crm++)
        for (u32 op2 = 4; op2 < 8; op2++)
            add(v, "no breakpoints", SYSREG(2, 0, 0, crm, op2), PL1_RW, CP_CONST, &none);
}

static void add_tlbi(struct vcpu *v)
{
    for (u32 op2 = 0; op2 < 8; op2++) {                 /* vmalle1is, vae1is, aside1is, vaae1is, vale1is, vaale1is */
        const struct cpreg *is = find(v, 1, 0, 8, 3, op2), *local = find(v, 1, 0, 8, 7, op2);
        struct cpreg r = { .writefn = tlbi_broadcast };

        if (!is || !local || !local->writefn)
            continue;
        r.resetvalue = (u64)local->writefn;
        add(v, "TLBI inner shareable", SYSREG(1, 0, 8, 3, op2), is->access, is->type & CP_NO_TB_END, &r);
    }
}

int arm64_sysregs(struct vcpu *v)
{
    struct cpreg spsr = { .fieldoffset = E_SPSR_EL1, .writefn = spsr_write };
    const struct cpreg *dfr0;

    define = (void (*)(void *, const struct cpreg *, void *))uclib_symbol("define_one_arm_cp_reg_with_opaque", "aarch64");
    lookup = (const struct cpreg *(*)(void *, u32))uclib_symbol("get_arm_cp_reginfo", "aarch64");
    raise_exception = (void (*)(void *, u32, u32, u32))uclib_symbol("raise_exception", "aarch64");
    if (!define || !lookup || !raise_exception)
        return core_fail("libunicorn lacks the functions that define arm64 system registers");
    dfr0 = find(v, 3, 0, 0, 5, 0);
    if (!dfr0 || !(dfr0->type & CP_CONST))
        return core_fail("Unicorn fact arm64: ID_AA64DFR0_EL1 is not in the register table");

    add_gic(v);
    add_timers(v);
    remove_pmu(v);
    blind_debug(v);
    add_tlbi(v);
    add(v, "SPSR_EL1", SYSREG(3, 0, 4, 0, 0), PL1_RW, 0, &spsr);
    add_const(v, "MPIDR_EL1", SYSREG(3, 0, 0, 0, 5), 1ull << 31 | (v->id >> 4) << 8 | (v->id & 15));    /* as KVM: 16 to a cluster */
    /* AArch64 only at EL0 and EL1, FP and SIMD, GIC system registers (D13.2.64) */
    add_const(v, "ID_AA64PFR0_EL1", SYSREG(3, 0, 0, 4, 0), 0x01000011);
    add_const(v, "ID_AA64DFR0_EL1", SYSREG(3, 0, 0, 5, 0), dfr0->resetvalue & ~0xf00ull);               /* PMUVer = 0 */
    return 0;
}
