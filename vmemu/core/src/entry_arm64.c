/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Exceptions to EL1 (DDI 0487 D1.10): Unicorn reports, this file enters. No memory is touched on entry, so delivery never waits
 * for a page. Hypercalls: HVC is undefined to a core without EL2, so it is recognised by its encoding; SMC arrives as itself.
 */
#include "arm64.h"

/* Exception numbers that Unicorn's INTR hook gives (engine.md 3). */
enum { EXCP_UDEF = 1, EXCP_SWI = 2, EXCP_PREFETCH_ABORT = 3, EXCP_DATA_ABORT = 4, EXCP_BKPT = 7, EXCP_HVC = 11, EXCP_SMC = 13 };
enum { HCALL_HVC, HCALL_SMC };

static void pend_sync(struct vcpu *v, u32 kind, u32 esr, bool has_far, u64 far)
{
    v->pend = (struct pending){ .kind = kind, .vector = VECTOR_SYNC, .aux = esr, .has_error = has_far, .addr = far };
}

/* ESR of an abort by the current EL: class, IL, WnR and the fault status code. */
static u32 abort_esr(struct vcpu *v, u32 fsc, enum access acc)
{
    u32 ec = acc == ACC_FETCH ? EC_IABT : EC_DABT;

    if (arm64_el(v) == 0)
        ec -= EC_IABT - EC_IABT_LOW;
    return ec << ESR_EC_SHIFT | ESR_IL | (acc == ACC_WRITE ? ESR_WNR : 0) | fsc;
}

void arm64_page_fault(struct vcpu *v, const struct walk *w, u64 va, enum access acc)
{
    if (acc == ACC_FETCH)
        va = ENV(v, u64, E_PC);                         /* the fill knows the page, PC the address */
    pend_sync(v, PEND_PAGE_FAULT, abort_esr(v, w->fault, acc), true, va);
}

/* Synchronous external abort: FAR valid, reported as uncontained error of the access itself (DFSC 0b010000). */
void arm64_mem_error(struct vcpu *v, u64 gva, u64 gpa, enum access acc)
{
    (void)gpa;
    if (acc == ACC_FETCH)
        gva = ENV(v, u64, E_PC);
    pend_sync(v, PEND_MEM_ERROR, abort_esr(v, FSC_EXTERNAL, acc), true, gva);
}

/* PC alignment fault (D1.10.4): Unicorn runs code at any address. */
bool arm64_check_pc(struct vcpu *v, u64 pc)
{
    if (!(pc & 3))
        return true;
    pend_sync(v, PEND_EXCEPTION, (u32)EC_PC_ALIGNMENT << ESR_EC_SHIFT | ESR_IL, true, pc);
    return false;
}

static bool is_hvc(struct vcpu *v, u32 *imm)
{
    u32 insn;

    if (arm64_el(v) != 1 || guest_read(v, ENV(v, u64, E_PC), &insn, 4) != S2_OK || (insn & 0xffe0001f) != 0xd4000002)
        return false;
    *imm = insn >> 5 & 0xffff;
    return true;
}

/* nr = immediate << 16 | which. */
static bool hypercall(struct vm_exit *ex, u32 which, u32 imm)
{
    ex->kind = EXIT_HCALL;
    ex->nr = imm << 16 | which;
    return true;
}

bool arm64_trap(struct vcpu *v, struct vm_exit *ex)
{
    u32 syndrome = ENV(v, u32, E_SYNDROME), imm;

    switch (v->intno) {
    case EXCP_UDEF:
        if (is_hvc(v, &imm)) {
            ENV(v, u64, E_PC) += 4;
            return hypercall(ex, HCALL_HVC, imm);
        }
        pend_sync(v, PEND_EXCEPTION, syndrome, false, 0);
        return false;
    case EXCP_SWI:
        v->count[C_SYSCALL]++;
        pend_sync(v, PEND_EXCEPTION, syndrome, false, 0);
        return false;
    case EXCP_BKPT:
        pend_sync(v, PEND_EXCEPTION, syndrome, false, 0);
        return false;
    case EXCP_PREFETCH_ABORT:
    case EXCP_DATA_ABORT:                               /* alignment, the one abort that is the core's own; its status code comes
                                                           in the short-descriptor encoding */
        pend_sync(v, PEND_EXCEPTION, (syndrome & ~0x3fu) | FSC_ALIGNMENT, true, ENV(v, u64, E_VADDRESS));
        return false;
    case EXCP_HVC:
        return hypercall(ex, HCALL_HVC, syndrome & 0xffff);
    case EXCP_SMC:
        return hypercall(ex, HCALL_SMC, syndrome & 0xffff);
    default:
        ex->kind = EXIT_FATAL;
        ex->why = "the core raised an exception that vmemu does not know";
        return true;
    }
}

/* Highest first; the order between them is implementation defined (D1.13.4). */
static const struct { u32 line, mask, vector; } lines[] = {
    { ARM64_SERROR, PS_A, VECTOR_SERROR }, { ARM64_FIQ, PS_F, VECTOR_FIQ }, { ARM64_IRQ, PS_I, VECTOR_IRQ },
};

static int takeable(struct vcpu *v)
{
    u32 daif = (u32)ENV(v, u64, E_DAIF);

    for (int i = 0; i < 3; i++)
        if ((v->irq_lines >> lines[i].line & 1) && !(daif & lines[i].mask))
            return i;
    return -1;
}

bool arm64_irq_ready(struct vcpu *v) { return takeable(v) >= 0; }

bool arm64_irq_take(struct vcpu *v, struct vm_exit *ex)
{
    int i = takeable(v);

    (void)ex;
    if (i < 0)
        return false;
    v->pend = (struct pending){ .kind = PEND_IRQ, .vector = lines[i].vector };
    if (lines[i].vector == VECTOR_SERROR)
        v->pend.aux = (u64)EC_SERROR << ESR_EC_SHIFT | ESR_IL;
    return false;
}

/*
 * AArch64.TakeException to EL1. A synchronous exception whose return address is the very vector it goes to would be taken for
 * ever without an instruction in between: hardware spins there until it is reset, vmemu says so.
 */
enum s2_result arm64_deliver(struct vcpu *v)
{
    u32 pstate = arm64_pstate(v), el = arm64_el(v);
    u64 pc = ENV(v, u64, E_PC);
    u64 group = el == 0 ? 0x400 : pstate & PS_SP ? 0x200 : 0;
    u64 target = (ENV(v, u64, E_VBAR_EL1) & ~0x7ffull) + group + (v->pend.vector & 3) * 0x80;

    if ((v->pend.vector & 3) == VECTOR_SYNC && el == 1 && (pstate & PS_SP) && pc == target) {
        v->exit.why = v->pend.kind == PEND_EXCEPTION ? "exception at its own vector: the vector's first instruction raises it again"
                                                     : "abort at its own vector: VBAR_EL1 does not point to code";
        return S2_ERROR;
    }
    ENV(v, u64, E_SPSR_EL1) = pstate;
    ENV(v, u64, E_ELR_EL1) = pc;
    if ((v->pend.vector & 3) == VECTOR_SYNC || (v->pend.vector & 3) == VECTOR_SERROR)
        ENV(v, u64, E_ESR_EL1) = (u32)v->pend.aux;
    if (v->pend.has_error)
        ENV(v, u64, E_FAR_EL1) = v->pend.addr;
    arm64_set_pstate(v, (pstate & PS_NZCV) | PS_DAIF | EL1H);
    ENV(v, u64, E_PC) = target;
    v->pend.kind = PEND_NONE;
    return S2_OK;
}
