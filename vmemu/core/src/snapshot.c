/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Snapshots in memory, for stepping back and for resetting an explored machine in place.
 *
 * What is copied at once is flat: the stage-2 map, the frame table, clocks, registers. Frames are copied on their first change
 * afterwards (guest stores come through a fill, because taking a snapshot flushes every soft TLB and reads of uncopied frames are
 * filled read-only). A snapshot owns the store slots that were live when it was taken: they are not handed out again before it goes.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core.h"

struct kept_vcpu {
    struct saved_vcpu saved;
    uc_context *regs;
    void *arch;
};

struct snapshot {
    struct snapshot *older;
    u32 seq;
    /* bookkeeping */
    struct s2_page *s2;
    u8 *live;                                           /* which chunks of s2 were copied: the others were as made */
    struct frame *frames;
    u32 *free_list, *slot_free;
    u32 nfree, nfree_low, hand, serial, slot_next, nslot_free;
    struct store_timing timing;
    struct s2_stats stats;
    struct table tokens, gfns;
    u32 nvcpus;
    struct kept_vcpu vcpu[MAX_VCPUS];
    /* frames as they were */
    u64 *copied;                                        /* bit per frame; free frames count as copied: nobody needs their bytes */
    u8 *pages;                                          /* nframes pages of address space, `used` of them with a copy */
    u32 *at, *kept, used;                                     /* 1 + where a frame's copy is; it stays good when the frame was put back */
    u32 *which, n;                                      /* frames changed since */
};

static bool table_copy(struct table *to, const struct table *from)
{
    size_t bytes = ((size_t)from->mask + 1) * 16;

    *to = *from;
    to->keys = malloc(bytes);
    if (to->keys)
        memcpy(to->keys, from->keys, bytes);
    return to->keys;
}

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static void unreserve(void *p, size_t bytes)
{
    if (p)
        munmap(p, bytes ? bytes : 1);
}

static void destroy(struct machine *m, struct snapshot *s)
{
    for (u32 i = 0; i < MAX_VCPUS; i++) {
        if (s->vcpu[i].regs)
            UC.context_free(s->vcpu[i].regs);
        free(s->vcpu[i].arch);
    }
    unreserve(s->s2, (size_t)m->npages * sizeof *s->s2);
    unreserve(s->frames, (size_t)m->nframes * sizeof *s->frames);
    unreserve(s->free_list, (size_t)m->nframes * sizeof *s->free_list);
    unreserve(s->slot_free, (size_t)m->nslots * sizeof *s->slot_free);
    unreserve(s->pages, (size_t)m->nframes * PAGE_SIZE);
    free(s->copied);
    free(s->which);
    free(s->at);
    free(s->kept);
    free(s->live);
    table_free(&s->tokens);
    table_free(&s->gfns);
    free(s);
}

/* A fresh snapshot costs a page fault for each page that it copies; one that was in use before does not. */
#define SPARE_PAGES 8192                                /* a spare one keeps at most so many */

static struct snapshot *create(struct machine *m)
{
    struct snapshot *s = m->spare;

    if (s) {
        m->spare = s->older;
        table_free(&s->tokens);
        table_free(&s->gfns);
        memset(s->copied, 0, (m->nframes + 63) / 64 * 8);
        for (u32 i = 0; i < s->used; i++)
            s->at[s->kept[i]] = 0;
        s->n = s->used = 0;
        return s;
    }
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->s2 = reserve((size_t)m->npages * sizeof *s->s2);
    s->frames = reserve((size_t)m->nframes * sizeof *s->frames);
    s->free_list = reserve((size_t)m->nframes * sizeof *s->free_list);
    s->slot_free = reserve((size_t)m->nslots * sizeof *s->slot_free);
    s->pages = reserve((size_t)m->nframes * PAGE_SIZE);
    s->copied = calloc((m->nframes + 63) / 64, 8);
    s->which = malloc((size_t)m->nframes * sizeof *s->which);
    s->at = calloc(m->nframes, sizeof *s->at);
    s->kept = malloc((size_t)m->nframes * sizeof *s->kept);
    s->live = malloc(m->npages / S2_CHUNK + 1);
    if (s->at && s->kept && s->live && s->s2 && s->frames && s->free_list && s->slot_free && s->pages && s->copied && s->which)
        return s;
    destroy(m, s);
    return NULL;
}

static void discard(struct machine *m, struct snapshot *s)
{
    u32 spares = 0;

    for (const struct snapshot *i = m->spare; i; i = i->older)
        spares++;
    if (spares >= 2) {
        destroy(m, s);
        return;
    }
    if (s->used > SPARE_PAGES)
        madvise(s->pages + ((size_t)SPARE_PAGES << PAGE_SHIFT), (size_t)(s->used - SPARE_PAGES) << PAGE_SHIFT, MADV_DONTNEED);
    s->older = m->spare;
    m->spare = s;
}

void snap_free(struct machine *m)
{
    while (m->snap) {
        struct snapshot *s = m->snap;
        m->snap = s->older;
        destroy(m, s);
    }
    while (m->spare) {
        struct snapshot *s = m->spare;
        m->spare = s->older;
        destroy(m, s);
    }
}

void saved_vcpu_take(struct saved_vcpu *to, struct vcpu *v)
{
    const struct block *b = current_block(v);

    memset(&to->block, 0, offsetof(struct saved_block, starts));
    to->state = v->state;
    if (!b)
        return;
    to->block = (struct saved_block){ .addr = b->addr, .n = b->n, .cost = { b->cost[0], b->cost[1] }, .size = b->size, .there = 1,
                                      .again = v->entered & 1, .has_starts = b->starts != NULL };
    if (b->starts)
        memcpy(to->block.starts, b->starts, (b->size + 63) / 64 * 8);
}

void saved_vcpu_load(const struct saved_vcpu *from, struct vcpu *v)
{
    const struct saved_block *b = &from->block;

    v->state = from->state;
    v->entered = 0;
    v->resumed = v->exact = v->rescan = v->near_limit = false;
    v->passed.set = v->inspect.set = false;
    if (b->there) {
        v->held = (struct block){ .addr = b->addr, .n = b->n, .cost = { b->cost[0], b->cost[1] }, .size = b->size };
        if (b->has_starts) {
            memcpy(v->held_starts, b->starts, sizeof v->held_starts);
            v->held.starts = v->held_starts;
        }
        v->entered = (u64)(uintptr_t)&v->held | (b->again & 1);
        if (!v->open)
            engine_block_done(v);
    }
    memset(v->itlb, 0xff, sizeof v->itlb);              /* serials are reused */
}

static bool save_vcpu(struct kept_vcpu *to, struct vcpu *v)
{
    size_t n = v->m->arch->state_size;

    saved_vcpu_take(&to->saved, v);
    if (n && !to->arch)
        to->arch = malloc(n);
    if (n && !to->arch)
        return false;
    if (n)
        memcpy(to->arch, v->arch, n);
    return (to->regs || !UC.context_alloc(v->uc, &to->regs)) && !UC.context_save(v->uc, to->regs);
}

static void load_vcpu(const struct kept_vcpu *from, struct vcpu *v)
{
    saved_vcpu_load(&from->saved, v);
    if (v->m->arch->state_size)
        memcpy(v->arch, from->arch, v->m->arch->state_size);
    UC.context_restore(v->uc, from->regs);
}

static u32 chunk_size(const struct machine *m, u32 chunk)
{
    u32 n = m->npages - chunk * S2_CHUNK;

    return n < S2_CHUNK ? n : S2_CHUNK;
}

/* Only what was ever resident: the rest is as it was made. */
static void save_s2(const struct machine *m, struct snapshot *s)
{
    for (u32 i = 0; i * S2_CHUNK < m->npages; i++) {
        s->live[i] = m->s2_live[i];
        if (s->live[i])
            memcpy(s->s2 + i * S2_CHUNK, m->s2 + i * S2_CHUNK, chunk_size(m, i) * sizeof *m->s2);
    }
}

static void load_s2(struct machine *m, const struct snapshot *s)
{
    for (u32 i = 0; i * S2_CHUNK < m->npages; i++) {
        struct s2_page *p = m->s2 + i * S2_CHUNK;
        if (s->live[i])
            memcpy(p, s->s2 + i * S2_CHUNK, chunk_size(m, i) * sizeof *p);
        else if (m->s2_live[i])
            for (u32 k = 0; k < chunk_size(m, i); k++)
                p[k] = (struct s2_page){ .state = S2_ZERO, .frame = NO_FRAME, .slot = NO_SLOT };
        m->s2_live[i] = s->live[i];
    }
}

struct snapshot *snap_take(struct machine *m)
{
    struct snapshot *s = create(m);
    bool ok = s && table_copy(&s->tokens, &m->tokens) && table_copy(&s->gfns, &m->gfns);

    for (u32 i = 0; ok && i < m->nvcpus; i++)
        ok = save_vcpu(&s->vcpu[i], m->vcpu[i]);
    if (!ok) {
        if (s)
            destroy(m, s);
        core_fail("no memory for a snapshot");
        return NULL;
    }
    s->seq = m->snap ? m->snap->seq + 1 : 1;
    s->nvcpus = m->nvcpus;
    save_s2(m, s);
    memcpy(s->frames, m->frames, (size_t)(m->nframes - m->nfree_low) * sizeof *m->frames);
    memcpy(s->free_list + m->nfree_low, m->free_list + m->nfree_low, (size_t)(m->nfree - m->nfree_low) * sizeof *m->free_list);
    s->nfree_low = m->nfree_low;
    if (m->slot_free)
        memcpy(s->slot_free, m->slot_free, (size_t)m->nslot_free * sizeof *m->slot_free);
    s->nfree = m->nfree, s->hand = m->hand, s->serial = m->serial;
    s->slot_next = m->slot_next, s->nslot_free = m->nslot_free;
    s->timing = m->timing;
    s->stats = m->stats;
    for (u32 i = 0; i < m->nfree; i++) {                /* free frames count as copied, unless an older snapshot wants them */
        u32 f = m->free_list[i];
        if (snap_has(m, f))
            s->copied[f / 64] |= 1ull << f % 64;
    }
    s->older = m->snap;
    m->snap = s;
    s2_flush_all(m);
    return s;
}

bool snap_has(const struct machine *m, u32 f) { return !m->snap || m->snap->copied[f / 64] >> f % 64 & 1; }
u32 snap_seq(const struct machine *m) { return m->snap ? m->snap->seq : 0; }
bool snap_owns_slot(const struct machine *m, u32 slot) { return m->snap && m->slot_born[slot] < m->snap->seq; }
u32 snap_pages(const struct snapshot *s) { return s->n; }

static u8 *copy_of(const struct snapshot *s, u32 f) { return s->pages + ((size_t)(s->at[f] - 1) << PAGE_SHIFT); }

/* The frame has changed; the first time, what it held is copied. */
static void keep(struct snapshot *s, u32 f, const u8 *was)
{
    if (!s->at[f]) {
        s->kept[s->used] = f;
        s->at[f] = ++s->used;
        memcpy(copy_of(s, f), was, PAGE_SIZE);
    }
    s->which[s->n++] = f;
}

void snap_copy(struct machine *m, u32 f)
{
    struct snapshot *s = m->snap;

    if (snap_has(m, f))
        return;
    s->copied[f / 64] |= 1ull << f % 64;
    keep(s, f, m->ram + ((size_t)f << PAGE_SHIFT));
}

static bool in_chain(const struct machine *m, const struct snapshot *s)
{
    for (const struct snapshot *i = m->snap; i; i = i->older)
        if (i == s)
            return true;
    return false;
}

/* Frames back to what they were when s was taken; s must be the newest. */
static void undo(struct machine *m, struct snapshot *s)
{
    for (u32 i = 0; i < s->n; i++) {
        u32 f = s->which[i];
        if (m->frames[f].fetchers) {
            s2_drop_code(m, f);
            m->frames[f].fetchers = 0;
        }
        memcpy(m->ram + ((size_t)f << PAGE_SHIFT), copy_of(s, f), PAGE_SIZE);
        s->copied[f / 64] &= ~(1ull << f % 64);
    }
    s->n = 0;
}

/* Who holds translations of a frame is a fact of the engines, not of the past. */
static void load_frames(struct machine *m, const struct snapshot *s)
{
    static const struct frame unused = { .page = NO_FRAME };

    for (u32 f = 0; f < m->nframes - m->nfree_low; f++) {
        const struct frame *was = f < m->nframes - s->nfree_low ? &s->frames[f] : &unused;
        u16 fetchers = m->frames[f].fetchers;
        if (fetchers && (m->frames[f].page != was->page || m->frames[f].serial != was->serial)) {
            s2_drop_code(m, f);                         /* another page's code */
            fetchers = 0;
        }
        m->frames[f] = (struct frame){ .page = was->page, .serial = was->serial, .fetchers = fetchers };
    }
    for (u32 i = m->nfree_low; i < s->nfree_low; i++)
        m->free_list[i] = m->nframes - 1 - i;
    memcpy(m->free_list + s->nfree_low, s->free_list + s->nfree_low, (size_t)(s->nfree - s->nfree_low) * sizeof *m->free_list);
    m->nfree_low = s->nfree_low;
}

int snap_restore(struct machine *m, struct snapshot *s)
{
    struct table tokens, gfns;

    if (!in_chain(m, s) || s->nvcpus != m->nvcpus)
        return core_fail("that snapshot is not of this machine, or is gone");
    if (!table_copy(&tokens, &s->tokens) || !table_copy(&gfns, &s->gfns))
        return core_fail("no memory to restore a snapshot");
    while (m->snap != s) {
        struct snapshot *newer = m->snap;
        undo(m, newer);
        m->snap = newer->older;
        discard(m, newer);
    }
    undo(m, s);
    s2_flush_all(m);
    load_s2(m, s);
    load_frames(m, s);
    if (m->slot_free)
        memcpy(m->slot_free, s->slot_free, (size_t)s->nslot_free * sizeof *m->slot_free);
    m->nfree = s->nfree, m->hand = s->hand, m->serial = s->serial;
    m->slot_next = s->slot_next, m->nslot_free = s->nslot_free;
    m->timing = s->timing;
    m->stats = s->stats;
    table_free(&m->tokens);
    table_free(&m->gfns);
    m->tokens = tokens, m->gfns = gfns;
    m->ndropped = 0;
    for (u32 i = 0; i < m->nvcpus; i++)
        load_vcpu(&s->vcpu[i], m->vcpu[i]);
    return 0;
}

/* Slots that no page and no snapshot refers to are free again. The lists of free slots of older snapshots lack them: after going back
 * there they are found anew. */
void snap_sweep_slots(struct machine *m)
{
    u8 *used = calloc((size_t)m->slot_next + 1, 1);

    if (!used)
        return;                                         /* another time */
    for (u32 i = 0; i < m->npages; i++)
        if (m->s2[i].slot < m->slot_next)
            used[m->s2[i].slot] = 1;
    for (const struct snapshot *s = m->snap; s; s = s->older)
        for (u32 i = 0; i < m->npages; i++)
            if (s->live[i / S2_CHUNK] && s->s2[i].slot < m->slot_next)
                used[s->s2[i].slot] = 1;
    for (u32 i = 0; i < m->nslot_free; i++)
        used[m->slot_free[i]] = 1;
    for (u32 i = m->slot_next; i-- > 0;)
        if (!used[i])
            m->slot_free[m->nslot_free++] = i;
    free(used);
}

u32 snap_spare_slots(struct machine *m)
{
    if (!m->c_store)
        return ~0u;                                     /* Python keeps them */
    if (m->nslots - m->slot_next + m->nslot_free <= m->npages)
        snap_sweep_slots(m);
    return m->nslots - m->slot_next + m->nslot_free;
}

/* Its frame copies go to the next older snapshot, which needs those it has not made itself; the slots that only it owned are lost to
 * the run until they are swept up, or an older one is restored. */
int snap_drop(struct machine *m, struct snapshot *s)
{
    struct snapshot **at = &m->snap;

    if (!in_chain(m, s))
        return core_fail("that snapshot is gone");
    while (*at != s)
        at = &(*at)->older;
    *at = s->older;
    if (s->older)
        for (u32 i = 0; i < s->n; i++) {
            struct snapshot *o = s->older;
            u32 f = s->which[i];
            if (o->copied[f / 64] >> f % 64 & 1)
                continue;
            o->copied[f / 64] |= 1ull << f % 64;
            keep(o, f, copy_of(s, f));
        }
    discard(m, s);
    s2_flush_all(m);                                    /* what the older one has not copied must be filled read-only again */
    return 0;
}
