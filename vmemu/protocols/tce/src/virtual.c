/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What virtual mode may do besides: allocate, reach page structs by their virtual addresses, release pages. Called by Python. */
#include "api.h"

int tce_get_frame(struct tce_host *h, u64 pfn) { return get_page(h, pfn); }
int tce_put_frame(struct tce_host *h, u64 pfn) { return put_page(h, pfn); }

int tce_make_room(struct tce_host *h, u32 table, u32 half, u64 index)
{
    struct tce_table *t = &h->table[table];
    u64 *dir = lin(h, t->dir[half] + index / ENTRIES * 8, 8);

    if (!*dir)
        *dir = kernel_pages(h, 1);
    return *dir ? 0 : -1;
}

u64 tce_read(struct tce_host *h, u32 table, u32 half, u64 index)
{
    const u64 *slot = table_slot(h, &h->table[table], (enum half)half, index);

    return slot ? be64(*slot) : 0;
}

/* The page must be there unless the value is 0. */
u64 tce_exchange(struct tce_host *h, u32 table, u32 half, u64 index, u64 value)
{
    u64 *slot = table_slot(h, &h->table[table], (enum half)half, index), old = slot ? be64(*slot) : 0;

    if (slot)
        *(volatile u64 *)slot = be64(value);
    return old;
}

bool tce_lock(struct tce_host *h, u32 table) { return table_lock(h, &h->table[table]); }
void tce_unlock(struct tce_host *h, u32 table) { table_unlock(&h->table[table]); }
void tce_flush(struct tce_host *h) { table_flush(h); }
int64_t tce_refs(struct tce_host *h, u64 pfn) { return page_refs(h, page_head(h, pfn)); }

int64_t tce_count(struct tce_host *h, u64 pfn)
{
    const s32 *count = page_count(h, pfn);

    return count ? *count : 0;
}

int64_t tce_page_flags(struct tce_host *h, u64 pfn)
{
    const u32 *flags = page_flags(h, pfn);

    return flags ? (int64_t)*flags : -1;
}

u64 tce_page_head(struct tce_host *h, u64 pfn) { return page_head(h, pfn); }

int tce_set_page(struct tce_host *h, u64 pfn, u32 flags, s32 count, u64 head)
{
    u32 *p = page_flags(h, pfn);

    if (!p)
        return -1;
    s32 before = page_refs(h, pfn) > 0;
    *p = flags;
    *page_count(h, pfn) = count;
    *(u64 *)virt(h, pfn_to_page(h, pfn) + offsetof(struct page, head)) = head == pfn ? 0 : pfn_to_page(h, head);
    h->held += (u64)((page_refs(h, pfn) > 0) - before);
    return 0;
}

u64 *tce_page_of_cpu(struct tce_host *h, u32 cpu, u32 half)
{
    return lin(h, half == GIVEN ? h->cpu[cpu].given : h->cpu[cpu].mapped, PAGE_SIZE);
}

/* After tce_reset(): one reference more, whatever the count was. */
int tce_restore_ref(struct tce_host *h, u64 pfn)
{
    s32 *count = page_count(h, pfn);

    if (!count)
        return -1;
    ++*count;
    if (page_refs(h, pfn) == 1)
        h->held++;
    return 0;
}

/* The next page >= from whose struct is not the plain one: has other flags than the guest's, or (held) references besides its. */
u64 tce_next_page(struct tce_host *h, u64 from, bool held)
{
    for (u64 end = h->nframes ? h->nframes : h->npages; from < end; from++) {
        const u32 *flags = page_flags(h, from);
        if (flags && (held ? page_refs(h, from) != 0 : *flags & ~(u32)PG_GUEST))
            break;
    }
    return from;
}
