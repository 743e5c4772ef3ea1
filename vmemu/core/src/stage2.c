/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stage 2: guest page -> host frame. States, second-chance reclaim, and the built-in `ram:` store.
 *
 * Everything here is a function of the instruction path: accessed bits are exact because a reclaim that clears one also flushes
 * every soft TLB and every block-cache tag (engine.md 5), so a later touch sets it again, whatever the host's clock did to the TLB.
 * Frames are only taken outside emu_start: no fill callback ever evicts.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core.h"

static void *reserve(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

int s2_init(struct machine *m, u32 nframes)
{
    m->nframes = nframes;
    m->ram = reserve((size_t)nframes * PAGE_SIZE);
    m->frames = calloc(nframes, sizeof *m->frames);
    m->free_list = calloc(nframes, sizeof *m->free_list);
    if (!m->ram || !m->frames || !m->free_list)
        return core_fail("no memory for %u frames", nframes);
    for (u32 f = 0; f < nframes; f++) {
        m->frames[f].page = NO_FRAME;
        m->free_list[f] = nframes - 1 - f;              /* frame 0 is handed out first */
    }
    m->nfree = m->nfree_low = nframes;
    m->flush_gen = 1;
    m->serial = RECENT;                                 /* so that a fresh frame's 0 is not recent */
    return 0;
}

int s2_add_region(struct machine *m, u64 gpa, u64 size)
{
    if (m->nregions == MAX_REGIONS || gpa % PAGE_SIZE || size % PAGE_SIZE || !size || gpa + size < gpa)
        return core_fail("bad memory region %#llx+%#llx", (unsigned long long)gpa, (unsigned long long)size);
    u32 pages = (u32)(size >> PAGE_SHIFT);
    struct s2_page *s2 = realloc(m->s2, ((size_t)m->npages + pages) * sizeof *s2);
    if (!s2)
        return core_fail("no memory for the stage-2 map");
    m->s2 = s2;
    u8 *live = realloc(m->s2_live, (m->npages + pages) / S2_CHUNK + 1);
    if (!live)
        return core_fail("no memory for the stage-2 map");
    m->s2_live = live;
    memset(live, 0, (m->npages + pages) / S2_CHUNK + 1);
    for (u32 i = 0; i < pages; i++)
        s2[m->npages + i] = (struct s2_page){ .state = S2_ZERO, .frame = NO_FRAME, .slot = NO_SLOT };
    m->region[m->nregions++] = (struct region){ gpa, size, m->npages };
    m->npages += pages;
    return 0;
}

/* Room for slots that only snapshots still own: each may hold a whole memory. Address space, not memory. */
#define SNAP_SLOTS 12

int s2_use_c_store(struct machine *m)
{
    m->nslots = (m->npages + 1) * (SNAP_SLOTS + 1);     /* a dirty eviction takes a new slot before it gives the old one back */
    m->slots = reserve((size_t)m->nslots * PAGE_SIZE);
    m->slot_free = reserve((size_t)m->nslots * sizeof *m->slot_free);
    m->slot_born = reserve((size_t)m->nslots * sizeof *m->slot_born);
    if (!m->slots || !m->slot_free || !m->slot_born)
        return core_fail("no memory for %u swap slots", m->nslots);
    m->c_store = true;
    return 0;
}

void s2_free(struct machine *m)
{
    if (m->ram)
        munmap(m->ram, (size_t)m->nframes * PAGE_SIZE);
    if (m->slots)
        munmap(m->slots, (size_t)m->nslots * PAGE_SIZE);
    if (m->slot_free)
        munmap(m->slot_free, (size_t)m->nslots * sizeof *m->slot_free);
    if (m->slot_born)
        munmap(m->slot_born, (size_t)m->nslots * sizeof *m->slot_born);
    free(m->frames);
    free(m->free_list);
    free(m->s2);
    free(m->s2_live);
}

i64 s2_index(const struct machine *m, u64 gpa)
{
    for (u32 i = 0; i < m->nregions; i++) {
        const struct region *r = &m->region[i];
        if (gpa - r->gpa < r->size)
            return (i64)(r->first + ((gpa - r->gpa) >> PAGE_SHIFT));
    }
    return -1;
}

u64 s2_gpa(const struct machine *m, u32 index)
{
    for (u32 i = 0; i < m->nregions; i++) {
        const struct region *r = &m->region[i];
        if (index >= r->first && index - r->first < r->size >> PAGE_SHIFT)
            return r->gpa + ((index - r->first) << PAGE_SHIFT);
    }
    return 0;
}

static inline u8 *frame_ptr(const struct machine *m, u32 f) { return m->ram + ((size_t)f << PAGE_SHIFT); }

static void note(struct machine *m, struct vcpu *v, u32 kind, u32 page, u64 b, u64 c)
{
    if (unlikely(m->ring.ev != NULL))
        event_record(m, v, kind, s2_gpa(m, page), b, c);
}

void s2_drop_code(struct machine *m, u32 f)
{
    /* the marks stay: soft TLBs may still let the page be fetched. install() clears them for the next owner. */
    for (u32 i = 0; i < m->nvcpus; i++)
        if (m->frames[f].fetchers >> i & 1)
            vcpu_drop_code(m->vcpu[i], f);
}

void s2_flush_all(struct machine *m)
{
    m->flush_gen++;
    m->stats.flushes++;
    for (u32 i = 0; i < m->nvcpus; i++)
        vcpu_flush_tlb(m->vcpu[i]);
}

u32 store_server(const struct machine *m)
{
    const struct store_timing *t = &m->timing;
    u32 best = 0;

    for (u32 i = 1; i < t->depth; i++)
        if (t->busy[i] < t->busy[best])
            best = i;
    return best;
}

u64 store_charge(struct machine *m, u64 now)
{
    struct store_timing *t = &m->timing;

    if (!t->latency)
        return now;
    u32 best = store_server(m);
    u64 start = t->busy[best] > now ? t->busy[best] : now;
    return t->busy[best] = start + t->latency;
}

static void slot_discard(struct machine *m, struct s2_page *p)
{
    if (p->slot == NO_SLOT)
        return;
    if (m->c_store) {
        if (!snap_owns_slot(m, p->slot))
            m->slot_free[m->nslot_free++] = p->slot;
    }
    else
        m->dropped[m->ndropped++] = p->slot;            /* Python discards them at the next chance; sized npages */
    p->slot = NO_SLOT;
}

static bool all_zero(const u8 *p)
{
    const u64 *w = (const u64 *)p;

    for (u32 i = 0; i < PAGE_SIZE / 8; i += 8)
        if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
            return false;
    return true;
}

static bool busy(const struct machine *m, u32 f) { return unlikely(m->watch != NULL) && m->watch->busy(m->watch_ctx, f); }

/* The frame holds the page no more. */
static void part(struct machine *m, struct s2_page *p, u8 state)
{
    u32 f = p->frame;

    m->frames[f].page = NO_FRAME;
    m->frames[f].serial = 0;                            /* no itlb entry may take it for its own while it is free */
    m->stats.resident--;
    p->state = state;
    p->frame = NO_FRAME;
    p->flags = 0;
    if (unlikely(m->watch != NULL))
        m->watch->given(m->watch_ctx, f);
}

static void release(struct machine *m, struct s2_page *p, u8 state)
{
    m->free_list[m->nfree++] = p->frame;
    m->stats.evictions++;
    part(m, p, state);
}

/* Empty a frame whose content need not be written. False: it must. */
static bool drop(struct machine *m, struct vcpu *v, u32 f)
{
    u32 page = m->frames[f].page;
    struct s2_page *p = &m->s2[page];
    bool clean = p->slot != NO_SLOT && !(p->flags & S2F_DIRTY);

    if (!clean && (m->keep_zeros || !all_zero(frame_ptr(m, f))))
        return false;
    s2_drop_code(m, f);
    if (!clean)
        slot_discard(m, p);
    release(m, p, clean ? S2_SWAPPED : S2_ZERO);
    *(clean ? &m->stats.clean_drop : &m->stats.zero_drop) += 1;
    note(m, v, clean ? EV_CLEAN_DROP : EV_ZERO_DROP, page, f, 0);
    return true;
}

/* The page's bytes are in `slot` now. */
static void swapped_out(struct machine *m, struct vcpu *v, u32 page, u32 slot)
{
    struct s2_page *p = &m->s2[page];

    s2_drop_code(m, p->frame);
    slot_discard(m, p);
    p->slot = slot;
    p->crc = crc32c(frame_ptr(m, p->frame), PAGE_SIZE);
    release(m, p, S2_SWAPPED);
    m->stats.swap_out++;
    u64 took = 0, where = (u64)slot << 32 | store_server(m);
    u64 now = v ? v->cycles : m->host_now;              /* the loader pays nothing */
    if (now)
        took = store_charge(m, now) - now;              /* written behind: occupies a server, delays nobody by itself */
    note(m, v, EV_SWAP_OUT, page, took, where);
}

#define MAX_BATCH 64

u32 s2_batch(const struct machine *m)
{
    u32 n = m->nframes / 32;

    return n < 1 ? 1 : n > MAX_BATCH ? MAX_BATCH : n;
}

/* Second chance over the frames. Dirty victims come last, so that frames are freed in one order whoever keeps the store. */
u32 s2_reclaim(struct machine *m, struct vcpu *v, u32 *out, u32 max)
{
    u32 dirty = 0, got = 0, want = s2_batch(m);

    if (want > max)
        want = max;
    if (unlikely(m->ask_reclaim) && v) {
        u64 eighths = 0;
        m->io(m->io_ctx, v->id, IO_RECLAIM, 0, 0, &eighths);
        m->hand = (u32)((m->hand + (eighths & 7) * m->nframes / 8) % m->nframes);
    }
    s2_flush_all(m);                                    /* before the copies: nobody may write a victim through a stale entry */
    for (u64 scanned = 0; scanned < 2ull * m->nframes && got < want; scanned++) {
        u32 f = m->hand;
        struct frame *fr = &m->frames[f];
        m->hand = f + 1 == m->nframes ? 0 : f + 1;
        if (fr->page == NO_FRAME || m->serial - fr->serial < RECENT)
            continue;
        struct s2_page *p = &m->s2[fr->page];
        if (p->flags & S2F_PINNED || busy(m, f))
            continue;
        if (p->flags & S2F_ACCESSED) {
            p->flags &= (u8)~S2F_ACCESSED;
            continue;
        }
        u32 page = fr->page;
        if (!drop(m, v, f)) {
            for (u32 i = 0; i < dirty; i++)             /* a second round over few frames may meet it again */
                if (out[i] == page)
                    goto next;
            out[dirty++] = page;
        }
        got++;
    next:;
    }
    return dirty;
}

/* False: many snapshots own many slots, the page stays where it is. */
static bool write_to_slot(struct machine *m, struct vcpu *v, u32 page)
{
    if (unlikely(!m->nslot_free && m->slot_next == m->nslots))
        snap_sweep_slots(m);

    u32 slot = m->nslot_free ? m->slot_free[--m->nslot_free] : m->slot_next++;

    if (slot >= m->nslots) {
        m->slot_next--;
        return false;
    }
    m->slot_born[slot] = snap_seq(m);
    memcpy(m->slots + ((size_t)slot << PAGE_SHIFT), frame_ptr(m, m->s2[page].frame), PAGE_SIZE);
    swapped_out(m, v, page, slot);
    return true;
}

static void reclaim_to_slots(struct machine *m, struct vcpu *v)
{
    u32 out[MAX_BATCH], n = s2_reclaim(m, v, out, MAX_BATCH);

    for (u32 i = 0; i < n && write_to_slot(m, v, out[i]); i++)
        ;
}

int s2_swap_out(struct machine *m, u32 page)
{
    if (page >= m->npages || m->s2[page].state != S2_RESIDENT || busy(m, m->s2[page].frame))
        return core_fail("page %u cannot be swapped out", page);
    s2_flush_all(m);
    if (drop(m, NULL, m->s2[page].frame))
        return 0;
    if (!m->c_store)
        return 1;
    return write_to_slot(m, NULL, page) ? 0 : core_fail("no slot left for page %u", page);
}

int s2_evicted(struct machine *m, struct vcpu *v, u32 page, u32 slot)
{
    if (page >= m->npages || m->s2[page].state != S2_RESIDENT)
        return core_fail("page %u is not resident", page);
    swapped_out(m, v, page, slot);
    return 0;
}

static bool take(struct machine *m, struct vcpu *v, u32 *frame)
{
    if (!m->nfree && m->c_store)
        reclaim_to_slots(m, v);
    if (!m->nfree)
        return false;
    *frame = m->free_list[--m->nfree];
    return true;
}

static u8 *install(struct machine *m, u32 page, u32 f)
{
    struct s2_page *p = &m->s2[page];

    snap_copy(m, f);
    m->s2_live[page / S2_CHUNK] = 1;
    if (m->nfree < m->nfree_low)
        m->nfree_low = m->nfree;
    m->frames[f] = (struct frame){ .page = page, .serial = ++m->serial };
    p->state = S2_RESIDENT;
    p->frame = f;
    p->flags &= S2F_PINNED;
    if (unlikely(m->watch != NULL))
        m->watch->taken(m->watch_ctx, f);
    if (++m->stats.resident > m->stats.resident_peak)
        m->stats.resident_peak = m->stats.resident;
    return frame_ptr(m, f);
}

/* The page came from the store: the vCPU has waited for it, the host itself waits for nothing. */
static void swapped_in(struct machine *m, struct vcpu *v, u32 page)
{
    u64 took = 0, where = (u64)m->s2[page].slot << 32 | store_server(m);

    m->stats.swap_in++;
    if (v)
        took = store_charge(m, v->cycles) - v->cycles;
    note(m, v, EV_SWAP_IN, page, took, where);
    if (v) {
        v->blocked_cycles += took;
        v->cycles += took;
        v->count[C_FAULT_SWAP]++;
    }
}

enum s2_result s2_ensure(struct machine *m, struct vcpu *v, u64 gpa, bool write)
{
    i64 index = s2_index(m, gpa);
    u32 f;

    (void)write;
    if (index < 0)
        return S2_NOT_RAM;
    struct s2_page *p = &m->s2[index];
    switch (p->state) {
    case S2_RESIDENT:
        return S2_OK;
    case S2_ZERO:
        if (!take(m, v, &f))
            return m->c_store ? S2_ERROR : S2_MISS;
        memset(install(m, (u32)index, f), 0, PAGE_SIZE);
        m->stats.zero++;
        if (v)
            v->count[C_FAULT_ZERO]++;
        note(m, v, EV_ZERO, (u32)index, f, 0);
        return S2_OK;
    case S2_SWAPPED: {
        if (!m->c_store)
            return S2_MISS;
        if (!take(m, v, &f))
            return S2_ERROR;
        const u8 *from = m->slots + ((size_t)p->slot << PAGE_SHIFT);
        if (unlikely(crc32c(from, PAGE_SIZE) != p->crc)) {
            m->free_list[m->nfree++] = f;
            s2_bad(m, (u32)index);
            return S2_ERROR;
        }
        memcpy(install(m, (u32)index, f), from, PAGE_SIZE);
        swapped_in(m, v, (u32)index);
        return S2_OK;
    }
    default:
        return S2_ERROR;
    }
}

int s2_page_in(struct machine *m, struct vcpu *v, u32 page, const u8 *bytes)
{
    u32 f;

    if (page >= m->npages || m->s2[page].state == S2_RESIDENT)
        return core_fail("page %u cannot be paged in", page);
    if (!m->nfree)
        return core_fail("no free frame");
    struct s2_page *p = &m->s2[page];
    if (!bytes) {
        f = m->free_list[--m->nfree];
        memset(install(m, page, f), 0, PAGE_SIZE);
        m->stats.zero++;
        if (v)
            v->count[C_FAULT_ZERO]++;
        note(m, v, EV_ZERO, page, f, 0);
        return 0;
    }
    if (unlikely(crc32c(bytes, PAGE_SIZE) != p->crc)) {
        m->stats.corrupt++;
        return core_fail("page at %#llx came back corrupted: checksum differs", (unsigned long long)s2_gpa(m, page));
    }
    f = m->free_list[--m->nfree];
    memcpy(install(m, page, f), bytes, PAGE_SIZE);
    swapped_in(m, v, page);
    return 0;
}

void s2_bad(struct machine *m, u32 page)
{
    if (page < m->npages) {
        m->s2[page].state = S2_BAD;
        m->stats.corrupt++;
    }
}

int s2_pin(struct machine *m, u64 lo, u64 hi)
{
    for (u64 gpa = lo & PAGE_MASK; gpa < hi; gpa += PAGE_SIZE) {
        i64 i = s2_index(m, gpa);
        if (i < 0)
            return core_fail("pinned page %#llx is not RAM", (unsigned long long)gpa);
        if (m->s2[i].state != S2_RESIDENT && s2_ensure(m, NULL, gpa, true) != S2_OK)
            return core_fail("no frame left for pinned page %#llx", (unsigned long long)gpa);
        m->s2[i].flags |= S2F_PINNED;
    }
    return 0;
}

u8 *s2_ptr(struct machine *m, u64 gpa, bool write)
{
    i64 i = s2_index(m, gpa);

    if (i < 0 || m->s2[i].state != S2_RESIDENT)
        return NULL;
    struct s2_page *p = &m->s2[i];
    if (write) {
        snap_copy(m, p->frame);
        p->flags |= S2F_DIRTY;
        s2_drop_code(m, p->frame);
    }
    return frame_ptr(m, p->frame) + (gpa & (PAGE_SIZE - 1));
}

u8 *s2_frame(struct machine *m, u32 f, bool write)
{
    if (f >= m->nframes)
        return NULL;
    if (write) {
        snap_copy(m, f);
        if (m->frames[f].page != NO_FRAME)
            m->s2[m->frames[f].page].flags |= S2F_DIRTY;
        s2_drop_code(m, f);
    }
    return frame_ptr(m, f);
}

int s2_discard(struct machine *m, u32 page)
{
    struct s2_page *p = page < m->npages ? &m->s2[page] : NULL;

    if (!p || p->state == S2_BAD || p->flags & S2F_PINNED)
        return core_fail("page %u cannot be given back", page);
    if (p->state != S2_RESIDENT) {
        slot_discard(m, p);
        p->state = S2_ZERO;
        return 0;
    }
    s2_flush_all(m);
    s2_drop_code(m, p->frame);
    slot_discard(m, p);
    if (busy(m, p->frame))
        part(m, p, S2_ZERO);
    else
        release(m, p, S2_ZERO);
    return 0;
}

int s2_free_frame(struct machine *m, u32 f)
{
    if (f >= m->nframes || m->frames[f].page != NO_FRAME || m->nfree >= m->nframes)
        return core_fail("frame %u is not one that waits to be freed", f);
    m->free_list[m->nfree++] = f;
    return 0;
}

int s2_peek(struct machine *m, u32 page, u8 *out)
{
    if (page >= m->npages)
        return core_fail("no page %u", page);
    const struct s2_page *p = &m->s2[page];
    if (p->state == S2_RESIDENT)
        memcpy(out, frame_ptr(m, p->frame), PAGE_SIZE);
    else if (p->state == S2_SWAPPED && m->c_store)
        memcpy(out, m->slots + ((size_t)p->slot << PAGE_SHIFT), PAGE_SIZE);
    else if (p->state == S2_ZERO)
        memset(out, 0, PAGE_SIZE);
    else
        return core_fail("page at %#llx is not in the C store", (unsigned long long)s2_gpa(m, page));
    return 0;
}
