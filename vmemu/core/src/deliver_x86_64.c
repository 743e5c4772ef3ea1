/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Entering an exception or interrupt through the IDT in long mode (SDM 6.14), with the double- and triple-fault rules of SDM
 * table 6-5. Nothing changes until every byte that is needed is known to be resident, so a miss in stage 2 restarts cleanly.
 */
#include <stdio.h>

#include "x86_64.h"

struct entering {                                          /* what is being entered now: the pending event, or a fault in entering it */
    u32 vector, error;
    bool has_error, soft, external;
    u64 addr;                                           /* CR2 of a page fault */
    u64 rip;                                            /* pushed */
};

/* All that an entry will change. */
struct target {
    u32 cs, cs_flags, cs_limit, new_cpl, words;
    u64 cs_base, rip, rsp;
    bool interrupt_gate;
    u64 frame[6];
};

#define RESULT_FAULT S2_ERROR                           /* of the steps below: `f` holds the fault they met */

static enum s2_result raise(struct entering *f, u32 vector, u32 error)
{
    *f = (struct entering){ .vector = vector, .error = error, .has_error = true };
    return RESULT_FAULT;
}

/* Translate with explicit rights and make sure that the page is resident. */
static enum s2_result touch(struct vcpu *v, u64 va, enum access acc, bool user, u64 *gpa, struct entering *f)
{
    struct walk w;

    v->exit.gva = va;
    v->exit.access = acc;
    switch (x86_walk_as(v, va, acc, user, &w)) {
    case WALK_S2:
        v->exit.gpa = w.gpa;
        return S2_MISS;
    case WALK_FAULT:
        if (w.fault == FAULT_NONCANONICAL)
            return raise(f, V_GP, 0);
        raise(f, V_PF, w.fault);
        f->addr = va;
        return RESULT_FAULT;
    default:
        break;
    }
    *gpa = w.gpa;
    if (s2_ptr(v->m, w.gpa, acc == ACC_WRITE))
        return S2_OK;
    if (s2_index(v->m, w.gpa) < 0)
        return S2_NOT_RAM;                              /* reads as ones, swallows writes */
    v->exit.gpa = w.gpa;
    return S2_MISS;
}

/* Copy to or from guest memory, at most two pages; all pages first. */
static enum s2_result copy(struct vcpu *v, u64 va, void *buf, u32 len, bool write, bool user, struct entering *f)
{
    enum access acc = write ? ACC_WRITE : ACC_READ;
    u32 room = PAGE_SIZE - (u32)(va & (PAGE_SIZE - 1)), n[2] = { len < room ? len : room, len < room ? 0 : len - room };
    enum s2_result r[2] = { S2_OK, S2_OK };
    u64 gpa[2];
    u8 *at = buf;

    for (int i = 0; i < 2 && n[i]; i++) {
        r[i] = touch(v, va + (i ? n[0] : 0), acc, user, &gpa[i], f);
        if (r[i] != S2_OK && r[i] != S2_NOT_RAM)
            return r[i];
    }
    for (int i = 0; i < 2 && n[i]; at += n[i++]) {
        u8 *p = r[i] == S2_OK ? s2_ptr(v->m, gpa[i], write) : NULL;
        if (!p) {
            if (!write)
                memset(at, 0xff, n[i]);
        } else if (write) {
            memcpy(p, at, n[i]);
        } else {
            memcpy(at, p, n[i]);
        }
    }
    return S2_OK;
}

/* ---------------------------------------------------- the steps of an entry */

static enum s2_result read_gate(struct vcpu *v, const struct entering *e, struct entering *f, u64 gate[2])
{
    const struct seg *idt = DTABLE(v, X_IDT);
    u32 ext = e->soft ? 0 : 1, code = e->vector * 8 + 2 + ext; /* bit 1: the index is into the IDT (SDM 6.13) */
    u64 at = (u64)e->vector * 16;

    if (at + 15 > idt->limit)
        return raise(f, V_GP, code);
    enum s2_result r = copy(v, idt->base + at, gate, 16, false, false, f);
    if (r != S2_OK)
        return r;
    u32 type = gate[0] >> 40 & 0x1f;
    if (type != 0x0e && type != 0x0f)                   /* 64-bit interrupt and trap gates are all that long mode has */
        return raise(f, V_GP, code);
    if (e->soft && (gate[0] >> 45 & 3) < cpl(v))
        return raise(f, V_GP, code);
    if (!(gate[0] >> 47 & 1))
        return raise(f, V_NP, code);
    return S2_OK;
}

static enum s2_result read_code_segment(struct vcpu *v, u32 selector, u32 ext, struct target *t, struct entering *f)
{
    const struct seg *table = DTABLE(v, selector & 4 ? X_LDT : X_GDT);
    u32 at = selector & ~7u, code = (selector & 0xfffc) | ext;
    u64 d;

    if (!(selector & 0xfffc))
        return raise(f, V_GP, ext);
    if (at + 7 > table->limit)
        return raise(f, V_GP, code);
    enum s2_result r = copy(v, table->base + at, &d, 8, false, false, f);
    if (r != S2_OK)
        return r;
    u32 flags = (u32)(d >> 32), dpl = flags >> DESC_DPL_SHIFT & 3;
    if (!(flags & DESC_S) || !(flags & DESC_CODE) || dpl > cpl(v) || !(flags & DESC_L) || (flags & DESC_B))
        return raise(f, V_GP, code);
    if (!(flags & DESC_P))
        return raise(f, V_NP, code);
    t->new_cpl = flags & DESC_C ? cpl(v) : dpl;
    t->cs = (selector & 0xfffc) | t->new_cpl;
    t->cs_flags = flags | DESC_A;
    t->cs_base = 0;                                     /* ignored in 64-bit mode; Unicorn would add it */
    t->cs_limit = 0xffffffff;
    return S2_OK;
}

static enum s2_result choose_stack(struct vcpu *v, u32 ist, u32 ext, struct target *t, struct entering *f)
{
    const struct seg *tr = DTABLE(v, X_TR);
    u32 at;

    if (ist)
        at = 36 + 8 * (ist - 1);                        /* 64-bit TSS: SDM figure 7-11 */
    else if (t->new_cpl < cpl(v))
        at = 4 + 8 * t->new_cpl;
    else {
        t->rsp = REG(v, G_RSP);
        return S2_OK;
    }
    if (!(tr->flags & DESC_P) || at + 7 > tr->limit)
        return raise(f, V_TS, (tr->selector & 0xfffc) | ext);
    enum s2_result r = copy(v, tr->base + at, &t->rsp, 8, false, false, f);
    if (r != S2_OK)
        return r;
    return canonical(t->rsp) ? S2_OK : raise(f, V_SS, ext);
}

static enum s2_result prepare(struct vcpu *v, const struct entering *e, struct target *t, struct entering *f)
{
    u32 ext = e->soft ? 0 : 1;
    u64 gate[2], flags = x86_get_flags(v);

    enum s2_result r = read_gate(v, e, f, gate);
    if (r != S2_OK)
        return r;
    r = read_code_segment(v, gate[0] >> 16 & 0xffff, ext, t, f);
    if (r != S2_OK)
        return r;
    r = choose_stack(v, gate[0] >> 32 & 7, ext, t, f);
    if (r != S2_OK)
        return r;
    t->rip = (gate[0] & 0xffff) | (gate[0] >> 32 & 0xffff0000) | gate[1] << 32;
    if (!canonical(t->rip))
        return raise(f, V_GP, ext);
    t->interrupt_gate = !(gate[0] >> 40 & 1);

    /* fault-class exceptions are pushed with RF set, so that a breakpoint on the instruction does not fire again (SDM 17.3.1.1) */
    bool fault_class = !e->external && !e->soft && e->vector != V_DB && e->vector != V_BP && e->vector != V_OF && e->vector != V_DF;
    u32 i = 0;
    if (e->has_error)
        t->frame[i++] = e->error;
    t->frame[i++] = e->rip;
    t->frame[i++] = SEG(v, SEG_CS)->selector;
    t->frame[i++] = flags | (fault_class ? FL_RF : 0);
    t->frame[i++] = REG(v, G_RSP);
    t->frame[i++] = SEG(v, SEG_SS)->selector;
    t->words = i;
    t->rsp = (t->rsp & ~15ull) - 8 * i;
    if (!canonical(t->rsp) || !canonical(t->rsp + 8 * i - 1))
        return raise(f, V_SS, ext);
    return copy(v, t->rsp, t->frame, 8 * t->words, true, t->new_cpl == 3, f);
}

static void commit(struct vcpu *v, const struct entering *e, const struct target *t)
{
    u64 flags = x86_get_flags(v) & ~(u64)(FL_TF | FL_NT | FL_RF | FL_VM);

    if (e->vector == V_PF)
        CR(v, 2) = e->addr;
    if (e->vector == V_NMI)
        ENV(v, u32, X_HFLAGS2) |= HF2_NMI;
    if (t->new_cpl != cpl(v))                           /* a null SS, its RPL the new level (SDM 6.14.2) */
        x86_load_ss(v, t->new_cpl, DESC_G | DESC_B | DESC_P | DESC_S | DESC_W | DESC_A | t->new_cpl << DESC_DPL_SHIFT, t->new_cpl);
    HFLAGS(v) &= ~(u32)HF_INHIBIT;
    x86_load_cs(v, t->cs, t->cs_base, t->cs_limit, t->cs_flags);
    x86_set_flags(v, t->interrupt_gate ? flags & ~(u64)FL_IF : flags);
    REG(v, G_RSP) = t->rsp;
    ENV(v, u64, X_EIP) = t->rip;
    ENV(v, int, X_OLD_EXCEPTION) = -1;
}

/* ------------------------------------------------------- faults on the way */

static bool contributory(u32 vector) { return vector == V_DE || (vector >= V_TS && vector <= V_GP); }

static enum s2_result give_up(struct vcpu *v, const struct entering *e, const struct entering *f)
{
    struct x86 *x = v->arch;

    snprintf(x->why, sizeof x->why, "triple fault: vector %u (error %#x) while entering vector %u, rip %#llx cr2 %#llx", f->vector,
             f->error, e->vector, (unsigned long long)ENV(v, u64, X_EIP), (unsigned long long)f->addr);
    v->exit.why = x->why;
    return S2_ERROR;
}

static enum s2_result no_idt(struct vcpu *v, const struct entering *e, const char *mode)
{
    struct x86 *x = v->arch;

    snprintf(x->why, sizeof x->why, "triple fault: vector %u (error %#x) %s, rip %#llx", e->vector, e->error, mode,
             (unsigned long long)ENV(v, u64, X_EIP));
    v->exit.why = x->why;
    return S2_ERROR;
}

enum s2_result deliver_x86_64(struct vcpu *v)
{
    const struct pending *p = &v->pend;
    struct entering e = { .vector = p->vector & 0xff, .error = p->error, .has_error = p->has_error, .addr = p->addr,
                       .soft = p->aux & AUX_SOFT, .external = p->kind == PEND_IRQ || p->kind == PEND_MEM_ERROR,
                       .rip = ENV(v, u64, X_EIP) };
    u64 restart = e.rip - (p->aux >> AUX_LEN_SHIFT & 15);

    if (p->aux & AUX_UNMODELLED)
        return no_idt(v, &e, "because 32-bit paging is not modelled");
    if (p->aux & AUX_SHUTDOWN)
        return no_idt(v, &e, "while machine checks are off or one is being handled");
    if (!long_mode(v))
        return no_idt(v, &e, "outside long mode, where no handler can be entered");
    for (;;) {
        struct entering f = { 0 };
        struct target t;
        enum s2_result r = prepare(v, &e, &t, &f);

        if (r == S2_OK) {
            commit(v, &e, &t);
            v->pend.kind = PEND_NONE;
            return S2_OK;
        }
        if (r == S2_MISS)
            return S2_MISS;
        if (e.vector == V_DF && !e.soft)
            return give_up(v, &e, &f);
        /* SDM table 6-5; external interrupts, software interrupts and the rest are benign */
        bool benign = e.external || e.soft;
        if (!benign && ((contributory(e.vector) && contributory(f.vector)) ||
                        (e.vector == V_PF && (contributory(f.vector) || f.vector == V_PF))))
            f = (struct entering){ .vector = V_DF, .has_error = true };
        f.rip = restart;
        e = f;
    }
}
