/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * TLB fill: the guest's own tables (walk_<isa>.c), then stage 2. Runs inside Unicorn on every soft-TLB miss, so it never takes a
 * frame, never calls Python and never charges time (engine.md 5: how often it runs depends on the host's clock).
 *
 * Rights (engine.md 1 and 4): EXEC is granted on fetch fills and on data fills of pages that hold translated code, so that stores
 * to code stay on Unicorn's slow, invalidating path; all other data fills get R or R+W, which are fast.
 */
#include <string.h>

#include "core.h"

/* The soft TLB grows only on a flush; 100,000 fills is often enough and rare enough (engine.md 1). */
#define FILLS_PER_FLUSH 100000

void vcpu_flush_tlb(struct vcpu *v)
{
    UC.ctl(v->uc, UC_CTL_WRITE(UC_CTL_TLB_FLUSH, 0));
    v->epoch += 1ull << 32;                             /* block tags carry it: every block entered next is looked up again */
}

static inline u32 itlb_slot(u64 vpage) { return (u32)(vpage ^ vpage >> 10) & (ITLB - 1); }

/* A code page is (again) what this address means: block tags of another meaning must not match. */
static void itlb_set(struct vcpu *v, u64 va, u32 frame)
{
    u64 vpage = va >> PAGE_SHIFT;
    u32 i = itlb_slot(vpage);

    if (v->itlb[i].vpage == vpage && v->itlb[i].frame == frame && v->itlb[i].serial == v->m->frames[frame].serial)
        return;
    v->itlb[i].vpage = vpage;
    v->itlb[i].frame = frame;
    v->itlb[i].serial = v->m->frames[frame].serial;
    v->epoch += 1ull << 32;
    sense(v, va & PAGE_MASK, v->m->ram + ((size_t)frame << PAGE_SHIFT));
}

/* The code at va in its frame, or NULL. */
const u8 *mmu_code_at(struct vcpu *v, u64 va)
{
    struct machine *m = v->m;
    u64 vpage = va >> PAGE_SHIFT;
    u32 i = itlb_slot(vpage), f = v->itlb[i].frame;

    if (v->itlb[i].vpage != vpage || v->itlb[i].serial != m->frames[f].serial) {
        struct walk w;
        enum access before = v->fill_access;
        v->fill_access = ACC_FETCH;                     /* how often this walk is made is no part of the path: no accessed bits */
        enum walk_status status = m->arch->walk(v, va, ACC_FETCH, &w);
        v->fill_access = before;
        if (status != WALK_OK)
            return NULL;
        i64 index = s2_index(m, w.gpa);
        if (index < 0 || m->s2[index].state != S2_RESIDENT)
            return NULL;
        f = m->s2[index].frame;
        v->itlb[i].vpage = vpage;
        v->itlb[i].frame = f;
        v->itlb[i].serial = m->frames[f].serial;
    }
    return m->ram + ((size_t)f << PAGE_SHIFT) + (va & (PAGE_SIZE - 1));
}

/* Entering a block is what touches code, not the fetch fill (a chained jump needs none). */
static const u8 *enter_code(struct vcpu *v, u64 va)
{
    struct machine *m = v->m;
    const u8 *p = mmu_code_at(v, va);

    if (p)
        m->s2[m->frames[(size_t)(p - m->ram) >> PAGE_SHIFT].page].flags |= S2F_ACCESSED;
    return p;
}

/* The code bytes of a block that is being entered; two pages at most. */
bool mmu_code(struct vcpu *v, u64 addr, u32 size, u8 *copy, const u8 **code)
{
    u32 first = PAGE_SIZE - (u32)(addr & (PAGE_SIZE - 1));
    const u8 *p = enter_code(v, addr);

    *code = p;
    if (!p)
        return false;
    if (size <= first)
        return true;
    if (size > BLOCK_BYTES_MAX || size - first > PAGE_SIZE)
        return false;
    memcpy(copy, p, first);
    p = enter_code(v, addr + first);
    if (!p)
        return false;
    memcpy(copy + first, p, size - first);
    *code = copy;
    return true;
}

static u64 mmio_window(struct machine *m, u64 gpa)
{
    u64 page = gpa & PAGE_MASK;

    for (u32 i = 0; i < m->nmmio; i++)
        if (m->mmio[i] == page)
            return MMIO_BASE + ((u64)i << PAGE_SHIFT);
    return 0;
}

/* Every engine has its own translations, and only the slow path of the engine that stores drops them, its own (engine.md 6). So a
 * frame is either fetched by several engines and written by none, or written by one that alone may fetch it. */
static void fetching(struct vcpu *v, struct frame *f)
{
    struct machine *m = v->m;

    if (likely(f->fetchers >> v->id & 1) && likely(!f->writer || f->writer == v->id + 1))
        return;
    if (f->wgen == m->flush_gen)                        /* a fast store entry may exist: stores through it would not invalidate */
        s2_flush_all(m);
    if (f->writer && f->writer != v->id + 1) {
        vcpu_flush_tlb(m->vcpu[f->writer - 1]);
        f->writer = 0;
    }
    f->fetchers |= (u16)(1u << v->id);
}

static void writing(struct vcpu *v, u32 frame)
{
    struct machine *m = v->m;
    struct frame *f = &m->frames[frame];
    u32 others = f->fetchers & ~(1u << v->id);

    for (u32 i = 0; others; i++, others >>= 1)
        if (others & 1) {
            vcpu_drop_code(m->vcpu[i], frame);
            vcpu_flush_tlb(m->vcpu[i]);
        }
    f->fetchers &= (u16)(1u << v->id);
    if (f->fetchers)
        f->writer = (u8)(v->id + 1);
    else
        f->wgen = m->flush_gen;
}

static bool refuse(struct vcpu *v, int status, const struct walk *w, u64 va, enum access acc)
{
    v->fill_status = status;
    v->fill_walk = *w;
    v->fill_va = va;
    v->fill_access = acc;
    return false;
}

bool mmu_fill(uc_engine *uc, u64 va, uc_mem_type type, uc_tlb_entry *e, void *user)
{
    struct vcpu *v = user;
    struct machine *m = v->m;
    enum access acc = type == UC_MEM_WRITE ? ACC_WRITE : type == UC_MEM_FETCH ? ACC_FETCH : ACC_READ;
    struct walk w;

    (void)uc;
    if (unlikely(++v->fills % FILLS_PER_FLUSH == 0))
        s2_flush_all(m);
    v->fill_access = acc;
    switch (m->arch->walk(v, va, acc, &w)) {
    case WALK_OK:
        break;
    case WALK_S2:
        return refuse(v, FILL_S2, &w, va, acc);
    default:
        return refuse(v, FILL_GUEST, &w, va, acc);
    }
    i64 index = s2_index(m, w.gpa);
    if (unlikely(index < 0)) {
        u64 window = acc == ACC_FETCH ? 0 : mmio_window(m, w.gpa);
        if (!window && m->arch->open_bus && acc != ACC_FETCH)
            window = MMIO_BASE + ((u64)OPEN_BUS << PAGE_SHIFT);
        if (!window)
            return refuse(v, FILL_BUS, &w, va, acc);
        e->paddr = window;
        e->perms = w.prot & (UC_PROT_READ | UC_PROT_WRITE);
        return true;
    }
    struct s2_page *p = &m->s2[index];
    if (unlikely(p->state != S2_RESIDENT))
        return refuse(v, FILL_S2, &w, va, acc);

    u32 hidden = 0;                                     /* rights that a debugger watches */
    bool windowed = false;                              /* they go through its window */
    if (unlikely(m->watched != NULL) && (hidden = m->watched[index]) != 0) {
        if (acc != ACC_FETCH && (hidden & (acc == ACC_WRITE ? WATCH_WRITE : WATCH_READ))) {
            int how = debug_fill(v, (u32)index, acc, va);
            if (how == WATCH_REFUSE)
                return refuse(v, FILL_WATCH, &w, va, acc);
            windowed = how == WATCH_WINDOW;
        }
        hidden = v->inspecting ? 0 : (hidden & WATCH_READ ? UC_PROT_READ : 0) | (hidden & WATCH_WRITE ? UC_PROT_WRITE : 0);
    }
    struct frame *f = &m->frames[p->frame];
    u32 perms;
    if (acc == ACC_FETCH) {
        fetching(v, f);
        itlb_set(v, va, p->frame);
        perms = (w.prot & UC_PROT_READ) | UC_PROT_EXEC;
    } else {
        p->flags |= S2F_ACCESSED;
        if (acc == ACC_WRITE)
            p->flags |= S2F_DIRTY;
        perms = UC_PROT_READ;
        /* a read of a clean page is filled read-only: the first write comes back here and marks it dirty */
        if (acc == ACC_WRITE || ((w.prot & ~hidden & UC_PROT_WRITE) && (p->flags & S2F_DIRTY) && !f->fetchers && snap_has(m, p->frame))) {
            perms |= UC_PROT_WRITE;
            snap_copy(m, p->frame);
            writing(v, p->frame);
        }
        if (f->fetchers >> v->id & 1)
            perms |= acc == ACC_WRITE ? UC_PROT_EXEC : w.prot & UC_PROT_EXEC;
    }
    e->paddr = FRAME_BASE + ((u64)p->frame << PAGE_SHIFT);
    e->perms = perms & ~hidden;
    if (unlikely(windowed)) {
        e->paddr = WATCH_BASE + ((u64)index << PAGE_SHIFT);
        e->perms = acc == ACC_WRITE ? UC_PROT_WRITE : UC_PROT_READ;
    }
    return true;
}

/* --------------------------------------------------- helpers for walks and entries */

bool table_read64(struct vcpu *v, u64 gpa, u64 *val, struct walk *w)
{
    struct machine *m = v->m;
    i64 index = s2_index(m, gpa);

    w->gpa = gpa;
    if (index < 0 || (gpa & 7) || m->s2[index].state == S2_BAD) {
        w->table_error = true;
        return false;
    }
    struct s2_page *p = &m->s2[index];
    if (p->state != S2_RESIDENT) {
        w->table_error = false;
        return false;
    }
    if (v->fill_access != ACC_FETCH)                    /* see code_at() */
        p->flags |= S2F_ACCESSED;
    memcpy(val, m->ram + ((size_t)p->frame << PAGE_SHIFT) + (gpa & (PAGE_SIZE - 1)), 8);
    return true;
}

bool table_write64(struct vcpu *v, u64 gpa, u64 val)
{
    u8 *p = s2_ptr(v->m, gpa, true);

    if (!p || (gpa & 7))
        return false;
    memcpy(p, &val, 8);
    return true;
}

enum s2_result guest_translate(struct vcpu *v, u64 va, enum access acc, u64 *gpa)
{
    struct walk w;

    v->fill_access = acc;
    switch (v->m->arch->walk(v, va, acc, &w)) {
    case WALK_S2:
        v->exit.gpa = w.gpa;
        v->exit.gva = va;
        v->exit.access = acc;
        return S2_MISS;
    case WALK_FAULT:
        return S2_ERROR;
    default:
        break;
    }
    *gpa = w.gpa;
    i64 index = s2_index(v->m, w.gpa);
    if (index < 0)
        return S2_NOT_RAM;
    if (v->m->s2[index].state != S2_RESIDENT) {
        v->exit.gpa = w.gpa;
        v->exit.gva = va;
        v->exit.access = acc;
        return S2_MISS;
    }
    return S2_OK;
}

static enum s2_result guest_copy(struct vcpu *v, u64 va, u8 *in, const u8 *out, u32 len)
{
    u64 gpa;

    /* all pages first, so that a miss changes nothing */
    for (u64 page = va & PAGE_MASK; len && page - (va & PAGE_MASK) <= ((va + len - 1) & PAGE_MASK) - (va & PAGE_MASK); page += PAGE_SIZE) {
        enum s2_result r = guest_translate(v, page < va ? va : page, out ? ACC_WRITE : ACC_READ, &gpa);
        if (r != S2_OK)
            return r;
    }
    while (len) {
        u32 n = PAGE_SIZE - (u32)(va & (PAGE_SIZE - 1));
        if (n > len)
            n = len;
        if (guest_translate(v, va, out ? ACC_WRITE : ACC_READ, &gpa) != S2_OK)
            return S2_ERROR;
        u8 *p = s2_ptr(v->m, gpa, out != NULL);
        if (out) {
            memcpy(p, out, n);
            out += n;
        } else {
            memcpy(in, p, n);
            in += n;
        }
        debug_host(v->m, v, va, gpa, n, out ? WATCH_WRITE : WATCH_READ);
        va += n;
        len -= n;
    }
    return S2_OK;
}

enum s2_result guest_read(struct vcpu *v, u64 va, void *buf, u32 len) { return guest_copy(v, va, buf, NULL, len); }
enum s2_result guest_write(struct vcpu *v, u64 va, const void *buf, u32 len) { return guest_copy(v, va, NULL, buf, len); }
