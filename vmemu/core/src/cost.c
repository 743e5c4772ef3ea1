/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks: how many instructions, how many cycles. The architecture's decoder is a pure function of the code bytes; this is its memo,
 * keyed by content, so that two tasks with different code at one address, and code that modifies itself, never meet a stale entry.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

struct entry { u64 hash; u32 size, mode, n, cost, loop; const u64 *starts; const u8 *code; };
struct chunk { struct chunk *next; size_t used; u8 bytes[1 << 20]; };
struct cost_cache { struct entry *e; u32 mask, live; struct chunk *chunk; };

#define MAX_LIVE (1u << 18)                             /* then start again: the memo is only that */

struct cost_cache *cost_new(void)
{
    struct cost_cache *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->mask = 4095;
    c->e = calloc(c->mask + 1, sizeof *c->e);
    if (!c->e) {
        free(c);
        return NULL;
    }
    return c;
}

static void free_chunks(struct cost_cache *c)
{
    while (c->chunk) {
        struct chunk *next = c->chunk->next;
        free(c->chunk);
        c->chunk = next;
    }
}

void cost_free(struct cost_cache *c)
{
    if (!c)
        return;
    free_chunks(c);
    free(c->e);
    free(c);
}

static void *keep(struct cost_cache *c, const void *src, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if (!c->chunk || c->chunk->used + n > sizeof c->chunk->bytes) {
        struct chunk *k = malloc(sizeof *k);
        if (!k)
            abort();                                    /* a megabyte: the process is lost anyway */
        k->next = c->chunk;
        k->used = 0;
        c->chunk = k;
    }
    void *at = c->chunk->bytes + c->chunk->used;
    c->chunk->used += n;
    memcpy(at, src, n);
    return at;
}

static u64 hash_code(const u8 *code, u32 size, u32 mode)
{
    u64 h = size * 0x9e3779b97f4a7c15ull ^ mode, w;

    for (; size >= 8; code += 8, size -= 8) {
        memcpy(&w, code, 8);
        h = (h ^ w) * 0xff51afd7ed558ccdull;            /* multiplier of MurmurHash3's finaliser */
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, code, size);
    h = (h ^ w) * 0xff51afd7ed558ccdull;
    return h ^ h >> 29;
}

static void grow(struct cost_cache *c)
{
    u32 mask = c->mask * 2 + 1;
    struct entry *e = calloc((size_t)mask + 1, sizeof *e);

    if (!e)
        abort();
    for (u32 i = 0; i <= c->mask; i++) {
        if (!c->e[i].code)
            continue;
        u32 at = (u32)c->e[i].hash & mask;
        while (e[at].code)
            at = (at + 1) & mask;
        e[at] = c->e[i];
    }
    free(c->e);
    c->e = e;
    c->mask = mask;
}

static void restart(struct vcpu *v)
{
    struct cost_cache *c = v->cost;

    memset(c->e, 0, ((size_t)c->mask + 1) * sizeof *c->e);
    c->live = 0;
    free_chunks(c);
    memset(v->l1, 0, sizeof v->l1);       /* their `starts` are gone */
}

void cost_lookup(struct vcpu *v, const u8 *code, u32 size, struct block *b)
{
    struct cost_cache *c = v->cost;
    u32 mode = v->m->arch->code_mode ? v->m->arch->code_mode(v) : 0;
    u64 hash = hash_code(code, size, mode);
    u32 i;

    for (i = (u32)hash & c->mask; c->e[i].code; i = (i + 1) & c->mask) {
        const struct entry *e = &c->e[i];
        if (e->hash == hash && e->size == size && e->mode == mode && !memcmp(e->code, code, size)) {
            b->n = e->n, b->cost[0] = e->cost, b->cost[1] = e->loop, b->size = size, b->starts = e->starts;
            return;
        }
    }
    if (c->live * 2 > c->mask) {
        if (c->live >= MAX_LIVE && !v->open && !v->near_limit)      /* `held` and `next` point to starts, too */
            restart(v);
        else
            grow(c);
        for (i = (u32)hash & c->mask; c->e[i].code;)
            i = (i + 1) & c->mask;
    }
    struct decoded d;
    u32 words = (size + 63) / 64;
    d.n = 0;
    memset(d.starts, 0, words * 8);
    v->m->arch->decode(v, code, size, &d);
    u32 floor = d.n * CYC / 8;                          /* set_limit() in engine.c relies on it */
    struct entry e = { hash, size, mode, d.n, d.cost < floor ? floor : d.cost, d.loop < floor ? floor : d.loop, NULL, NULL };
    e.code = keep(c, code, size);
    if (d.starts[0] & 1)                               /* variable length: the decoder marked the starts */
        e.starts = keep(c, d.starts, words * 8);
    c->e[i] = e;
    c->live++;
    b->n = e.n, b->cost[0] = e.cost, b->cost[1] = e.loop, b->size = size, b->starts = e.starts;
}

u32 block_index(const struct block *b, u64 pc)
{
    u64 off = pc - b->addr;
    u32 n = 0, i;

    if (off >= b->size)
        return b->n;
    if (!b->starts)
        return (u32)off / 4;
    for (i = 0; i < off / 64; i++)
        n += (u32)__builtin_popcountll(b->starts[i]);
    return n + (u32)__builtin_popcountll(b->starts[i] & ((1ull << off % 64) - 1));
}

u64 block_address(const struct block *b, u32 index)
{
    if (index >= b->n)
        return b->addr + b->size;
    if (!b->starts)
        return b->addr + index * 4ull;
    for (u32 i = 0;; i++) {
        u64 w = b->starts[i];
        u32 n = (u32)__builtin_popcountll(w);
        if (index >= n) {
            index -= n;
            continue;
        }
        while (index--)
            w &= w - 1;
        return b->addr + i * 64ull + (u32)__builtin_ctzll(w);
    }
}
