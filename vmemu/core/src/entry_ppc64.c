/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Interrupts (Power ISA Book III chapter 7): what ended emu_start, which vector that is, and the entry itself.
 *
 * v->pend: vector = offset (0x300 ...), aux = SRR1 bits to add, error/addr = DSISR/DAR when has_error. SRR0 is the PC.
 * An entry writes registers only, so it never needs a page and never returns S2_MISS: fetching the vector may.
 */
#include <stdio.h>

#include "ppc64.h"

/* exception_index values that the INTR hook can bring (engine.md 3; the rest never leaves the translator here) */
enum { EXCP_ALIGN = 5, EXCP_PROGRAM = 6, EXCP_FPU = 7, EXCP_SYSCALL = 8, EXCP_TRACE = 68, EXCP_VPU = 73, EXCP_VSX = 94, EXCP_FU = 95,
       EXCP_HV_EMU = 96, EXCP_HV_FU = 98 };
/* error_code of a program exception, low digit = detail */
enum { CODE_FP = 0x10, CODE_INVALID = 0x20, CODE_PRIVILEGED = 0x30, CODE_TRAP = 0x40 };

static void pend(struct vcpu *v, u32 kind, u32 vector, u64 srr1)
{
    v->pend = (struct pending){ .kind = kind, .vector = vector, .aux = srr1 };
}

static void pend_data(struct vcpu *v, u32 kind, u32 vector, u64 dar, u32 dsisr)
{
    v->pend = (struct pending){ .kind = kind, .vector = vector, .addr = dar, .error = dsisr, .has_error = true };
}

void ppc64_program(struct vcpu *v, u32 srr1) { pend(v, PEND_EXCEPTION, VEC_PROGRAM, srr1); }

void ppc64_page_fault(struct vcpu *v, const struct walk *w, u64 va, enum access acc)
{
    if (w->fault & FAULT_SEGMENT) {
        if (acc == ACC_FETCH)
            pend(v, PEND_PAGE_FAULT, VEC_ISEG, 0);
        else                                            /* sets DAR; DSISR is undefined: keep it */
            pend_data(v, PEND_PAGE_FAULT, VEC_DSEG, va, (u32)*spr(v, SPR_DSISR));
    } else if (acc == ACC_FETCH) {                      /* SRR1[46] means something else there (expropriation): never from a walk */
        pend(v, PEND_PAGE_FAULT, VEC_ISI, w->fault & ~DSISR_PRTABLE);
    } else {
        pend_data(v, PEND_PAGE_FAULT, VEC_DSI, va, w->fault | (acc == ACC_WRITE ? DSISR_STORE : 0));
    }
}

/* Uncorrectable memory error, reported as POWER9 and POWER10 do: loads and stores in DSISR, fetches in SRR1. */
void ppc64_mem_error(struct vcpu *v, u64 gva, u64 gpa, enum access acc)
{
    (void)gpa;
    if (acc == ACC_FETCH) {
        pend(v, PEND_MEM_ERROR, VEC_MCHECK, 0x00040000);    /* SRR1[45]: UE on an instruction fetch */
    } else {
        pend_data(v, PEND_MEM_ERROR, VEC_MCHECK, gva, 0x00008000);  /* DSISR[48]: UE on a load or store */
        v->pend.aux = 0x00200000;                       /* SRR1[42]: cause is in DSISR */
    }
}

/* lwarx and friends, lq, stq: all that the engine reports is "misaligned". RA and RB give the address. */
static u64 misaligned_address(struct vcpu *v, u32 insn)
{
    u64 base = insn >> 16 & 31 ? *gpr(v, insn >> 16 & 31) : 0;

    if (insn >> 26 == 31)                               /* X-form */
        return base + *gpr(v, insn >> 11 & 31);
    return base + (u64)(i64)(int16_t)(insn & (insn >> 26 == 56 ? 0xfff0 : 0xfffc)); /* DQ-form lq, DS-form stq */
}

void ppc64_misaligned(struct vcpu *v, u64 ea) { pend_data(v, PEND_EXCEPTION, VEC_ALIGN, ea, 0); }

static bool program(struct vcpu *v, bool hypervisor)
{
    switch (*env32(v, ENV_ERROR_CODE) & ~0xf) {
    case CODE_FP:
        ppc64_program(v, SRR1_FP);
        break;
    case CODE_TRAP:
        ppc64_program(v, SRR1_TRAP);
        break;
    case CODE_PRIVILEGED:
        /* a hypervisor instruction is privileged to a program, and does not exist for a partition's kernel */
        ppc64_program(v, hypervisor && !(msr(v) & MSR_PR) ? SRR1_ILLEGAL : SRR1_PRIVILEGED);
        break;
    default:
        ppc64_program(v, SRR1_ILLEGAL);
        break;
    }
    return false;
}

static bool syscall_or_hcall(struct vcpu *v, struct vm_exit *ex)
{
    u32 level = *env32(v, ENV_ERROR_CODE);

    if (level == 0) {                                   /* PC is past `sc`, as SRR0 must be */
        pend(v, PEND_EXCEPTION, VEC_SYSCALL, 0);
        v->count[C_SYSCALL]++;
        return false;
    }
    if (level == 1) {                                   /* from problem state too: the board knows what its platform says */
        ex->kind = EXIT_HCALL;
        ex->nr = (u32)*gpr(v, 3);
        return true;
    }
    *env64(v, ENV_NIP) -= 4;
    ppc64_program(v, SRR1_ILLEGAL);
    return false;
}

bool ppc64_trap(struct vcpu *v, struct vm_exit *ex)
{
    struct ppc64_state *s = ppc64_of(v);
    u32 insn;

    if (v->intno == EXCP_SYSCALL)
        return syscall_or_hcall(v, ex);
    *env64(v, ENV_NIP) -= 4;                            /* the engine adds 4 before every INTR hook */
    switch (v->intno) {
    case EXCP_PROGRAM:
        return program(v, false);
    case EXCP_HV_EMU:
        if (ppc64_insn(v, *env64(v, ENV_NIP), &insn) && ppc64_is_copy_paste(insn))
            return ppc64_copy_paste(v, insn, ex);
        return program(v, true);
    case EXCP_ALIGN:
        ppc64_misaligned(v, ppc64_insn(v, *env64(v, ENV_NIP), &insn) ? misaligned_address(v, insn) : 0);
        return false;
    case EXCP_FPU:
        pend(v, PEND_EXCEPTION, VEC_FPU, 0);
        return false;
    case EXCP_VPU:
        pend(v, PEND_EXCEPTION, VEC_VPU, 0);
        return false;
    case EXCP_VSX:
        pend(v, PEND_EXCEPTION, VEC_VSX, 0);
        return false;
    case EXCP_FU:
        pend(v, PEND_EXCEPTION, VEC_FACILITY, 0);
        return false;
    case EXCP_HV_FU:
        ppc64_program(v, SRR1_ILLEGAL);
        return false;
    case EXCP_TRACE:                                    /* taken after the instruction: PC is the next one already */
        pend(v, PEND_EXCEPTION, VEC_TRACE, 0);
        return false;
    default:
        snprintf(s->why, sizeof s->why, "engine exception %d at pc 0x%llx has no vector", v->intno,
                 (unsigned long long)*env64(v, ENV_NIP));
        ex->kind = EXIT_FATAL;
        ex->why = s->why;
        return true;
    }
}

bool ppc64_irq_ready(struct vcpu *v)
{
    if (v->irq_lines & IRQ_RESET)
        return true;
    return (msr(v) & MSR_EE) && (v->irq_lines & (IRQ_EXTERNAL | IRQ_DECREMENTER | IRQ_DOORBELL));
}

/* Priority as Book III 7.8: system reset, external, decrementer, doorbell. */
bool ppc64_irq_take(struct vcpu *v, struct vm_exit *ex)
{
    (void)ex;
    if (v->irq_lines & IRQ_RESET) {
        v->irq_lines &= ~(u32)IRQ_RESET;
        pend(v, PEND_IRQ, VEC_RESET, 0);
    } else if (v->irq_lines & IRQ_EXTERNAL) {
        pend(v, PEND_IRQ, VEC_EXTERNAL, 0);
    } else if (v->irq_lines & IRQ_DECREMENTER) {
        pend(v, PEND_IRQ, VEC_DEC, 0);
    } else {
        v->irq_lines &= ~(u32)IRQ_DOORBELL;             /* a directed doorbell is consumed by its interrupt */
        pend(v, PEND_IRQ, VEC_DOORBELL, 0);
    }
    return false;
}

/* An interrupt whose handler cannot execute one instruction repeats for ever on hardware; time would stand still here. */
static bool stalled(struct vcpu *v)
{
    struct ppc64_state *s = ppc64_of(v);

    if (v->insns != s->stall_insns) {
        s->stall_insns = v->insns;
        s->stalls = 0;
    }
    if (++s->stalls < STALL_LIMIT)
        return false;
    snprintf(s->why, sizeof s->why, "interrupt 0x%x at pc 0x%llx repeats: no handler instruction can run", v->pend.vector,
             (unsigned long long)*env64(v, ENV_NIP));
    s->stalls = 0;
    return true;
}

enum s2_result ppc64_deliver(struct vcpu *v)
{
    struct ppc64_state *s = ppc64_of(v);
    u64 old = msr(v), lpcr = *spr(v, SPR_LPCR), pc = v->pend.vector, new_msr = MSR_SF | (old & MSR_ME);
    bool reset = v->pend.vector == VEC_RESET, mcheck = v->pend.vector == VEC_MCHECK;

    if (mcheck && !(old & MSR_ME)) {
        snprintf(s->why, sizeof s->why, "checkstop: machine check at 0x%llx while MSR[ME] is 0", (unsigned long long)v->pend.addr);
        v->exit.why = s->why;
        return S2_ERROR;
    }
    if (stalled(v)) {
        v->exit.why = s->why;
        return S2_ERROR;
    }
    if (mcheck)
        new_msr &= ~MSR_ME;
    if (lpcr & LPCR_ILE)
        new_msr |= MSR_LE;
    /* AIL 3 keeps translation on, but only for interrupts that come while both halves are on (Book III 7.7) */
    if (LPCR_AIL(lpcr) == 3 && !reset && !mcheck && (old & MSR_IR) && (old & MSR_DR)) {
        new_msr |= MSR_IR | MSR_DR;
        pc += AIL3_BASE;
    }
    if (v->pend.has_error) {
        *spr(v, SPR_DAR) = v->pend.addr;
        *spr(v, SPR_DSISR) = v->pend.error;
    }
    *spr(v, SPR_SRR0) = *env64(v, ENV_NIP);
    *spr(v, SPR_SRR1) = (old & ~SRR1_CLEAR) | v->pend.aux;
    *env64(v, ENV_RESERVE_ADDR) = ~0ull;                /* a reservation never survives an interrupt here: stcx. fails alike in every run */
    ppc64_set_msr(v, new_msr);
    *env64(v, ENV_NIP) = pc;
    v->pend.kind = PEND_NONE;
    return S2_OK;
}
