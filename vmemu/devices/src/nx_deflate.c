/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Encoder: greedy matching over hash chains, one block, never stored. The chains are made anew in every run from the history that
 * the caller gives, so that nothing but the bits of an unfinished byte lives between two runs, and equal input gives equal output.
 */
#include <string.h>

#include "nx.h"

#define MIN_MATCH 4                                     /* hashed; three-byte matches seldom pay with a fixed table */
#define CHAIN 8                                         /* candidates tried for a position */
#define GOOD 32                                         /* long enough to look no further */
#define NOWHERE 0xffffffffu
#define COUNT_MAX 0xffffffu                             /* 24 bits, saturating (NX manual, LZ counts) */
#define RESERVE 16                                      /* bytes of room that one symbol pair can need, with slack */

struct writer {
    u8 *p, *end;
    u64 bits;
    u32 n;
};

static inline void put(struct writer *w, u64 value, u32 n)
{
    w->bits |= value << w->n;
    w->n += n;
}

static inline void drain(struct writer *w)
{
    for (; w->n >= 8; w->n -= 8, w->bits >>= 8)
        *w->p++ = (u8)w->bits;
}

static inline bool room(const struct writer *w) { return w->end - w->p >= RESERVE; }

static inline u32 load32(const u8 *p)
{
    u32 v;

    memcpy(&v, p, 4);
    return v;
}

static inline u32 hash(const u8 *p) { return (load32(p) * 2654435761u) >> (32 - HASH_BITS); }

static inline void count(struct nx_deflate *s, u32 symbol)
{
    if (s->count[symbol] < COUNT_MAX)
        s->count[symbol]++;
}

static u32 match_length(const u8 *a, const u8 *b, u32 most)
{
    u32 n = 0;

    while (n + 8 <= most) {
        u64 x, y;
        memcpy(&x, a + n, 8);
        memcpy(&y, b + n, 8);
        if (x != y)
            break;
        n += 8;
    }
    while (n < most && a[n] == b[n])
        n++;
    return n;
}

static inline void insert(struct nx_deflate *s, const u8 *src, u32 at)
{
    u32 h = hash(src + at);

    s->prev[at % WINDOW] = s->head[h];
    s->head[h] = at;
}

/* The longest match for position `at` among the last ones with its hash; 0: none. */
static u32 find(const struct nx_deflate *s, const u8 *src, u32 at, u32 most, u32 *distance)
{
    u32 best = MIN_MATCH - 1, from = s->head[hash(src + at)];

    for (int tries = 0; tries < CHAIN && from != NOWHERE && at - from <= WINDOW; tries++) {
        if (src[from + best] == src[at + best] && load32(src + from) == load32(src + at)) {
            u32 n = match_length(src + from, src + at, most);
            if (n > best) {
                best = n;
                *distance = at - from;
                if (n >= GOOD || n == most)
                    break;
            }
        }
        u32 next = s->prev[from % WINDOW];
        if (next != NOWHERE && next >= from)            /* overwritten: older than the window */
            break;
        from = next;
    }
    return best < MIN_MATCH ? 0 : best;
}

static u8 length_symbol[MAX_MATCH + 1], length_bits[29];
static u16 length_first[29];
static u8 distance_symbol[512];                         /* [0..255]: distance - 1; [256..]: (distance - 1) >> 7 */
static u8 distance_bits[DISTANCES];
static u16 distance_first[DISTANCES];

__attribute__((constructor)) static void make_symbols(void)
{
    u32 at = 3;

    for (u32 i = 0; i < 28; i++) {
        length_bits[i] = i < 8 ? 0 : (u8)((i - 4) / 4);
        length_first[i] = (u16)at;
        for (u32 n = 0; n < 1u << length_bits[i] && at < MAX_MATCH; n++)
            length_symbol[at++] = (u8)i;
    }
    length_first[28] = MAX_MATCH;
    length_symbol[MAX_MATCH] = 28;
    at = 1;
    for (u32 i = 0; i < DISTANCES; i++) {
        distance_bits[i] = i < 4 ? 0 : (u8)((i - 2) / 2);
        distance_first[i] = (u16)at;
        for (u32 n = 0; n < 1u << distance_bits[i]; n++, at++) {
            if (at <= 256)
                distance_symbol[at - 1] = (u8)i;
            else
                distance_symbol[256 + ((at - 1) >> 7)] = (u8)i;
        }
    }
}

static inline bool put_symbol(struct writer *w, const struct encoder *e, u32 symbol)
{
    put(w, e->code[symbol], e->length[symbol]);
    return e->length[symbol] != 0;
}

static inline bool put_literal(struct nx_deflate *s, struct writer *w, u32 byte)
{
    count(s, byte);
    return put_symbol(w, &s->literal, byte);
}

static bool put_match(struct nx_deflate *s, struct writer *w, u32 length, u32 distance)
{
    u32 l = length_symbol[length], d = distance_symbol[distance <= 256 ? distance - 1 : 256 + ((distance - 1) >> 7)];

    count(s, END_OF_BLOCK + 1 + l);
    count(s, LITERALS + d);
    if (!put_symbol(w, &s->literal, END_OF_BLOCK + 1 + l))
        return false;
    put(w, length - length_first[l], length_bits[l]);
    drain(w);
    if (!put_symbol(w, &s->distance, d))
        return false;
    put(w, distance - distance_first[d], distance_bits[d]);
    return true;
}

int nx_deflate_tables(struct nx_deflate *s)
{
    struct bit_source b = { .p = s->dht, .bits = s->dht_bits };
    struct lengths l = { .literals = 0 };
    struct decoder check;

    if (s->type != DYNAMIC) {
        fixed_lengths(&l);
    } else {
        if (s->dht_bits < DHT_MIN_BITS || s->dht_bits > DHT_MAX_BITS || dht_parse(&b, &l) != NX_OK || b.at != s->dht_bits)
            return NX_DHT;
        if (!decoder_build(&check, l.literal, l.literals) || !decoder_build(&check, l.distance, l.distances))
            return NX_DHT;
    }
    encoder_build(&s->literal, l.literal, l.literals);
    encoder_build(&s->distance, l.distance, l.distances);
    return NX_OK;
}

static bool block_header(struct nx_deflate *s, struct writer *w)
{
    if (w->end - w->p < DHT_BYTES + RESERVE)
        return false;
    put(w, 1 | s->type << 1, 3);                        /* BFINAL = 1 */
    if (s->type != DYNAMIC)
        return true;
    for (u32 at = 0; at < s->dht_bits; at += 8) {
        u32 n = s->dht_bits - at < 8 ? s->dht_bits - at : 8;
        put(w, s->dht[at / 8] & ((1u << n) - 1), n);
        drain(w);
    }
    return true;
}

static enum nx_status body(struct nx_deflate *s, struct writer *w, const u8 *src, u32 have, u32 size)
{
    u32 at = have, last_hash = size >= MIN_MATCH ? size - MIN_MATCH + 1 : 0;    /* positions below it can be hashed */

    memset(s->head, 0xff, sizeof s->head);
    for (u32 i = have > WINDOW ? have - WINDOW : 0; i < have && i < last_hash; i++)
        insert(s, src, i);
    while (at < size) {
        u32 length = 0, distance = 0, most = size - at < MAX_MATCH ? size - at : MAX_MATCH;

        drain(w);
        if (!room(w))
            return NX_FULL;
        if (at < last_hash)
            length = find(s, src, at, most, &distance);
        if (!length) {
            if (!put_literal(s, w, src[at]))
                return NX_SYMBOL;
            if (at < last_hash)
                insert(s, src, at);
            at++;
            continue;
        }
        if (!put_match(s, w, length, distance))
            return NX_SYMBOL;
        for (u32 end = at + length; at < end; at++)
            if (at < last_hash)
                insert(s, src, at);
    }
    return NX_OK;
}

int nx_deflate(struct nx_deflate *s, const u8 *src, u64 have, u64 size, u8 *out, u64 cap, bool first, bool last)
{
    struct writer w = { .p = out, .end = out + cap, .bits = s->pending, .n = s->npending };
    enum nx_status status = NX_OK;

    s->produced = 0;
    if (size > UINT32_MAX / 2 || have > size)
        return NX_FULL;
    if (first && !block_header(s, &w))
        return NX_FULL;
    status = body(s, &w, src, (u32)have, (u32)size);
    if (status != NX_OK)
        return status;
    drain(&w);
    if (last) {
        if (!room(&w))
            return NX_FULL;
        count(s, END_OF_BLOCK);
        if (!put_symbol(&w, &s->literal, END_OF_BLOCK))
            return NX_SYMBOL;
        drain(&w);
        s->npending = w.n;                              /* the valid bits of the last byte; 0: all eight */
        if (w.n)
            *w.p++ = (u8)w.bits;
        w.bits = 0;
    } else {
        s->npending = w.n;
    }
    s->pending = w.bits;
    s->produced = (u64)(w.p - out);
    return NX_OK;
}
