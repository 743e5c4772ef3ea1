/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engine: the block hook that counts, and what other hooks see of the running block.
 *
 * A block is charged in full when it is entered. When the run leaves inside it (a fault, a trapped instruction, an exact stop) the
 * block stays `open`: vcpu_insns() and vcpu_now() subtract what has not run, and on resume its remainder is entered without a
 * charge. Only when the path goes elsewhere (an exception entered) is the rest given back. So time and the instruction index are
 * functions of the instruction path, whatever the number of stops (engine.md 5).
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

/* ------------------------------------------------------------------ time */

u32 vcpu_executed(struct vcpu *v)
{
    const struct block *b = current_block(v);
    u64 pc = v->m->arch->get_pc(v);

    if (pc - b->addr < b->size)
        return block_index(b, pc);
    return pc == b->addr + b->size ? b->n : v->done;
}

u64 vcpu_insns(struct vcpu *v)
{
    return v->open ? v->insns - (current_block(v)->n - vcpu_executed(v)) : v->insns;
}

u64 vcpu_insns_inside(struct vcpu *v) { return v->insns - (current_block(v)->n - vcpu_executed(v)); }

/* Also right inside a hook, where PC is exact and current_block() runs. */
u64 vcpu_now(struct vcpu *v)
{
    const struct block *b = current_block(v);

    if (!b || !b->n || !(v->open || v->running))
        return v->cycles;
    return v->cycles - (u64)charged(v) * (b->n - vcpu_executed(v)) / b->n;
}

u64 vcpu_ticks(struct vcpu *v, u64 hz)
{
    /* cycles_per_us counts CYC units; hz / 1e6 ticks a microsecond */
    return (u64)((unsigned __int128)vcpu_now(v) * hz / ((unsigned __int128)v->m->cycles_per_us * 1000000u));
}

/* ------------------------------------------------------------ block hook */

/* A block cannot have more instructions than bytes; while fewer than that are left, every block looks. */
#define MOST_INSNS BLOCK_BYTES_MAX

void vcpu_set_limit(struct vcpu *v)
{
    u64 left = v->insn_limit - v->insns;

    if (v->irq_lines || v->kicked || v->rescan || v->recheck || v->purge || v->insn_limit <= v->insns || left <= MOST_INSNS ||
        v->inspecting || v->m->debug.stop) {
        v->limit = 0;
        return;
    }
    if (left > 1ull << 48) {                            /* no limit worth the arithmetic */
        v->limit = v->cycle_limit;
        return;
    }
    /* cost_lookup() guarantees CYC / 8 an instruction, so `left` instructions cannot run before this */
    left = v->cycles + (left - MOST_INSNS) * (CYC / 8);
    v->limit = left < v->cycle_limit ? left : v->cycle_limit;
}

static void stop(struct vcpu *v)
{
    v->stopping = true;
    UC.emu_stop(v->uc);
}

static inline struct block *l1_slot(struct vcpu *v, u64 addr)
{
    /* (addr >> 2 ^ addr >> 14) entries, in bytes */
    return (struct block *)((char *)v->l1 + ((addr << 4 ^ addr >> 8) & (((1u << L1_BITS) - 1) * sizeof *v->l1)));
}

static inline void charge(struct vcpu *v, struct block *b)
{
    u64 here = (u64)(uintptr_t)b, again = (v->entered ^ here) < 2;

    v->entered = here + again;
    v->cycles += b->cost[again];
    v->insns += b->n;
}

static struct block *look_up(struct vcpu *v, u64 addr, u32 size)
{
    u8 copy[BLOCK_BYTES_MAX];
    const u8 *code;
    struct block *b = l1_slot(v, addr);

    if (v->m->arch->check_pc && !v->m->arch->check_pc(v, addr))
        return NULL;
    if (!mmu_code(v, addr, size, copy, &code)) {
        v->lost_code = true;
        return NULL;
    }
    if (current_block(v) == b && b->addr != addr)
        v->entered = 0;                                 /* its slot is taken by another block */
    cost_lookup(v, code, size, b);
    b->addr = addr;
    b->tag = v->epoch | size;
    return b;
}

/* Nothing of the open block is left over, or its remainder is being entered: back to where the next entry compares, for a loop must
 * be seen as one although it was interrupted. */
void engine_block_done(struct vcpu *v)
{
    struct block *b = l1_slot(v, v->held.addr);

    v->resumed = v->open = v->debug_open = false;
    *b = v->held;
    b->tag = v->epoch | b->size;
    v->entered = (u64)(uintptr_t)b | (v->entered & 1);
}

/* The rest of a block that was left in the middle is being entered: it is charged already. How Unicorn's translator limits a block
 * (512 instructions, a full op buffer) depends on where it starts, so it may have cut the rest longer than the whole was: then run()
 * must start again with an exit at the block's end, so that the next block begins where it always does. */
static void resume_block(struct vcpu *v, u64 addr, u32 size)
{
    u8 copy[BLOCK_BYTES_MAX];
    const u8 *code;

    if (addr + size > v->held.addr + v->held.size) {
        v->too_long = true;
        stop(v);
        return;
    }
    mmu_code(v, addr, size, copy, &code);               /* marks the code page accessed, as any entry does */
    engine_block_done(v);
    vcpu_set_limit(v);
}

/* The first entry after a start that is not an ordinary one. */
static void enter_special(struct vcpu *v, u64 addr, u32 size)
{
    if (v->resumed) {
        resume_block(v, addr, size);
        return;
    }
    v->exact = false;                                   /* a block cut at the exit: charged as the whole that it will be */
    struct block *b = l1_slot(v, v->next.addr);
    if (current_block(v) == b && b->addr != v->next.addr)
        v->entered = 0;
    *b = v->next;
    charge(v, b);
    v->limit = 0;
}

/* True: stopping, do not charge. */
static bool at_limit(struct vcpu *v, struct block *b)
{
    if (v->kicked || v->rescan || v->recheck || v->purge || v->lost_code || v->cycles >= v->cycle_limit ||
        v->inspecting || v->m->debug.stop || (v->irq_lines && v->m->arch->irq_ready(v))) {
        stop(v);
        return true;
    }
    if (v->insns + b->n > v->insn_limit) {
        v->next = *b;
        v->near_limit = true;
        stop(v);
        return true;
    }
    vcpu_set_limit(v);
    return false;
}

static __attribute__((noinline)) void enter_slow(struct vcpu *v, u64 addr, u32 size)
{
    if (v->resumed || v->exact) {
        enter_special(v, addr, size);
        return;
    }
    struct block *b = l1_slot(v, addr);
    if (b->addr != addr || b->tag != (v->epoch | size))
        b = look_up(v, addr, size);
    if (b && (v->cycles < v->limit || !at_limit(v, b)))
        charge(v, b);
    else if (!b)
        stop(v);
}

static void on_block(uc_engine *uc, u64 addr, u32 size, void *user)
{
    struct vcpu *v = user;
    struct block *b = l1_slot(v, addr);

    (void)uc;
    /* limit is 0 whenever something special is due, so one comparison covers everything */
    if (likely(b->addr == addr && b->tag == (v->epoch | size) && v->cycles < v->limit))
        charge(v, b);
    else
        enter_slow(v, addr, size);
}

/* --------------------------------------------------------- other hooks */

/* A new translation: the address may hold new code (self-modification), with new instructions to trap. */
static void on_new_block(uc_engine *uc, uc_tb *cur, uc_tb *prev, void *user)
{
    struct vcpu *v = user;
    u32 hooks = v->nhooks;
    const u8 *code = mmu_code_at(v, cur->pc & PAGE_MASK);

    (void)uc;
    (void)prev;
    l1_slot(v, cur->pc)->tag = 0;
    if (code)
        sense(v, cur->pc & PAGE_MASK, code);
    if (v->nhooks != hooks) {
        v->rescan = true;
        v->limit = 0;
    }
    if (v->checked)
        engine_exit_checks(v, false);
    else if (v->no_exit_request && engine_has_hook(v, cur->pc, cur->size)) {
        v->recheck = true;
        v->limit = 0;
    }
}

static void on_intr(uc_engine *uc, u32 intno, void *user)
{
    struct vcpu *v = user;

    (void)uc;
    v->intno = (int)intno;
    UC.emu_stop(v->uc);
}

static bool on_invalid(uc_engine *uc, void *user)
{
    struct vcpu *v = user;

    (void)uc;
    v->invalid = true;
    UC.emu_stop(v->uc);
    return true;
}

void vcpu_trap_here(struct vcpu *v)
{
    v->trapped = true;
    UC.emu_stop(v->uc);
}

void vcpu_kick(struct vcpu *v)
{
    v->kicked = true;
    v->limit = 0;
}

/* No UC_HOOK_MEM_*: any memory hook keeps every store on Unicorn's slow path (cputlb.c, notdirty_write). */
int engine_add_hooks(struct vcpu *v)
{
    static const struct { int type; void *fn; } hooks[] = {
        { UC_HOOK_TLB_FILL, (void *)mmu_fill },   { UC_HOOK_BLOCK, (void *)on_block },
        { UC_HOOK_EDGE_GENERATED, (void *)on_new_block }, { UC_HOOK_INTR, (void *)on_intr },
        { UC_HOOK_INSN_INVALID, (void *)on_invalid },
    };
    uc_hook h;

    for (u32 i = 0; i < sizeof hooks / sizeof *hooks; i++)
        if (UC.hook_add(v->uc, &h, hooks[i].type, hooks[i].fn, v, 1, 0))
            return core_fail("Unicorn refused hook %d", hooks[i].type);
    return 0;
}
