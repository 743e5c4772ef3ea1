/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that the engine would get wrong (engine.md 3): time base and timers (no clock inside; mfspr of PURR or VTB crashes
 * the process), darn (host randomness), cpabort (no copy buffer inside), and those that change what an address means, after which
 * block tags must go too.
 * Instructions are one word, so scanning a page is exact; both byte orders are looked at, since MSR[LE] may differ later.
 */
#include "ppc64.h"

enum { OP31 = 31 };
enum { XO_WAIT = 30, XO_TLBIEL = 274, XO_TLBIE = 306, XO_MFSPR = 339, XO_MFTB = 371, XO_MTSPR = 467, XO_SLBIA = 498, XO_DARN = 755 };

enum sensitive { NOT, READ_TIME, READ_DEC, WRITE_DEC, WRITE_TIME, CONTEXT, FLUSH, RANDOM, WAIT, COPY_ABORT };

static enum sensitive read_spr(u32 n)
{
    switch (n) {
    case SPR_TBRL: case SPR_TBRU: case SPR_TBWL: case SPR_TBWU: case SPR_TBU40: case SPR_SPURR: case SPR_PURR: case SPR_HDEC: case SPR_VTB:
        return READ_TIME;
    case SPR_DEC:
        return READ_DEC;
    default:
        return NOT;
    }
}

static enum sensitive write_spr(u32 n)
{
    switch (n) {
    case SPR_TBRL: case SPR_TBRU: case SPR_TBWL: case SPR_TBWU: case SPR_TBU40: case SPR_SPURR: case SPR_PURR: case SPR_HDEC: case SPR_VTB:
        return WRITE_TIME;
    case SPR_DEC:
        return WRITE_DEC;
    case SPR_PIDR: case SPR_AMR: case SPR_UAMR: case SPR_IAMR:
        return CONTEXT;
    default:
        return NOT;
    }
}

static enum sensitive classify(u32 insn)
{
    if (insn >> 26 != OP31)
        return NOT;
    switch (insn >> 1 & 0x3ff) {
    case XO_MFTB:
    case XO_MFSPR:
        return read_spr(insn_spr(insn));
    case XO_MTSPR:
        return write_spr(insn_spr(insn));
    case XO_TLBIE:
    case XO_TLBIEL:
    case XO_SLBIA:
        return FLUSH;
    case XO_DARN:
        return RANDOM;
    case XO_WAIT:
        return WAIT;
    default:
        return ppc64_is_cpabort(insn) ? COPY_ABORT : NOT;
    }
}

bool ppc64_insn(struct vcpu *v, u64 pc, u32 *insn)
{
    const u8 *code = mmu_code_at(v, pc);

    if (code)
        *insn = load32(code, msr(v) & MSR_LE);
    return code != NULL;
}

/* The instruction is done: go on after it. */
static void skip(struct vcpu *v)
{
    u64 next = *env64(v, ENV_NIP) + 4;

    UC.reg_write(v->uc, UC_PPC_REG_PC, &next);
    vcpu_trap_here(v);
}

static void refuse(struct vcpu *v, u32 srr1)
{
    ppc64_program(v, srr1);
    vcpu_trap_here(v);
}

/* PURR, SPURR and VTB run as fast as the time base: one thread to a core, never dispatched elsewhere. */
static void read_time(struct vcpu *v, u32 insn)
{
    u32 n = insn_spr(insn);
    u64 ticks = vcpu_ticks(v, TIMEBASE_HZ);

    if (n == SPR_TBRL || n == SPR_TBRU) {               /* the only ones that problem state may read */
        *gpr(v, insn >> 21 & 31) = n == SPR_TBRU ? ticks >> 32 : ticks;
        skip(v);
    } else if (n == SPR_TBWL || n == SPR_TBWU || n == SPR_TBU40 || n == SPR_HDEC) {
        refuse(v, msr(v) & MSR_PR ? SRR1_PRIVILEGED : SRR1_ILLEGAL);    /* the hypervisor's */
    } else if (msr(v) & MSR_PR) {
        refuse(v, SRR1_PRIVILEGED);
    } else {
        *gpr(v, insn >> 21 & 31) = ticks;
        skip(v);
    }
}

static void dec(struct vcpu *v, u32 insn, int kind)
{
    u64 *reg = gpr(v, insn >> 21 & 31), value = kind == IO_REG_WRITE ? *reg : 0;

    if (msr(v) & MSR_PR) {
        refuse(v, SRR1_PRIVILEGED);
    } else if (vcpu_io(v, kind, SPR_DEC, 8, &value) == IO_FAULT) {
        refuse(v, SRR1_ILLEGAL);
    } else {
        if (kind == IO_REG_READ)
            *reg = value;
        skip(v);
    }
}

static void on_sensitive(uc_engine *uc, u64 pc, u32 size, void *user)
{
    struct vcpu *v = user;
    u32 insn;

    (void)uc, (void)size;
    if (!ppc64_insn(v, pc, &insn))
        return;
    switch (classify(insn)) {
    case READ_TIME:
        read_time(v, insn);
        break;
    case READ_DEC:
        dec(v, insn, IO_REG_READ);
        break;
    case WRITE_DEC:
        dec(v, insn, IO_REG_WRITE);
        break;
    case WRITE_TIME:
        refuse(v, msr(v) & MSR_PR ? SRR1_PRIVILEGED : SRR1_ILLEGAL);
        break;
    case CONTEXT:                                       /* the engine executes it; UAMR is writable by problem state */
        if (!(msr(v) & MSR_PR) || insn_spr(insn) == SPR_UAMR)
            vcpu_flush_tlb(v);
        break;
    case FLUSH:                                         /* the engine executes it too, or raises the privileged exception */
        if (!(msr(v) & MSR_PR))
            ppc64_flush_all(v);
        break;
    case RANDOM:                                        /* all ones: no random number available (Book I 3.3.9) */
        *gpr(v, insn >> 21 & 31) = ~0ull;
        skip(v);
        break;
    case WAIT:                                          /* may end at any time: with interrupts off nothing else would end it */
        if (!(msr(v) & MSR_EE))
            skip(v);
        break;
    case COPY_ABORT:                                    /* does nothing in the engine */
        ppc64_copy_abort(v);
        break;
    case NOT:
        break;
    }
}

#define HOOK_KIND 1                                     /* for hook_code_at(); not 0, so that address 0 has a key */

void ppc64_sense(struct vcpu *v, u64 va, const u8 *page)
{
    for (u32 i = 0; i < PAGE_SIZE; i += 4)
        if (unlikely(classify(load32(page + i, false)) || classify(load32(page + i, true))))
            hook_code_at(v, va + i, HOOK_KIND, (void *)on_sensitive);
}
