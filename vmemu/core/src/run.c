/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The run loop of one vCPU: deliver what is pending, run, find out why Unicorn came back, serve what needs no Python, leave with
 * one exit. PC is exact at every exit.
 */
#include <string.h>

#include "core.h"

bool vcpu_settled(struct vcpu *v) { return !(v->open && v->debug_open); }

/* The path leaves the open block for good: give back what has not run. */
void vcpu_close_block(struct vcpu *v, u32 executed)
{
    if (!v->open)
        return;
    u32 n = current_block(v)->n, rest = n - executed;
    v->insns -= rest;
    v->cycles -= n ? (u64)charged(v) * rest / n : 0;
    v->open = v->debug_open = v->resumed = false;
}

static void leave_block(struct vcpu *v)
{
    if (v->open)
        vcpu_close_block(v, vcpu_executed(v));
}

static int leave(struct vcpu *v, u32 kind)
{
    static const u8 counters[] = {
        [EXIT_LIMIT] = C_EXIT_LIMIT, [EXIT_STAGE2] = C_EXIT_STAGE2, [EXIT_HALT] = C_EXIT_HALT, [EXIT_HCALL] = C_EXIT_HCALL,
        [EXIT_IRQ_WINDOW] = C_EXIT_IRQ, [EXIT_FATAL] = C_EXIT_ERROR, [EXIT_STOP] = C_EXIT_LIMIT, [EXIT_ERROR] = C_EXIT_ERROR,
    };

    v->exit.kind = kind;
    v->exit.pc = v->m->arch->get_pc(v);
    v->exit.insns = vcpu_insns(v);
    v->exit.cycles = vcpu_now(v);
    if (kind != EXIT_DEBUG && !(kind == EXIT_LIMIT && v->exit.nr))    /* an exact stop is no part of the path */
        v->count[counters[kind]]++;
    if (kind == EXIT_HCALL)
        event(v->m, v, EV_HCALL, v->exit.nr, 0, 0);
    return (int)kind;
}

static int fatal(struct vcpu *v, const char *why)
{
    v->exit.why = why;
    return leave(v, EXIT_FATAL);
}

static int engine_error(struct vcpu *v, const char *what, uc_err e)
{
    core_fail("%s at pc %#llx: %s", what, (unsigned long long)v->m->arch->get_pc(v), UC.strerror(e));
    v->exit.why = core_error();
    return leave(v, EXIT_ERROR);
}

/* Must Python decide what becomes of a fault at v->exit.gpa? Pages that need no I/O never come that far. */
static bool asks_pager(struct vcpu *v, bool delivering)
{
    struct machine *m = v->m;
    i64 i = m->paged ? s2_index(m, v->exit.gpa) : -1;
    u64 token;

    v->exit.nr = delivering ? STAGE2_ENTERING : 0;
    if (i < 0 || m->s2[i].state != S2_SWAPPED)
        return false;
    v->exit.nr |= table_get(&m->gfns, gfn_key(v, v->exit.gpa), &token) ? STAGE2_REPEATED : 0;
    return true;
}

/* The page at v->exit.gpa is needed. EXIT_NONE: it is there (or the guest has been told that it is lost). */
static int need_page(struct vcpu *v, bool delivering)
{
    struct vm_exit *x = &v->exit;

    event(v->m, v, EV_STAGE2, x->gpa, x->gva, x->access);
    v->cycles += COST_EXIT;
    if (asks_pager(v, delivering))
        return leave(v, EXIT_STAGE2);
    switch (s2_ensure(v->m, v, x->gpa, x->access == ACC_WRITE)) {
    case S2_OK:
        return EXIT_NONE;
    case S2_MISS:
        return leave(v, EXIT_STAGE2);
    default:
        if (delivering)
            return fatal(v, "memory error while an exception was being entered");
        v->count[C_FAULT_MEM_ERROR]++;
        event(v->m, v, EV_MEM_ERROR, x->gpa, x->gva, x->access);
        v->m->arch->mem_error(v, x->gva, x->gpa, (enum access)x->access);
        return EXIT_NONE;
    }
}

/* Before delivery changes PC and mode; recorded when it has succeeded. */
static struct event entry_event(struct vcpu *v)
{
    const struct pending *p = &v->pend;
    struct event e = event_now(v->m, v);

    e.kind = p->kind == PEND_IRQ ? EV_IRQ : EV_EXCEPTION;
    e.a = p->vector;
    e.b = p->addr;
    e.c = p->aux ? p->aux : p->error;
    return e;
}

static int deliver(struct vcpu *v)
{
    u32 kind = v->pend.kind;
    bool traced = v->m->ring.ev != NULL;
    struct event entry;

    leave_block(v);
    if (unlikely(traced))
        entry = entry_event(v);
    switch (v->m->arch->deliver(v)) {
    case S2_OK:
        vcpu_set_halted(v, false);
        if (unlikely(traced))
            event_at(v->m, entry);
        v->cycles += COST_ENTRY;
        v->count[kind == PEND_IRQ ? C_IRQ : C_EXCEPTION]++;
        return EXIT_NONE;
    case S2_MISS:
        return need_page(v, true);
    default:
        return fatal(v, v->exit.why ? v->exit.why : "an exception could not be entered");
    }
}

/* The host is about to change where the guest is: what the vCPU was to enter before its next instruction comes first. */
int vcpu_settle(struct vcpu *v)
{
    if (v->running || !vcpu_settled(v))
        return core_fail("vCPU %u is stopped amid a block: nothing may be delivered here", v->id);
    leave_block(v);
    while (v->pend.kind)
        if (deliver(v) != EXIT_NONE)
            return core_fail("vCPU %u cannot enter what is pending: %s", v->id, v->exit.why ? v->exit.why : "a page is missing");
    return 0;
}

int vcpu_go_to(struct vcpu *v, u64 pc, u64 status)
{
    if (!v->m->arch->go_to || vcpu_settle(v))
        return v->m->arch->go_to ? -1 : core_fail("%s firmware sends nobody anywhere", v->m->arch->name);
    if (v->m->arch->go_to(v, pc, status))
        return -1;
    vcpu_set_halted(v, false);
    v->cycles += COST_ENTRY;
    return 0;
}

static int fault(struct vcpu *v)
{
    u64 va = engine_fault_address(v);
    struct machine *m = v->m;

    if ((va ^ v->fill_va) & PAGE_MASK)                  /* a later probe moved it: the page is right, the offset is not known */
        va = v->fill_va;
    v->exit.gva = va;
    v->exit.gpa = v->fill_walk.gpa;
    v->exit.access = v->fill_access;
    switch (v->fill_status) {
    case FILL_GUEST:
        v->count[C_FAULT_GUEST]++;
        event(m, v, EV_GUEST_FAULT, va, v->fill_walk.fault, v->fill_access);
        m->arch->page_fault(v, &v->fill_walk, va, v->fill_access);
        return EXIT_NONE;
    case FILL_S2:
        return need_page(v, false);
    case FILL_BUS:
        v->count[C_FAULT_MEM_ERROR]++;
        event(m, v, EV_MEM_ERROR, v->fill_walk.gpa, va, v->fill_access);
        m->arch->mem_error(v, va, v->fill_walk.gpa, v->fill_access);
        return EXIT_NONE;
    default:
        return engine_error(v, "fault without a cause", UC_ERR_EXCEPTION);
    }
}

/* A block was entered that the guest's tables do not let it fetch: mmu_fill() grants EXEC together with WRITE on frames that hold
 * translated code, and they may be mapped without execute rights here. Nothing of the block has run. */
static int cannot_fetch(struct vcpu *v, uc_err e)
{
    struct machine *m = v->m;
    u64 pc = m->arch->get_pc(v);
    struct walk w = { 0 };

    v->lost_code = false;
    v->fill_access = ACC_FETCH;
    v->exit.gva = pc;
    v->exit.access = ACC_FETCH;
    switch (m->arch->walk(v, pc, ACC_FETCH, &w)) {
    case WALK_FAULT:
        v->count[C_FAULT_GUEST]++;
        event(m, v, EV_GUEST_FAULT, pc, w.fault, ACC_FETCH);
        m->arch->page_fault(v, &w, pc, ACC_FETCH);
        return EXIT_NONE;
    case WALK_S2:
        v->exit.gpa = w.gpa;
        return need_page(v, false);
    default:
        return engine_error(v, "code bytes not found", e);
    }
}

/* Unicorn came back from inside a block: remember how much of it has run. */
static void mark_open(struct vcpu *v, bool fetching)
{
    if (v->resumed) {                                   /* the remainder was never entered */
        v->resumed = false;
        return;
    }
    struct block *b = current_block(v);
    if (!b || fetching)                                 /* the next block could not be fetched: this one is complete */
        return;
    v->held = *b;
    v->entered = (u64)(uintptr_t)&v->held | (v->entered & 1);
    v->done = b->n;
    v->open = true;
    v->done = vcpu_executed(v);
}

static void set_exit_at(struct vcpu *v, u64 *at)
{
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_UC_EXITS, 2), at, at ? (size_t)1 : (size_t)0);
}

/* Run until `fence` (0: no fence): blocks in its page are translated anew before and after. One instruction alone needs less. */
static uc_err start(struct vcpu *v, u64 pc, u64 fence)
{
    void (*drop)(struct vcpu *, u64) = v->inspecting ? engine_drop_block : engine_drop_page;

    if (fence) {
        drop(v, pc);
        drop(v, fence);
        set_exit_at(v, &fence);
    }
    engine_exit_checks(v, true);                               /* on_new_block() is not told of the first one, and it need not stop at its start */
    v->fill_status = FILL_NONE;
    v->intno = -1;
    v->invalid = v->trapped = v->stopping = v->near_limit = false;
    v->running = true;
    uc_err e = UC.emu_start(v->uc, v->m->arch->entry ? v->m->arch->entry(v) : pc, 0, 0, 0);
    v->running = false;
    if (fence) {
        set_exit_at(v, NULL);
        drop(v, pc);
        drop(v, fence);
    }
    return e;
}

/* A hypercall that a room above answers from here (public.h). EXIT_NONE: it has. */
static int answer(struct vcpu *v)
{
    struct machine *m = v->m;
    u64 cycles = 0;
    u32 i = 0;

    while (i < m->nanswers && m->answers[i].nr != v->exit.nr)
        i++;
    if (i == m->nanswers || m->arch->in_user(v))        /* whether programs may call is for the board to say */
        return EXIT_HCALL;
    int result = m->answers[i].fn(m->answers[i].ctx, v, &cycles, &v->exit.why);
    if (result == HCALL_DIED)
        return leave(v, EXIT_ERROR);
    if (result == HCALL_DONE)
        event(m, v, EV_HCALL, v->exit.nr, 1, 0);
    v->cycles += cycles;
    return result == HCALL_DONE ? EXIT_NONE : EXIT_HCALL;
}

static int go(struct vcpu *v)
{
    const struct arch *a = v->m->arch;
    u64 pc = a->get_pc(v), fence = 0;
    bool exact = false, alone = debug_inspect_begin(v), trapped;

    if (v->open) {
        u64 off = pc - v->held.addr;
        if (off == v->held.size)
            engine_block_done(v);
        else if (off > v->held.size)
            leave_block(v);
        else {
            u64 index = block_index(&v->held, pc) + (alone ? 1 : v->insn_limit - vcpu_insns(v));
            v->resumed = true;
            if (index < v->held.n) {                    /* stop again before the block's end */
                exact = true;
                fence = block_address(&v->held, (u32)index);
            } else if (v->too_long || alone)
                fence = v->held.addr + v->held.size;
        }
    }
    v->too_long = false;
    if (v->near_limit && !v->resumed && pc == v->next.addr) {
        exact = v->exact = true;
        fence = block_address(&v->next, (u32)(v->insn_limit - v->insns));
    }
    vcpu_set_limit(v);
    if (v->resumed || v->exact)
        v->limit = 0;

    uc_err e = start(v, pc, fence);

    v->exact = false;
    if (alone)
        debug_inspect_end(v);
    if (v->lost_code)
        return cannot_fetch(v, e);
    if (v->stopping) {                                  /* from the block hook: between two blocks */
        if (v->rescan)
            engine_drop_page(v, a->get_pc(v));
        else if (v->recheck)
            engine_drop_block(v, a->get_pc(v));
        v->rescan = v->recheck = false;
        if (v->purge)
            engine_purge_hooks(v);
        if (!v->kicked)
            return EXIT_NONE;
        v->kicked = false;                              /* the caller's limits may be other ones now */
        return leave(v, EXIT_LIMIT);
    }
    bool faulted = e == UC_ERR_EXCEPTION && v->fill_status != FILL_NONE;
    mark_open(v, faulted && v->fill_access == ACC_FETCH);
    if (debug_stopped(v, faulted, &trapped) == EXIT_DEBUG)
        return leave(v, EXIT_DEBUG);
    if (trapped)
        return EXIT_NONE;
    if (faulted)
        return fault(v);
    if (v->invalid || v->intno >= 0) {
        if (!a->trap(v, &v->exit))
            return EXIT_NONE;
        if (v->exit.kind == EXIT_STAGE2)
            return need_page(v, false);
        if (v->exit.kind == EXIT_HCALL && v->m->nanswers) {
            int kind = answer(v);
            if (kind != EXIT_HCALL)
                return kind;
        }
        v->cycles += COST_EXIT;
        return leave(v, v->exit.kind);
    }
    if (v->trapped)
        return EXIT_NONE;
    if (fence && e == UC_ERR_OK && a->get_pc(v) == fence) {
        a->clear_halt(v);
        v->debug_open = exact;
        return EXIT_NONE;
    }
    if (e != UC_ERR_OK)
        return engine_error(v, "Unicorn failed", e);
    if (a->is_halted(v)) {
        a->clear_halt(v);
        vcpu_set_halted(v, true);
    }
    return EXIT_NONE;
}

int vcpu_run(struct vcpu *v, u64 cycle_limit, u64 insn_limit)
{
    const struct arch *a = v->m->arch;
    u64 last = ~0ull, idle = 0;

    memset(&v->exit, 0, sizeof v->exit);
    v->m->current = v;
    v->cycle_limit = cycle_limit;
    v->insn_limit = insn_limit;
    v->near_limit = false;
    for (;;) {
        int kind = EXIT_NONE;

        if (unlikely(debug_due(v)))
            return leave(v, EXIT_DEBUG);
        if (v->pend.kind)
            kind = deliver(v);
        else if (v->io_stop && vcpu_settled(v)) {
            v->io_stop = false;
            return leave(v, EXIT_STOP);
        } else if (v->irq_lines && vcpu_settled(v) && a->irq_ready(v)) {
            leave_block(v);
            vcpu_set_halted(v, false);
            if (a->irq_take(v, &v->exit))
                return leave(v, v->exit.kind);
            if (!v->pend.kind)
                return fatal(v, "an interrupt line is high, but its entry gave nothing to deliver");
        } else if (v->halted && a->wake_masked && !v->host_halt && v->irq_lines)
            vcpu_set_halted(v, false);
        else if (v->halted)
            return leave(v, EXIT_HALT);
        else if (vcpu_insns(v) >= insn_limit || (vcpu_settled(v) && vcpu_now(v) >= cycle_limit)) {
            v->exit.nr = vcpu_insns(v) >= insn_limit && !(vcpu_settled(v) && vcpu_now(v) >= cycle_limit);
            return leave(v, EXIT_LIMIT);
        }
        else
            kind = go(v);
        if (kind != EXIT_NONE)
            return kind;
        /* a guest can make no progress for a while (one instruction that needs many pages); the host must not for ever */
        if (vcpu_insns(v) != last)
            last = vcpu_insns(v), idle = 0;
        else if (++idle > 1000000)
            return fatal(v, "no instruction completes");
    }
}
