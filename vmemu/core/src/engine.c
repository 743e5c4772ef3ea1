/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Engine: one Unicorn per vCPU, its hooks, and the block hook that counts.
 *
 * A block is charged in full when it is entered. When the run leaves inside it (a fault, a trapped instruction, an exact stop) the
 * block stays `open`: vcpu_insns() and vcpu_now() subtract what has not run, and on resume its remainder is entered without a
 * charge. Only when the path goes elsewhere (an exception entered) is the rest given back. So time and the instruction index are
 * functions of the instruction path, whatever the number of stops (engine.md 5).
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

/* Private layout of 2.1.4 (outside.md 3); checked by core_selftest(). */
#define UC_CPU 440
#define UC_INVALID_ADDR 1416
#define CPU_ENV_PTR 296
#define CPU_MEM_IO_PC 33144                             /* host return address of the access to a device */

static void (*invalidate_range)(uc_engine *, u64, u64);

/*
 * Unicorn's translator puts a call that looks for a stop request behind every load and store, and behind every address hook. Only
 * the hooks need it here: everything else stops at the start of a block, which has a look of its own (engine.md 4). The switch that
 * leaves the calls out, uc_struct.no_exit_request, is read by check_exit_request_<isa>(); its place is taken from there:
 *     mov uc(%rdi), %rsi; cmpb $0, disp32(%rsi)
 * 0: not found, all calls stay. A block that contains an address hook is translated with the calls (on_new_block).
 */
static u32 no_exit_request;

static void find_exit_switch(const char *suffix)
{
#if defined(__x86_64__)
    const u8 *code = uclib_symbol("check_exit_request", suffix);
    u32 at;

    if (!code || code[0] != 0x48 || code[1] != 0x8b || code[2] != 0xb7 || code[7] != 0x80 || code[8] != 0xbe || code[13] != 0)
        return;
    memcpy(&at, code + 9, 4);
    no_exit_request = at < 16384 ? at : 0;
#else
    (void)suffix;
#endif
}

static void exit_checks(struct vcpu *v, bool on)
{
    v->checked = on;
    if (no_exit_request)
        ((bool *)v->uc)[no_exit_request] = !on;
}

void engine_check_next(struct vcpu *v) { exit_checks(v, true); }
static bool (*restore_state)(void *cpu, uintptr_t host_pc, bool will_exit);

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

    if (v->irq_lines || v->kicked || v->rescan || v->recheck || v->purge || v->insn_limit <= v->insns || left <= MOST_INSNS) {
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
        (v->irq_lines && v->m->arch->irq_ready(v))) {
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

/* Unique: code lies at va[63:56] of all zeros, all ones, or ppc64's 0xc0. */
static u64 hook_key(u64 va, u32 kind) { return va ^ (u64)kind << 56; }

/* Has an instruction in [pc, pc + size) an address hook? */
static bool has_hook(const struct vcpu *v, u64 pc, u32 size)
{
    u32 step = v->m->arch->uc_arch == UC_ARCH_X86 ? 1 : 4;
    u64 old;

    for (u32 at = 0; v->code_hooks.live && at < size; at += step)
        for (u32 kind = 1; kind < 16; kind++)
            if (v->hook_kinds >> kind & 1 && table_get(&v->code_hooks, hook_key(pc + at, kind), &old))
                return true;
    return false;
}

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
        exit_checks(v, false);
    else if (no_exit_request && has_hook(v, cur->pc, cur->size)) {
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

bool hook_code_at(struct vcpu *v, u64 va, u32 kind, void *callback)
{
    u64 key = hook_key(va, kind), old;
    uc_hook h;

    if (table_get(&v->code_hooks, key, &old))
        return false;
    if (UC.hook_add(v->uc, &h, UC_HOOK_CODE, callback, v, va, va) || table_put(&v->code_hooks, key, h) < 0)
        return false;
    v->nhooks++;
    v->hook_kinds |= 1u << kind;
    if (v->code_hooks.live >= MAX_HOOKS) {
        v->purge = true;
        v->limit = 0;
    }
    return true;
}

/* Forget every code hook; pages are scanned again when they are fetched next. Outside emu_start. */
void engine_purge_hooks(struct vcpu *v)
{
    struct table *t = &v->code_hooks;

    for (u32 i = 0; i <= t->mask; i++)
        if (t->keys[2 * i])
            UC.hook_del(v->uc, t->keys[2 * i + 1]);
    memset(t->keys, 0, ((size_t)t->mask + 1) * 16);
    t->live = 0;
    v->purge = false;
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
    for (u32 i = 0; i < ITLB; i++)
        v->itlb[i].vpage = ~0ull;
    vcpu_flush_tlb(v);
}

void vcpu_drop_code(struct vcpu *v, u32 frame)
{
    u64 at = FRAME_BASE + ((u64)frame << PAGE_SHIFT);

    invalidate_range(v->uc, at, at + PAGE_SIZE);
}

/* -------------------------------------------------------------- devices */

int vcpu_io(struct vcpu *v, int kind, u64 addr, u32 size, u64 *value)
{
    v->count[C_EXIT_IO]++;
    int r = v->m->io(v->m->io_ctx, v->id, kind, addr, size, value);
    event(v->m, v, EV_IO, addr, *value, (u64)size << 8 | (u32)kind);
    v->cycles += COST_EXIT;
    if (r == IO_STOP) {
        v->io_stop = true;
        vcpu_kick(v);
    }
    return r;
}

/* PC is not synchronised for device memory: it stands wherever the last TLB fill left it, which host time decides. */
static void sync_pc(struct vcpu *v)
{
    restore_state(v->cpu, *(uintptr_t *)((char *)v->cpu + CPU_MEM_IO_PC), false);
}

static u64 on_mmio_read(uc_engine *uc, u64 offset, unsigned size, void *user)
{
    struct vcpu *v = user;
    u64 value = ~0ull;

    (void)uc;
    if (offset >> PAGE_SHIFT == OPEN_BUS)
        return value;
    sync_pc(v);
    vcpu_io(v, IO_MMIO_READ, v->m->mmio[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)), size, &value);
    return value;
}

static void on_mmio_write(uc_engine *uc, u64 offset, unsigned size, u64 value, void *user)
{
    struct vcpu *v = user;

    (void)uc;
    if (offset >> PAGE_SHIFT == OPEN_BUS)
        return;
    sync_pc(v);
    vcpu_io(v, IO_MMIO_WRITE, v->m->mmio[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)), size, &value);
}

void vcpu_set_irq(struct vcpu *v, u32 line, bool level)
{
    u32 old = v->irq_lines;

    v->irq_lines = level ? old | 1u << line : old & ~(1u << line);
    if (v->irq_lines)
        v->limit = 0;
}

void vcpu_set_halted(struct vcpu *v, bool halted)
{
    if (halted != v->halted)
        event(v->m, v, halted ? EV_HALT : EV_WAKE, v->irq_lines, 0, 0);
    v->halted = halted;
}

/* ------------------------------------------------------------- creation */

static const struct arch *find_arch(const char *isa)
{
    static const struct arch *all[] = { &arch_x86_64, &arch_arm64, &arch_ppc64 };

    for (u32 i = 0; i < 3; i++)
        if (all[i] && !strcmp(all[i]->name, isa))
            return all[i];
    core_fail("no architecture %s", isa);
    return NULL;
}

struct machine *machine_new(const char *isa, u32 nframes, io_fn io, void *io_ctx)
{
    const struct arch *arch = find_arch(isa);
    struct machine *m = arch ? calloc(1, sizeof *m) : NULL;

    if (!m)
        return NULL;
    m->arch = arch;
    m->io = io;
    m->io_ctx = io_ctx;
    m->cycles_per_us = 2000 * CYC;                      /* 2 GHz */
    m->timing.depth = 1;
    if (s2_init(m, nframes) || table_init(&m->tokens, 8) || table_init(&m->gfns, 8)) {
        machine_free(m);
        return NULL;
    }
    return m;
}

static void vcpu_free(struct vcpu *v)
{
    if (v->arch && v->m->arch->destroy)
        v->m->arch->destroy(v);
    if (v->uc)
        UC.close(v->uc);
    table_free(&v->code_hooks);
    cost_free(v->cost);
    free(v);
}

void machine_free(struct machine *m)
{
    if (!m)
        return;
    snap_free(m);
    for (u32 i = 0; i < m->nvcpus; i++)
        vcpu_free(m->vcpu[i]);
    table_free(&m->tokens);
    table_free(&m->gfns);
    free(m->ring.ev);
    free(m->dropped);
    s2_free(m);
    free(m);
}

/* No UC_HOOK_MEM_*: any memory hook keeps every store on Unicorn's slow path (cputlb.c, notdirty_write). */
static int add_hooks(struct vcpu *v)
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

static int open_engine(struct vcpu *v)
{
    struct machine *m = v->m;
    const struct arch *a = m->arch;
    uc_err e = UC.open(a->uc_arch, (uc_mode)a->uc_mode, &v->uc);

    if (e)
        return core_fail("Unicorn cannot open %s: %s", a->name, UC.strerror(e));
    if (a->uc_arch == UC_ARCH_ARM64)                    /* the very first call, or the granule stays 1 KiB (engine.md 2) */
        e = UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_UC_PAGE_SIZE, 1), PAGE_SIZE);
    if (!e)
        e = UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TLB_TYPE, 1), UC_TLB_VIRTUAL);
    if (!e)
        e = UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1);
    if (!e)
        e = UC.mem_map_ptr(v->uc, FRAME_BASE, (size_t)m->nframes * PAGE_SIZE, UC_PROT_ALL, m->ram);
    if (!e)
        e = UC.mmio_map(v->uc, MMIO_BASE, (size_t)MAX_MMIO * PAGE_SIZE, on_mmio_read, v, on_mmio_write, v);
    if (e)
        return core_fail("Unicorn cannot set up %s: %s", a->name, UC.strerror(e));
    v->cpu = *(void **)((char *)v->uc + UC_CPU);
    v->env = *(void **)((char *)v->cpu + CPU_ENV_PTR);
    invalidate_range = (void (*)(uc_engine *, u64, u64))uclib_symbol("tb_invalidate_phys_range", a->suffix);
    restore_state = (bool (*)(void *, uintptr_t, bool))uclib_symbol("cpu_restore_state", a->suffix);
    if (!restore_state)
        return core_fail("libunicorn lacks cpu_restore_state_%s", a->suffix);
    if (!invalidate_range)
        return core_fail("libunicorn lacks tb_invalidate_phys_range_%s", a->suffix);
    find_exit_switch(a->suffix);
    exit_checks(v, false);
    return add_hooks(v);
}

struct vcpu *vcpu_new(struct machine *m)
{
    struct vcpu *v = aligned_alloc(64, sizeof *v);

    if (!v || m->nvcpus == MAX_VCPUS) {
        core_fail("no room for another vCPU");
        free(v);
        return NULL;
    }
    memset(v, 0, sizeof *v);
    v->m = m;
    v->id = m->nvcpus;
    v->intno = -1;
    v->epoch = 1ull << 32;
    v->cost = cost_new();
    for (u32 i = 0; i < ITLB; i++)
        v->itlb[i].vpage = ~0ull;
    if (!m->dropped)
        m->dropped = calloc((size_t)m->npages + 1, sizeof *m->dropped);
    if (!v->cost || !m->dropped || table_init(&v->code_hooks, 8) || open_engine(v) || m->arch->setup(v) ||
        m->arch->reset(v)) {
        vcpu_free(v);
        return NULL;
    }
    m->vcpu[m->nvcpus++] = v;
    return v;
}

u64 engine_fault_address(struct vcpu *v) { return *(u64 *)((char *)v->uc + UC_INVALID_ADDR); }

void engine_drop_page(struct vcpu *v, u64 va)
{
    const u8 *code = mmu_code_at(v, va);

    if (code)
        vcpu_drop_code(v, (u32)((size_t)(code - v->m->ram) >> PAGE_SHIFT));
}

void engine_drop_block(struct vcpu *v, u64 va)
{
    const u8 *code = mmu_code_at(v, va);

    if (code) {
        u64 at = FRAME_BASE + (u64)(code - v->m->ram);
        invalidate_range(v->uc, at, at + 1);
    }
}
