/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Traps for a debugger: breakpoints and watchpoints. They stop a run exactly and are no part of the guest's path: whatever is set,
 * instructions, time and memory are those of a run without.
 *
 * A breakpoint is an address hook (vcpu.c), the first one of its address. It stops as an exact stop does, its block stays open.
 *
 * A watched page never has the watched right in a soft TLB. It is filled as a window of device memory (WATCH_BASE) instead, whose
 * callbacks do what the access wants, unless it comes near to watched bytes: then nothing more of the instruction happens. Neither do
 * they know which bytes it wants in all (what is not aligned comes in pieces), nor what it will touch after that. So that one
 * instruction is run again alone, translated with memory hooks: they tell each access before it is made, and one to watched bytes is
 * cut short there. If none is, the instruction is complete, and nobody has noticed. Pages that hold translated code are not windows:
 * a store there is refused at once, and the instruction looked at alone.
 *
 * The engine's and the host's own accesses (exception entry, copy, devices) are told after they were made, at the next block.
 */
#include <stdlib.h>
#include <string.h>

#include "api.h"

#define HOOK_BREAK 14                                   /* for hook_code_at() */

static u32 bit_of(enum access acc) { return acc == ACC_WRITE ? WATCH_WRITE : acc == ACC_READ ? WATCH_READ : 0; }

/* The watches that an access meets, as bits. */
static u64 watches_at(const struct machine *m, u64 gpa, u64 size, u32 access)
{
    u64 met = 0;

    for (u32 i = 0; i < MAX_WATCHES; i++) {
        const struct watch *w = &m->debug.watch[i];
        if (w->access & access && gpa < w->gpa + w->size && w->gpa < gpa + size)
            met |= 1ull << i;
    }
    return met;
}

static void tell(struct machine *m, struct trap t)
{
    if (m->debug.stop || m->debug.off)                  /* the first one counts */
        return;
    m->debug.pending = t;
    m->debug.stop = true;
    if (m->current && m->current->running)
        m->current->limit = 0;
}

/* The run ends here; what trap.kind says is Python's to take. */
static void told(struct vcpu *v, struct trap t)
{
    v->m->debug.trap = t;
    v->debug_open = v->open;
}

/* ----------------------------------------------------------- breakpoints */

static bool here(const struct debug_place *p, u64 insns, u64 pc) { return p->set && p->insns == insns && p->pc == pc; }

static bool has_break(const struct machine *m, u64 va)
{
    u64 one;

    return m->debug.breaks.keys && table_get(&m->debug.breaks, va + 1, &one);
}

static void on_break(uc_engine *uc, u64 addr, u32 size, struct vcpu *v)
{
    struct debug *d = &v->m->debug;
    u64 at = vcpu_insns_inside(v);

    (void)size;
    if (v->until.set && v->until.insns == at && !v->until_settled && v->until_cycles == vcpu_now(v)) {
        v->trap_kind = TRAP_ASKED;
        UC.emu_stop(uc);
    } else if (!d->off && !here(&v->passed, at, addr) && has_break(v->m, addr)) {
        v->trap_kind = TRAP_BREAK;
        UC.emu_stop(uc);
    }
}

static void hook_break(struct vcpu *v, u64 va) { hook_code_at(v, va, HOOK_BREAK, (void *)on_break); }

/* After every hook was dropped (engine_purge_hooks). */
void debug_hook_again(struct vcpu *v)
{
    const struct table *t = &v->m->debug.breaks;

    for (u32 i = 0; t->keys && i <= t->mask; i++)
        if (t->keys[2 * i])
            hook_break(v, t->keys[2 * i] - 1);
    if (v->until.set)
        hook_break(v, v->until.pc);
}

/* Hooks run in the order of adding, and one that emulates its instruction must come after the breakpoint. */
static void put_hook(struct vcpu *v, u64 va)
{
    u32 again = 0;

    for (u32 kind = 1; kind < 16; kind++)
        if (unhook_code_at(v, va, kind))
            again |= 1u << kind;
    hook_break(v, va);
    for (u32 kind = 1; kind < 16; kind++)
        if (again >> kind & 1 && kind != HOOK_BREAK)
            hook_code_at(v, va, kind, v->hook_fn[kind]);
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));    /* the address may be translated in several address spaces */
}

static void take_hook(struct vcpu *v, u64 va)
{
    if (has_break(v->m, va) || (v->until.set && v->until.pc == va))
        return;
    unhook_code_at(v, va, HOOK_BREAK);
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
}

int debug_break(struct machine *m, u64 va, bool set)
{
    struct debug *d = &m->debug;
    u64 old;

    if (va == ~0ull || (!d->breaks.keys && table_init(&d->breaks, 8)))
        return core_fail("no breakpoint can be at %#llx", (unsigned long long)va);
    if (set && d->breaks.live >= MAX_BREAKS)
        return core_fail("more than %d breakpoints", MAX_BREAKS);
    if (set ? table_put(&d->breaks, va + 1, 1) < 0 : !table_del(&d->breaks, va + 1, &old))
        return core_fail("no breakpoint at %#llx", (unsigned long long)va);
    for (u32 i = 0; i < m->nvcpus; i++)
        (set ? put_hook : take_hook)(m->vcpu[i], va);
    return 0;
}

void debug_pass(struct vcpu *v)
{
    v->passed = (struct debug_place){ .set = true, .insns = vcpu_insns(v), .pc = v->m->arch->get_pc(v) };
}

/* Stop where the vCPU's index, time and state are these; an instant that an exact stop cannot name (an interrupt was taken there). */
void debug_until(struct vcpu *v, bool set, u64 insns, u64 cycles, bool settled, u64 pc)
{
    struct debug_place was = v->until;

    v->until = (struct debug_place){ .set = set, .insns = insns, .pc = pc };
    v->until_cycles = cycles;
    v->until_settled = settled;
    if (was.set)
        take_hook(v, was.pc);
    if (set && !settled)
        put_hook(v, pc);
}

/* ----------------------------------------------------------- watchpoints */

static void mark_pages(struct machine *m)
{
    struct debug *d = &m->debug;
    bool any = false;

    memset(d->pages, 0, m->npages);
    for (u32 i = 0; i < MAX_WATCHES; i++) {
        const struct watch *w = &d->watch[i];
        for (u64 page = w->gpa & PAGE_MASK; w->access && page < w->gpa + w->size; page += PAGE_SIZE) {
            d->pages[s2_index(m, page)] |= (u8)w->access;
            any = true;
        }
    }
    m->watched = any && !d->off ? d->pages : NULL;
    for (u32 i = 0; i < m->nvcpus; i++)
        UC.ctl(m->vcpu[i]->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
}

/* Instructions whose helpers test the whole range and then write without telling: how many bytes from the address they tested. */
static u32 span(struct vcpu *v)
{
    const u8 *code = mmu_code_at(v, v->m->arch->get_pc(v));
    u32 insn;

    if (!code || v->m->arch->uc_arch == UC_ARCH_X86)
        return 0;
    memcpy(&insn, code, 4);
    if (v->m->arch->uc_arch == UC_ARCH_ARM64)
        return (insn & 0xffffffe0) == 0xd50b7420 ? 64 : 0;          /* DC ZVA; DCZID_EL0 says 64 bytes */
    if (v->m->arch->code_mode && !v->m->arch->code_mode(v))
        insn = __builtin_bswap32(insn);
    if ((insn & 0xfc0007fe) == 0x7c0007ec)                          /* dcbz */
        return 128;
    if (insn >> 26 == 46 || insn >> 26 == 47)                       /* lmw, stmw */
        return 4 * (32 - (insn >> 21 & 31));
    if ((insn & 0xfc0006fe) == 0x7c0004aa)                          /* lswi, lswx, stswi, stswx */
        return 128;
    return 0;
}

static struct trap watch_trap(struct vcpu *v, u64 va, u64 gpa, u32 size, u32 access)
{
    return (struct trap){ .kind = TRAP_WATCH, .vcpu = v->id, .pc = v->m->arch->get_pc(v), .va = va, .gpa = gpa, .size = size,
                          .access = access };
}

/* ------------------------------------------------------------ the window */

/* Whatever instruction touches one of so many bytes beside a watched one is looked at alone: pieces of an access that is not aligned,
 * and both halves of a compare-and-swap of 16 bytes, lie within. Nothing of it has been written then. */
#define NEAR 16

/* The watched bytes are near: leave the instruction before this access is made. Returns when there is no need. */
static void near(struct vcpu *v, u64 gpa, u32 size, u32 access)
{
    u64 from = gpa < NEAR ? 0 : gpa - NEAR;

    if (likely(!watches_at(v->m, from, gpa + size + NEAR - from, access)))
        return;
    vcpu_sync_pc(v);
    if (span(v) && !watches_at(v->m, gpa, size, access))    /* each piece counts for itself, and may be made again */
        return;
    v->near_watch = true;
    v->watch_hit = watch_trap(v, 0, gpa, size, access);
    UC.emu_stop(v->uc);
    v->loop_exit(v->cpu);
}

static u8 *behind(struct vcpu *v, u64 offset, u64 *gpa)
{
    u32 page = (u32)(offset >> PAGE_SHIFT);

    *gpa = s2_gpa(v->m, page) + (offset & (PAGE_SIZE - 1));
    return v->m->ram + ((size_t)v->m->s2[page].frame << PAGE_SHIFT) + (offset & (PAGE_SIZE - 1));
}

static u64 on_window_read(uc_engine *uc, u64 offset, unsigned size, void *user)
{
    struct vcpu *v = user;
    u64 gpa, value = 0;
    const u8 *from = behind(v, offset, &gpa);

    (void)uc;
    near(v, gpa, size, WATCH_READ);
    memcpy(&value, from, size);
    return v->m->arch->big_endian ? __builtin_bswap64(value) >> (64 - 8 * size) : value;
}

static void on_window_write(uc_engine *uc, u64 offset, unsigned size, u64 value, void *user)
{
    struct vcpu *v = user;
    u64 gpa;
    u8 *to = behind(v, offset, &gpa);

    (void)uc;
    near(v, gpa, size, WATCH_WRITE);
    if (v->m->arch->big_endian)
        value = __builtin_bswap64(value) >> (64 - 8 * size);
    memcpy(to, &value, size);
}

static bool open_windows(struct machine *m)
{
    for (u32 i = 0; i < m->nvcpus; i++) {
        struct vcpu *v = m->vcpu[i];
        if (!v->windowed && UC.mmio_map(v->uc, WATCH_BASE, (size_t)m->npages * PAGE_SIZE, on_window_read, v, on_window_write, v))
            return false;
        v->windowed = true;
    }
    return true;
}

/* The number of the watch, or -1. The range is RAM. */
int debug_watch(struct machine *m, u64 gpa, u64 size, u32 access)
{
    struct debug *d = &m->debug;

    if (!d->pages)
        d->pages = calloc(m->npages + 1, 1);
    if (!d->pages || !open_windows(m) || !size || gpa + size < gpa || !(access & (WATCH_READ | WATCH_WRITE)))
        return core_fail("bad watchpoint");
    for (u64 page = gpa & PAGE_MASK; page < gpa + size; page += PAGE_SIZE)
        if (s2_index(m, page) < 0)
            return core_fail("%#llx is not RAM", (unsigned long long)page);
    for (u32 i = 0; i < MAX_WATCHES; i++)
        if (!d->watch[i].access) {
            d->watch[i] = (struct watch){ .gpa = gpa, .size = size, .access = access };
            mark_pages(m);
            return (int)i;
        }
    return core_fail("more than %d watchpoints", MAX_WATCHES);
}

void debug_unwatch(struct machine *m, u32 number)
{
    if (number < MAX_WATCHES && m->debug.pages) {
        m->debug.watch[number] = (struct watch){ 0 };
        mark_pages(m);
    }
}

void debug_switch(struct machine *m, bool on)
{
    m->debug.off = !on;
    m->debug.stop = false;
    if (m->debug.pages)
        mark_pages(m);
}

static bool inspected(struct vcpu *v) { return here(&v->inspect, vcpu_insns(v), v->m->arch->get_pc(v)); }

/* One access of the instruction that runs alone. True: it must not be made. */
static bool meets(struct vcpu *v, u64 va, u64 gpa, u32 size, u32 access)
{
    u64 met = watches_at(v->m, gpa, size, access) & ~v->inspect_passed;

    if (!met)
        return false;
    v->inspect_passed |= met;
    v->trap_kind = TRAP_WATCH;
    v->watch_hit = watch_trap(v, va, gpa, size, access);
    return true;
}

/* From mmu_fill(), for a page that is watched for this access. */
int debug_fill(struct vcpu *v, u32 page, enum access acc, u64 va)
{
    u32 spill = v->inspect_spill;

    if (!v->inspecting)
        return v->windowed && !v->m->frames[v->m->s2[page].frame].fetchers ? WATCH_WINDOW : WATCH_REFUSE;
    v->inspect_va[page % INSPECT_PAGES] = va & PAGE_MASK;
    v->inspect_spill = 0;
    return spill && meets(v, va & PAGE_MASK, s2_gpa(v->m, page), spill, bit_of(acc)) ? WATCH_REFUSE : WATCH_FILL;
}

/* Is the instruction that runs alone one that compares and stores two halves of 16 bytes? They cannot be told one by one: with the first
 * one stored it would fail when it is run again. */
static bool paired(struct vcpu *v)
{
    const u8 *code = mmu_code_at(v, v->inspect.pc);
    u32 insn, left = PAGE_SIZE - (u32)(v->inspect.pc & (PAGE_SIZE - 1));

    if (!code)
        return false;
    if (v->m->arch->uc_arch == UC_ARCH_X86) {           /* prefixes, 0f c7 /1 */
        for (u32 i = 0; i + 2 < left && i < 6; i++)
            if (code[i] == 0x0f)
                return code[i + 1] == 0xc7 && (code[i + 2] >> 3 & 7) == 1;
        return false;
    }
    memcpy(&insn, code, 4);
    if (v->m->arch->uc_arch == UC_ARCH_ARM64)           /* CASP, STXP */
        return (insn & 0xbfa07c00) == 0x08207c00 || (insn & 0xffe00000) == 0xc8200000;
    if (!v->m->arch->code_mode(v))
        insn = __builtin_bswap32(insn);
    return (insn & 0xfc0007ff) == 0x7c00016d;           /* stqcx. */
}

static void on_access(uc_engine *uc, uc_mem_type type, u64 addr, int size, i64 value, void *user)
{
    struct vcpu *v = user;
    u64 frame = (addr - FRAME_BASE) >> PAGE_SHIFT;
    u32 first = PAGE_SIZE - (u32)(addr & (PAGE_SIZE - 1)), n = (u32)size < first ? (u32)size : first;

    (void)value;
    v->inspect_spill = (u32)size - n;                   /* on the next page, which is filled next */
    if (frame >= v->m->nframes || v->m->frames[frame].page == NO_FRAME)
        return;
    u32 page = v->m->frames[frame].page;
    u64 off = addr & (PAGE_SIZE - 1);
    if (type == UC_MEM_WRITE && size == 8 && paired(v))
        off &= ~15ull, n = 16;
    if (!v->m->watched || !v->m->watched[page] ||
        !meets(v, v->inspect_va[page % INSPECT_PAGES] + off, s2_gpa(v->m, page) + off, n, type == UC_MEM_WRITE ? WATCH_WRITE : WATCH_READ))
        return;
    UC.emu_stop(uc);
    v->loop_exit(v->cpu);                               /* PC was made exact for this hook; the access is not made */
}

/* The instruction at PC runs alone now? Then add the hooks that see what it touches. */
bool debug_inspect_begin(struct vcpu *v)
{
    if (likely(!v->inspect.set))
        return false;
    if (!inspected(v) || !v->m->watched || !v->open) {
        v->inspect.set = false;
        return false;
    }
    v->inspecting = true;
    v->inspect_spill = 0;
    if (UC.hook_add(v->uc, &v->inspect_hook, UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access, v, 1, 0))
        v->inspect_hook = 0;
    return true;
}

void debug_inspect_end(struct vcpu *v)
{
    v->inspecting = false;
    if (v->inspect_hook)
        UC.hook_del(v->uc, v->inspect_hook);
    v->inspect_hook = 0;
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));   /* what it was let through */
}

/* ------------------------------------------------- for run.c */

/* A fill was refused for a watch. EXIT_NONE: look closer. */
static int refused(struct vcpu *v)
{
    u32 wide;

    bool window = v->near_watch;

    v->near_watch = false;
    v->debug_open = v->open;                            /* no event here: without the watch there would be no stop */
    if (!inspected(v)) {
        v->inspect = (struct debug_place){ .set = true, .insns = vcpu_insns(v), .pc = v->m->arch->get_pc(v) };
        v->inspect_passed = 0;
    }
    if ((wide = span(v)) && window)                     /* its pieces come through the window */
        meets(v, 0, v->watch_hit.gpa, v->watch_hit.size, v->watch_hit.access);
    else if (wide) {
        u64 va = engine_fault_address(v), off = va & (PAGE_SIZE - 1);
        meets(v, va, (v->fill_walk.gpa & PAGE_MASK) + off, wide < PAGE_SIZE - off ? wide : (u32)(PAGE_SIZE - off), bit_of(v->fill_access));
    }
    return EXIT_NONE;
}

/* After a run ended inside a block. EXIT_DEBUG: a trap did it; EXIT_NONE: not, or it was nothing. */
int debug_stopped(struct vcpu *v, bool faulted, bool *ours)
{
    u32 kind;

    *ours = (faulted && v->fill_status == FILL_WATCH) || v->near_watch;
    if (*ours && !v->trap_kind)
        refused(v);
    kind = v->trap_kind;
    if (likely(!kind))
        return EXIT_NONE;
    *ours = true;
    v->trap_kind = TRAP_NONE;
    if (kind == TRAP_WATCH) {
        told(v, v->watch_hit);
        return EXIT_DEBUG;
    }
    told(v, (struct trap){ .kind = kind, .vcpu = v->id, .pc = v->m->arch->get_pc(v) });
    if (kind == TRAP_BREAK)
        debug_pass(v);
    return EXIT_DEBUG;
}

/* Between two steps of the run loop: has the host met a watch, or is this the instant that debug_until() names? */
bool debug_due(struct vcpu *v)
{
    struct debug *d = &v->m->debug;

    if (unlikely(v->until.set) && v->until_settled && vcpu_settled(v) && v->until.insns == vcpu_insns(v) &&
        v->until_cycles == vcpu_now(v) && v->until.pc == v->m->arch->get_pc(v)) {
        d->trap = (struct trap){ .kind = TRAP_ASKED, .vcpu = v->id, .pc = v->until.pc };
        return true;
    }
    if (likely(!d->stop))
        return false;
    d->trap = d->pending;
    d->stop = false;
    return true;
}

bool debug_take(struct machine *m, struct trap *out)
{
    struct debug *d = &m->debug;

    if (!d->trap.kind && d->stop) {
        d->trap = d->pending;
        d->stop = false;
    }
    *out = d->trap;
    d->trap.kind = TRAP_NONE;
    return out->kind != TRAP_NONE;
}

/* ------------------------------------------------- accesses that no instruction makes */

void debug_host(struct machine *m, struct vcpu *v, u64 va, u64 gpa, u64 size, u32 access)
{
    if (likely(!m->watched) || !watches_at(m, gpa, size, access))
        return;
    tell(m, (struct trap){ .kind = TRAP_WATCH, .vcpu = v ? v->id : NO_VCPU, .pc = v ? v->m->arch->get_pc(v) : 0, .va = va, .gpa = gpa,
                           .size = (u32)size, .access = access, .by_host = true });
}

void debug_ask(struct machine *m)
{
    tell(m, (struct trap){ .kind = TRAP_ASKED, .vcpu = m->current ? m->current->id : NO_VCPU });
}

void debug_free(struct machine *m)
{
    table_free(&m->debug.breaks);
    free(m->debug.pages);
}

/* The bytes of the block that is open have changed: what was decoded of it says nothing about what runs next. */
void debug_code_written(struct machine *m, u64 gpa, u64 size)
{
    for (u32 i = 0; i < m->nvcpus; i++) {
        struct vcpu *v = m->vcpu[i];
        for (u64 at = gpa & PAGE_MASK; v->open && at < gpa + size; at += PAGE_SIZE) {
            const u8 *written = s2_ptr(m, at, false), *first = mmu_code_at(v, v->held.addr),
                     *last = mmu_code_at(v, v->held.addr + v->held.size - 1);
            if (written && ((first && !(((size_t)(first - m->ram) ^ (size_t)(written - m->ram)) >> PAGE_SHIFT)) ||
                            (last && !(((size_t)(last - m->ram) ^ (size_t)(written - m->ram)) >> PAGE_SHIFT))))
                vcpu_close_block(v, vcpu_executed(v));
        }
    }
}
