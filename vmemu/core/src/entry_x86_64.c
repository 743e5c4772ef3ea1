/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x86-64: from what Unicorn reported to an event in v->pend, and when interrupts may be taken. deliver_x86_64.c enters them.
 */
#include "x86_64.h"

void page_fault_x86_64(struct vcpu *v, const struct walk *w, u64 va, enum access acc)
{
    if (w->fault == FAULT_UNMODELLED) {
        v->pend = (struct pending){ .kind = PEND_EXCEPTION, .vector = V_DF, .aux = AUX_UNMODELLED };
        return;
    }
    if (w->fault == FAULT_NONCANONICAL) {
        /* SDM 3.3.7.1: #SS for stack references, else #GP. Which register addressed memory is not known here; accesses around
           RSP are taken for stack references. */
        u64 rsp = REG(v, G_RSP);
        bool stack = acc != ACC_FETCH && va - (rsp & PAGE_MASK) + 2 * PAGE_SIZE < 4 * PAGE_SIZE && !canonical(rsp);
        v->pend = (struct pending){ .kind = PEND_EXCEPTION, .vector = stack ? V_SS : V_GP, .has_error = true };
        return;
    }
    v->pend = (struct pending){ .kind = PEND_PAGE_FAULT, .vector = V_PF, .error = w->fault, .addr = va, .has_error = true };
}

void mem_error_x86_64(struct vcpu *v, u64 gva, u64 gpa, enum access acc)
{
    struct x86 *x = v->arch;
    bool lost = (x->mc[MCG_STATUS] & MCG_MCIP) || !(CR(v, 4) & CR4_MCE);

    (void)gva;
    /* recoverable error of this access: VAL UC EN MISCV ADDRV S AR, and which kind (SDM 3, 15.9.3.2) */
    x->mc[MC0_STATUS] = 0xbd80000000000000ull | (acc == ACC_FETCH ? 0x150 : 0x134);
    x->mc[MC0_ADDR] = gpa;
    x->mc[MC0_MISC] = 2u << 6 | PAGE_SHIFT;             /* a physical address, good to the page */
    x->mc[MCG_STATUS] = MCG_RIPV | MCG_EIPV | MCG_MCIP;
    v->pend = (struct pending){ .kind = PEND_MEM_ERROR, .vector = V_MC, .addr = gpa, .aux = lost ? AUX_SHUTDOWN : 0 };
}

/* Exceptions with an error code (SDM table 6-1). */
static bool pushes_error(u32 vector) { return vector == V_DF || (vector >= V_TS && vector <= V_PF) || vector == V_AC; }

/* Length of the software interrupt instruction that ends at the current PC: a fault while it is delivered restarts it. */
static u32 soft_length(struct vcpu *v, u32 vector)
{
    u8 b[2];

    if (x86_code_bytes(v, x86_linear_pc(v) - 2, b, 2) == 2 && b[0] == 0xcd && b[1] == vector)
        return 2;                                       /* INT n */
    return 1;                                           /* INT3, INTO */
}

static bool hypercall(struct vcpu *v, struct vm_exit *ex)
{
    u8 b[3];

    if (x86_code_bytes(v, x86_linear_pc(v), b, 3) != 3 || b[0] != 0x0f || b[1] != 0x01 || (b[2] != 0xc1 && b[2] != 0xd9))
        return false;                                   /* VMCALL, VMMCALL (SDM 2 and AMD APM 3) */
    ENV(v, u64, X_EIP) += 3;
    ex->kind = EXIT_HCALL;
    ex->nr = (u32)REG(v, G_RAX);
    return true;
}

bool trap_x86_64(struct vcpu *v, struct vm_exit *ex)
{
    struct pending p = { .kind = PEND_EXCEPTION };
    u8 op;

    ENV(v, int, X_OLD_EXCEPTION) = -1;                  /* or the next exception arrives as a double fault (engine.md 3) */
    if (v->invalid) {
        if (hypercall(v, ex))
            return true;
        p.vector = V_UD;
        if (x86_code_bytes(v, x86_linear_pc(v), &op, 1) == 1 && op == 0xf1) {
            p.vector = V_DB;                            /* INT1 is undefined for Unicorn; a trap, so behind it */
            ENV(v, u64, X_EIP)++;
        }
    } else {
        p.vector = (u32)v->intno & 0xff;
        if (ENV(v, int, X_EXC_IS_INT)) {
            p.aux = AUX_SOFT | soft_length(v, p.vector) << AUX_LEN_SHIFT;
            ENV(v, int, X_EXC_IS_INT) = 0;
        } else if (pushes_error(p.vector)) {
            p.has_error = true;
            p.error = (u32)ENV(v, int, X_ERROR_CODE);
        }
    }
    v->pend = p;
    return false;
}

/* Priority MCE, NMI, INTR (SDM table 6-2). The shadow of STI and MOV SS holds all of them off here: one instruction. */
static u32 takeable(struct vcpu *v)
{
    if (HFLAGS(v) & HF_INHIBIT)
        return 0;
    if (v->irq_lines & IRQ_MCE)
        return IRQ_MCE;
    if ((v->irq_lines & IRQ_NMI) && !(ENV(v, u32, X_HFLAGS2) & HF2_NMI))
        return IRQ_NMI;
    return v->irq_lines & IRQ_INTR && ENV(v, u64, X_EFLAGS) & FL_IF ? IRQ_INTR : 0;
}

bool irq_ready_x86_64(struct vcpu *v) { return takeable(v) != 0; }

bool irq_take_x86_64(struct vcpu *v, struct vm_exit *ex)
{
    switch (takeable(v)) {
    case IRQ_MCE:
        v->irq_lines &= ~(u32)IRQ_MCE;
        v->pend = (struct pending){ .kind = PEND_MEM_ERROR, .vector = V_MC };
        return false;
    case IRQ_NMI:
        v->irq_lines &= ~(u32)IRQ_NMI;
        v->pend = (struct pending){ .kind = PEND_IRQ, .vector = V_NMI };
        return false;
    default:
        ex->kind = EXIT_IRQ_WINDOW;
        return true;
    }
}
