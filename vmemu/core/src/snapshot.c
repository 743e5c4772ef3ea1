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

struct saved_vcpu {
    struct vcpu_state state;
    struct block block;
    u64 starts[(BLOCK_BYTES_MAX + 63) / 64];
    u8 entered, has_block;
    uc_context *regs;
    void *arch;
};

struct snapshot {
    struct snapshot *older;
    u32 seq;
    /* bookkeeping */
    struct s2_page *s2;
    struct frame *frames;
    u32 *free_list, *slot_free;
    u32 nfree, hand, serial, slot_next, nslot_free;
    struct store_timing timing;
    struct s2_stats stats;
    struct table tokens, gfns;
    u32 nvcpus;
    struct saved_vcpu vcpu[MAX_VCPUS];
    /* frames as they were */
    u64 *copied;                                        /* bit per frame; free frames count as copied: nobody needs their bytes */
    u8 *pages;                                          /* nframes pages of address space */
    u32 *which, n;
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

static void *clone(const void *from, size_t n)
{
    void *p = malloc(n ? n : 1);

    if (p)
        memcpy(p, from, n);
    return p;
}

static void discard(struct snapshot *s, u32 nframes)
{
    for (u32 i = 0; i < s->nvcpus; i++) {
        if (s->vcpu[i].regs)
            UC.context_free(s->vcpu[i].regs);
        free(s->vcpu[i].arch);
    }
    free(s->s2);
    free(s->frames);
    free(s->free_list);
    free(s->slot_free);
    free(s->copied);
    free(s->which);
    table_free(&s->tokens);
    table_free(&s->gfns);
    if (s->pages)
        munmap(s->pages, (size_t)nframes * PAGE_SIZE);
    free(s);
}

static bool save_vcpu(struct saved_vcpu *to, struct vcpu *v)
{
    const struct block *b = current_block(v);

    to->state = v->state;
    to->has_block = b != NULL;
    to->entered = v->entered & 1;
    if (b) {
        to->block = *b;
        if (b->starts)
            memcpy(to->starts, b->starts, (b->size + 63) / 64 * 8);
    }
    to->arch = clone(v->arch, v->m->arch->state_size);
    return to->arch && !UC.context_alloc(v->uc, &to->regs) && !UC.context_save(v->uc, to->regs);
}

static void load_vcpu(const struct saved_vcpu *from, struct vcpu *v)
{
    v->state = from->state;
    v->entered = 0;
    v->resumed = v->exact = v->rescan = v->kicked = v->near_limit = false;
    if (from->has_block) {
        v->held = from->block;
        if (from->block.starts) {
            memcpy(v->held_starts, from->starts, sizeof v->held_starts);
            v->held.starts = v->held_starts;
        }
        v->entered = (u64)(uintptr_t)&v->held | from->entered;
        if (!v->open)
            engine_block_done(v);
    }
    if (v->arch)
        memcpy(v->arch, from->arch, v->m->arch->state_size);
    UC.context_restore(v->uc, from->regs);
    for (u32 i = 0; i < ITLB; i++)                      /* serials are reused */
        v->itlb[i].vpage = ~0ull;
}

struct snapshot *snap_take(struct machine *m)
{
    struct snapshot *s = calloc(1, sizeof *s);
    bool ok = s;

    if (!s)
        return NULL;
    s->seq = m->snap ? m->snap->seq + 1 : 1;
    s->s2 = clone(m->s2, (size_t)m->npages * sizeof *m->s2);
    s->frames = clone(m->frames, (size_t)m->nframes * sizeof *m->frames);
    s->free_list = clone(m->free_list, (size_t)m->nfree * sizeof *m->free_list);
    s->slot_free = clone(m->slot_free ? m->slot_free : (u32 *)m, (size_t)m->nslot_free * sizeof *m->slot_free);
    s->copied = calloc((m->nframes + 63) / 64, 8);
    s->which = malloc((size_t)m->nframes * sizeof *s->which);
    s->pages = mmap(NULL, (size_t)m->nframes * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->pages == MAP_FAILED)
        s->pages = NULL;
    ok = s->s2 && s->frames && s->free_list && s->slot_free && s->copied && s->which && s->pages &&
         table_copy(&s->tokens, &m->tokens) && table_copy(&s->gfns, &m->gfns);
    for (; ok && s->nvcpus < m->nvcpus; s->nvcpus++)
        ok = save_vcpu(&s->vcpu[s->nvcpus], m->vcpu[s->nvcpus]);
    if (!ok) {
        discard(s, m->nframes);
        core_fail("no memory for a snapshot");
        return NULL;
    }
    s->nfree = m->nfree, s->hand = m->hand, s->serial = m->serial;
    s->slot_next = m->slot_next, s->nslot_free = m->nslot_free;
    s->timing = m->timing;
    s->stats = m->stats;
    for (u32 f = 0; f < m->nframes; f++)
        if (m->frames[f].page == NO_FRAME && snap_has(m, f))    /* nor by an older snapshot */
            s->copied[f / 64] |= 1ull << f % 64;
    s->older = m->snap;
    m->snap = s;
    s2_flush_all(m);
    return s;
}

bool snap_has(const struct machine *m, u32 f) { return !m->snap || m->snap->copied[f / 64] >> f % 64 & 1; }
u32 snap_seq(const struct machine *m) { return m->snap ? m->snap->seq : 0; }
bool snap_owns_slot(const struct machine *m, u32 slot) { return m->snap && m->slot_born[slot] < m->snap->seq; }
u32 snap_pages(const struct snapshot *s) { return s->n; }

void snap_copy(struct machine *m, u32 f)
{
    struct snapshot *s = m->snap;

    if (snap_has(m, f))
        return;
    s->copied[f / 64] |= 1ull << f % 64;
    memcpy(s->pages + ((size_t)s->n << PAGE_SHIFT), m->ram + ((size_t)f << PAGE_SHIFT), PAGE_SIZE);
    s->which[s->n++] = f;
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
        s2_drop_code(m, f);
        m->frames[f].fetchers = 0;
        memcpy(m->ram + ((size_t)f << PAGE_SHIFT), s->pages + ((size_t)i << PAGE_SHIFT), PAGE_SIZE);
        s->copied[f / 64] &= ~(1ull << f % 64);
    }
    s->n = 0;
}

/* Who holds translations of a frame is a fact of the engines, not of the past. */
static void load_frames(struct machine *m, const struct snapshot *s)
{
    for (u32 f = 0; f < m->nframes; f++) {
        if (m->frames[f].page != s->frames[f].page || m->frames[f].serial != s->frames[f].serial) {
            s2_drop_code(m, f);                         /* another page's code */
            m->frames[f].fetchers = 0;
        }
        u16 fetchers = m->frames[f].fetchers;
        m->frames[f] = s->frames[f];
        m->frames[f].fetchers = fetchers;
        m->frames[f].writer = 0;
        m->frames[f].wgen = 0;
    }
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
        discard(newer, m->nframes);
    }
    undo(m, s);
    s2_flush_all(m);
    memcpy(m->s2, s->s2, (size_t)m->npages * sizeof *m->s2);
    load_frames(m, s);
    memcpy(m->free_list, s->free_list, (size_t)s->nfree * sizeof *m->free_list);
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

/* Its frame copies go to the next older snapshot, which needs those it has not made itself; the slots that only it owned are lost to
 * the run until an older one is restored. */
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
            memcpy(o->pages + ((size_t)o->n << PAGE_SHIFT), s->pages + ((size_t)i << PAGE_SHIFT), PAGE_SIZE);
            o->which[o->n++] = f;
        }
    discard(s, m->nframes);
    s2_flush_all(m);                                    /* what the older one has not copied must be filled read-only again */
    return 0;
}
