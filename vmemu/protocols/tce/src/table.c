/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TCE tables. Entries are big-endian and change by single 8-byte stores (LoPAR, H_MIGRATE_DMA). Pages of a table come when needed. */
#include "tce.h"

struct tce_table *table_find(struct tce_host *h, u64 liobn)
{
    for (u32 i = 0; i < h->ntables; i++)
        if (h->table[i].liobn == liobn)
            return &h->table[i];
    return NULL;
}

u64 *table_slot(struct tce_host *h, const struct tce_table *t, enum half half, u64 index)
{
    const u64 *dir = lin(h, t->dir[half] + index / ENTRIES * 8, 8);

    return *dir ? lin(h, *dir + index % ENTRIES * 8, 8) : NULL;
}

/* Shared by real and virtual mode. Nobody can hold it but somebody who forgot it: waiting would be for ever. */
bool table_lock(struct tce_host *h, struct tce_table *t)
{
    (void)h;
    if (t->locked)
        return false;
    t->locked = true;
    return true;
}

void table_unlock(struct tce_table *t) { t->locked = false; }

/* What devices have cached is forgotten. */
void table_flush(struct tce_host *h)
{
    if (!(h->bugs & BUG_NO_FLUSH))
        h->flushes++;
}
