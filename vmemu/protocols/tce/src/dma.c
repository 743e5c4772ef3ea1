/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The device's side: every access goes through the table, or through the few translations that the bridge has cached (LoPAR, "TCE
 * definition": extent, page fault and permission errors; devices never change a TCE).
 */
#include <string.h>

#include "api.h"

/* The entry of one 4 KiB, from the cache or the table. */
static int translate(struct tce_host *h, const struct tce_table *t, u64 ioba, u64 *mapped)
{
    u64 page = ioba >> PAGE_SHIFT, sub = page - (t->first << (t->shift - PAGE_SHIFT));
    struct iotlb *e = &h->iotlb[page % IOTLB];

    if ((ioba >> t->shift) - t->first >= t->size)
        return DMA_EXTENT;
    const u64 *slot = table_slot(h, t, MAPPED, sub);
    u64 now = slot ? be64(*slot) : 0;
    if (e->filled != h->flushes || e->liobn != t->liobn || e->page != page) {
        if (!(now & TCE_PERMS))
            return DMA_PAGE_FAULT;
        *e = (struct iotlb){ t->liobn, page, now, h->flushes };
    }
    if (e->mapped != now)
        h->stale_dma++;
    *mapped = e->mapped;
    return DMA_OK;
}

int tce_dma(struct tce_host *h, u64 liobn, u64 ioba, u8 *buf, u32 len, bool write, u32 *done)
{
    const struct tce_table *t = table_find(h, liobn);

    *done = 0;
    if (!t)
        return DMA_EXTENT;
    while (*done < len) {
        u64 at = ioba + *done, mapped;
        u32 n = (u32)(PAGE_SIZE - (at & (PAGE_SIZE - 1)));
        int error = at < ioba ? DMA_EXTENT : translate(h, t, at, &mapped);
        if (error)
            return error;
        if (!(mapped & (write ? TCE_WRITE : TCE_READ)))
            return DMA_PERMISSION;
        u8 *frame = h->core->frame_bytes(h->m, (u32)(mapped >> PAGE_SHIFT), write);
        if (!frame)
            return DMA_PAGE_FAULT;
        if (n > len - *done)
            n = len - *done;
        if (write)
            memcpy(frame + (at & (PAGE_SIZE - 1)), buf + *done, n);
        else
            memcpy(buf + *done, frame + (at & (PAGE_SIZE - 1)), n);
        *done += n;
    }
    return DMA_OK;
}
