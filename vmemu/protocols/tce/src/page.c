/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * References to pages. Real mode has the page struct's physical address, and may take a count from n to n + 1 and from n + 1 to n
 * for n >= 1 only. Virtual mode goes through the vmemmap, and may free.
 */
#include "tce.h"

/* One thread runs the host: these are the atomic operations that Linux has under these names. */
bool get_page_unless_zero(struct page *p)
{
    if (p->count == 0)
        return false;
    p->count++;
    return true;
}

bool put_page_unless_one(struct page *p)
{
    if (p->count == 1)
        return false;
    p->count--;
    return true;
}

bool helper_get(struct tce_host *h, struct page *p)
{
    switch (h->helpers) {
    case HELPERS_MAY:                                   /* tests tails only, then get_page(), which asks for no count */
        if (p->flags & PG_TAIL)
            return false;
        p->count++;
        return true;
    case HELPERS_JUNE_5:
        if (p->flags & PG_COMPOUND)
            return false;
        p->count++;
        return true;
    case HELPERS_JUNE_27:
    case HELPERS_JULY_15:                               /* the same on the bare counter */
        return !(p->flags & PG_COMPOUND) && get_page_unless_zero(p);
    default:                                            /* the caller looks at compound pages */
        return get_page_unless_zero(p);
    }
}

bool helper_put(struct tce_host *h, struct page *p)
{
    if (h->helpers != HELPERS_V7 && p->flags & PG_COMPOUND)
        return false;
    if (h->bugs & BUG_FREE_IN_REAL && p->count == 1) {
        p->count = 0;
        breach(h, "a page was released");
        return true;
    }
    return put_page_unless_one(p);
}

/* ------------------------------------------------------------ virtual mode */
/* Field by field: a struct that straddles two blocks is whole here, and no field straddles. */
u32 *page_flags(struct tce_host *h, u64 pfn) { return pfn < h->npages ? virt(h, pfn_to_page(h, pfn)) : NULL; }

s32 *page_count(struct tce_host *h, u64 pfn)
{
    u32 *flags = page_flags(h, pfn);

    return flags ? (s32 *)flags + 1 : NULL;
}

static u64 *head_of(struct tce_host *h, u64 pfn) { return pfn < h->npages ? virt(h, pfn_to_page(h, pfn) + offsetof(struct page, head)) : NULL; }

u64 page_head(struct tce_host *h, u64 pfn)
{
    const u32 *flags = page_flags(h, pfn);
    const u64 *head = flags && *flags & PG_TAIL ? head_of(h, pfn) : NULL;

    return head ? (*head - VMEMMAP_BASE) / h->page_bytes : pfn;
}

s32 page_refs(struct tce_host *h, u64 pfn)
{
    const u32 *flags = page_flags(h, pfn);

    return flags ? *page_count(h, pfn) - !!(*flags & PG_GUEST) : 0;
}

int get_page(struct tce_host *h, u64 pfn)
{
    pfn = page_head(h, pfn);
    s32 *count = page_count(h, pfn);

    if (!count || *count <= 0)
        return -1;
    ++*count;
    if (page_refs(h, pfn) == 1)
        h->held++;
    return 0;
}

int put_page(struct tce_host *h, u64 pfn)
{
    pfn = page_head(h, pfn);
    s32 *count = page_count(h, pfn);

    if (!count || *count <= 0) {
        breach(h, "page %llu is let go once too often", (unsigned long long)pfn);
        return -1;
    }
    --*count;
    if (page_refs(h, pfn) == 0)
        h->held--;
    if (*count)
        return 0;
    if (h->real)                                        /* the allocator sleeps, and takes locks that the interrupted code may hold */
        breach(h, "page %llu was freed", (unsigned long long)pfn);
    h->freed++;
    return pfn < h->nframes ? h->core->frame_free(h->m, (u32)pfn) : 0;
}

/* ------------------------------------------------------- core's frames */
static bool frame_busy(void *ctx, u32 frame) { return page_refs(ctx, page_head(ctx, frame)) > 0; }

static void frame_taken(void *ctx, u32 frame)
{
    struct tce_host *h = ctx;
    u64 first = (u64)frame * h->page_bytes >> h->block_shift, last = ((u64)frame * h->page_bytes + h->page_bytes - 1) >> h->block_shift;

    for (u64 b = first; b <= last && !h->flat; b++)     /* memory that is used for the first time brings its page structs */
        if (!h->block[b] && vmemmap_add(h, b, 0))
            breach(h, "no memory for page structs");
    u32 *flags = page_flags(h, frame);
    if (!flags)
        return;
    if (*page_count(h, frame))
        breach(h, "frame %u is given out with %d references", frame, *page_count(h, frame));
    *flags = PG_GUEST;
    *page_count(h, frame) = 1;
}

static void frame_given(void *ctx, u32 frame)
{
    struct tce_host *h = ctx;
    u32 *flags = page_flags(h, frame);

    if (!flags || !(*flags & PG_GUEST))
        return;
    *flags &= ~(u32)(PG_GUEST | PG_LARGE);
    --*page_count(h, frame);
}

const struct frame_watch page_watch = { .busy = frame_busy, .taken = frame_taken, .given = frame_given };
