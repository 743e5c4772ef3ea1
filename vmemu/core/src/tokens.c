/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * u64 -> u64 hash table for the fill path: open addressing, linear probing, backward-shift deletion (no tombstones, so an
 * insert-delete churn never degrades). Keys and values lie interleaved: one cache line a probe. Key 0 marks an empty cell.
 */
#include <stdlib.h>

#include "core.h"

struct cell { u64 key, val; };
#define CELLS(t) ((struct cell *)(t)->keys)

/* Fibonacci hashing: 2^64 / golden ratio (Knuth, TAOCP 3, 6.4). Tokens and gfns are nearly sequential. */
static inline u32 home(const struct table *t, u64 key) { return (u32)(key * 0x9e3779b97f4a7c15ull >> 32) & t->mask; }

int table_init(struct table *t, u32 log2)
{
    t->mask = (1u << log2) - 1;
    t->live = 0;
    t->keys = calloc((size_t)t->mask + 1, sizeof(struct cell));
    return t->keys ? 0 : core_fail("no memory for a table of %u cells", t->mask + 1);
}

void table_free(struct table *t)
{
    free(t->keys);
    t->keys = NULL;
}

static int grow(struct table *t)
{
    struct table bigger;
    const struct cell *old = CELLS(t);

    if (t->mask >= 1u << 28 || table_init(&bigger, (u32)__builtin_ctz(t->mask + 1) + 1))
        return -1;
    for (u32 i = 0; i <= t->mask; i++) {
        if (!old[i].key)
            continue;
        u32 at = home(&bigger, old[i].key);
        while (CELLS(&bigger)[at].key)
            at = (at + 1) & bigger.mask;
        CELLS(&bigger)[at] = old[i];
    }
    bigger.live = t->live;
    free(t->keys);
    *t = bigger;
    return 0;
}

int table_put(struct table *t, u64 key, u64 val)
{
    if (!key)
        return -1;
    if (unlikely(t->live * 2 > t->mask) && grow(t))
        return -1;
    struct cell *cells = CELLS(t);
    u32 i = home(t, key);
    while (cells[i].key) {
        if (cells[i].key == key) {
            cells[i].val = val;
            return 0;
        }
        i = (i + 1) & t->mask;
    }
    cells[i] = (struct cell){ key, val };
    t->live++;
    return 1;
}

int table_get(const struct table *t, u64 key, u64 *val)
{
    const struct cell *cells = CELLS(t);

    if (!key)
        return 0;
    for (u32 i = home(t, key); cells[i].key; i = (i + 1) & t->mask)
        if (cells[i].key == key) {
            *val = cells[i].val;
            return 1;
        }
    return 0;
}

int table_del(struct table *t, u64 key, u64 *val)
{
    struct cell *cells = CELLS(t);
    u32 i = home(t, key);

    if (!key)
        return 0;
    while (cells[i].key != key) {
        if (!cells[i].key)
            return 0;
        i = (i + 1) & t->mask;
    }
    *val = cells[i].val;
    for (u32 j = i;;) {
        j = (j + 1) & t->mask;
        if (!cells[j].key)
            break;
        /* cell j may move into the hole at i unless its home lies cyclically in (i, j] */
        if (((j - home(t, cells[j].key)) & t->mask) >= ((j - i) & t->mask)) {
            cells[i] = cells[j];
            i = j;
        }
    }
    cells[i].key = 0;
    t->live--;
    return 1;
}
