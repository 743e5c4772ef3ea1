/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Machines and vCPUs: opening Unicorn, its private places, device windows, address hooks, dropping translations. What runs on every
 * block is in engine.c.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

/* Private layout of 2.1.4 (outside.md 3); checked by core_selftest(). */
#define UC_CPU 440
#define UC_INVALID_ADDR 1416
#define CPU_ENV_PTR 296
#define CPU_MEM_IO_PC 33144                             /* host return address of the access to a device */


/*
 * Unicorn's translator puts a call that looks for a stop request behind every load and store, and behind every address hook. Only
 * the hooks need it here: everything else stops at the start of a block, which has a look of its own (engine.md 4). The switch that
 * leaves the calls out, uc_struct.no_exit_request, is read by check_exit_request_<isa>(); its place is taken from there:
 *     mov uc(%rdi), %rsi; cmpb $0, disp32(%rsi)
 * 0: not found, all calls stay. A block that contains an address hook is translated with the calls (on_new_block).
 */
static void find_exit_switch(struct vcpu *v, const char *suffix)
{
#if defined(__x86_64__)
    const u8 *code = uclib_symbol("check_exit_request", suffix);
    u32 at;

    if (!code || code[0] != 0x48 || code[1] != 0x8b || code[2] != 0xb7 || code[7] != 0x80 || code[8] != 0xbe || code[13] != 0)
        return;
    memcpy(&at, code + 9, 4);
    v->no_exit_request = at < 16384 ? at : 0;
#else
    (void)v, (void)suffix;
#endif
}

void engine_exit_checks(struct vcpu *v, bool on)
{
    v->checked = on;
    if (v->no_exit_request)
        ((bool *)v->uc)[v->no_exit_request] = !on;
}

/* ---------------------------------------------------------- address hooks */

/* Unique: code lies at va[63:56] of all zeros, all ones, or ppc64's 0xc0. */
static u64 hook_key(u64 va, u32 kind) { return va ^ (u64)kind << 56; }

/* Has an instruction in [pc, pc + size) an address hook? */
bool engine_has_hook(const struct vcpu *v, u64 pc, u32 size)
{
    u32 step = v->m->arch->uc_arch == UC_ARCH_X86 ? 1 : 4;
    u64 old;

    for (u32 at = 0; v->code_hooks.live && at < size; at += step)
        for (u32 kind = 1; kind < 16; kind++)
            if (v->hook_kinds >> kind & 1 && table_get(&v->code_hooks, hook_key(pc + at, kind), &old))
                return true;
    return false;
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
    v->hook_fn[kind] = callback;
    if (v->code_hooks.live >= MAX_HOOKS) {
        v->purge = true;
        v->limit = 0;
    }
    return true;
}

bool unhook_code_at(struct vcpu *v, u64 va, u32 kind)
{
    u64 h;

    if (!table_del(&v->code_hooks, hook_key(va, kind), &h))
        return false;
    UC.hook_del(v->uc, h);
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
    debug_hook_again(v);
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
    for (u32 i = 0; i < ITLB; i++)
        v->itlb[i].vpage = ~0ull;
    vcpu_flush_tlb(v);
}

void vcpu_drop_code(struct vcpu *v, u32 frame)
{
    u64 at = FRAME_BASE + ((u64)frame << PAGE_SHIFT);

    v->invalidate_range(v->uc, at, at + PAGE_SIZE);
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
void vcpu_sync_pc(struct vcpu *v)
{
    v->restore_state(v->cpu, *(uintptr_t *)((char *)v->cpu + CPU_MEM_IO_PC), false);
}

static u64 on_mmio_read(uc_engine *uc, u64 offset, unsigned size, void *user)
{
    struct vcpu *v = user;
    u64 value = ~0ull;

    (void)uc;
    if (offset >> PAGE_SHIFT == OPEN_BUS)
        return value;
    vcpu_sync_pc(v);
    vcpu_io(v, IO_MMIO_READ, v->m->mmio[offset >> PAGE_SHIFT] + (offset & (PAGE_SIZE - 1)), size, &value);
    return value;
}

static void on_mmio_write(uc_engine *uc, u64 offset, unsigned size, u64 value, void *user)
{
    struct vcpu *v = user;

    (void)uc;
    if (offset >> PAGE_SHIFT == OPEN_BUS)
        return;
    vcpu_sync_pc(v);
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
    v->host_halt &= halted;
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
    debug_free(m);
    s2_free(m);
    free(m);
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
    v->invalidate_range = (void (*)(uc_engine *, u64, u64))uclib_symbol("tb_invalidate_phys_range", a->suffix);
    v->restore_state = (bool (*)(void *, uintptr_t, bool))uclib_symbol("cpu_restore_state", a->suffix);
    if (!v->restore_state)
        return core_fail("libunicorn lacks cpu_restore_state_%s", a->suffix);
    v->loop_exit = (void (*)(void *))uclib_symbol("cpu_loop_exit", a->suffix);
    if (!v->loop_exit)
        return core_fail("libunicorn lacks cpu_loop_exit_%s", a->suffix);
    if (!v->invalidate_range)
        return core_fail("libunicorn lacks tb_invalidate_phys_range_%s", a->suffix);
    find_exit_switch(v, a->suffix);
    engine_exit_checks(v, false);
    return engine_add_hooks(v);
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
        v->invalidate_range(v->uc, at, at + 1);
    }
}
