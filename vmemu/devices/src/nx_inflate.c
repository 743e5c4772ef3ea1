/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Decoder. A symbol counts as read only when all its bits are there, a length together with its distance: what is left over at the end
 * of the source is what the engine reports as SUBC, and what the next request begins with.
 */
#include <endian.h>
#include <string.h>

#include "nx.h"

static const u16 length_base[29] = { 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258 };
static const u8 length_extra[29] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0 };
static const u16 distance_base[30] = { 1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145,
                                       8193, 12289, 16385, 24577 };
static const u8 distance_extra[30] = { 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13 };

/* length 15 + 5, distance 15 + 13: with so many bits at hand no symbol is short of any */
#define PAIR_BITS 48

/* A window of 64 bits over the source. Bits beyond `n` are the source's next ones, or zero behind its end. */
struct reader {
    const u8 *p, *end;
    u64 bits;
    u32 n;
};

static inline void refill(struct reader *r)
{
    if (r->end - r->p >= 8) {
        u64 next;
        memcpy(&next, r->p, 8);
        r->bits |= le64toh(next) << r->n;
        r->p += (63 - r->n) >> 3;
        r->n |= 56;
        return;
    }
    while (r->n <= 56 && r->p < r->end) {
        r->bits |= (u64)*r->p++ << r->n;
        r->n += 8;
    }
}

/* Symbol at the low end of `bits`; *used: its bits. No such code: -1, and *used says how many bits it takes to know. */
static inline int decode(const struct decoder *d, u64 bits, u32 *used)
{
    u32 e = d->fast[bits & ((1 << FAST_BITS) - 1)];

    if (__builtin_expect(e != 0, 1)) {
        *used = e & 15;
        return (int)(e >> 4);
    }
    u32 code = 0, first = 0, index = 0;
    for (u32 n = 1; n <= d->longest; n++) {
        code |= bits & 1;
        bits >>= 1;
        u32 count = d->count[n];
        if (code - first < count) {
            *used = n;
            return d->symbol[index + (code - first)];
        }
        index += count;
        first = (first + count) << 1;
        code <<= 1;
    }
    *used = d->longest;
    return -1;
}

static void copy_match(u8 *to, u32 distance, u32 length)
{
    const u8 *from = to - distance;

    if (distance >= length)
        memcpy(to, from, length);
    else
        while (length--)
            *to++ = *from++;
}

/* One length and distance: its bits, or 0 and *status. `bits` begins behind the length's code. */
static u32 pair(const struct nx_inflate *s, int symbol, u64 bits, u32 used, u32 n, u64 at, u32 *length, u32 *distance, enum nx_status *status)
{
    u32 took;

    *status = NX_MORE;
    symbol -= END_OF_BLOCK + 1;
    if (symbol >= 29) {                                 /* 286 and 287 of the fixed code */
        *status = used <= n ? NX_SYMBOL : NX_MORE;
        return 0;
    }
    *length = length_base[symbol] + (u32)(bits & ((1u << length_extra[symbol]) - 1));
    used += length_extra[symbol];
    bits >>= length_extra[symbol];
    symbol = decode(&s->distance, bits, &took);
    used += took;
    if (used > n)
        return 0;
    if (symbol < 0 || symbol >= DISTANCES) {
        *status = NX_SYMBOL;
        return 0;
    }
    bits >>= took;
    *distance = distance_base[symbol] + (u32)(bits & ((1u << distance_extra[symbol]) - 1));
    used += distance_extra[symbol];
    if (used > n)
        return 0;
    if (*distance > at) {
        *status = NX_DISTANCE;
        return 0;
    }
    return used;
}

/* Symbols up to the end of the block (NX_BLOCK), of the source or of the room. */
static enum nx_status symbols(const struct nx_inflate *s, struct reader *r, u8 *out, u64 *position, u64 cap)
{
    u64 at = *position;
    enum nx_status status;

    for (;;) {
        if (r->n < PAIR_BITS)
            refill(r);
        u32 used, length, distance;
        int symbol = decode(&s->literal, r->bits, &used);
        status = used <= r->n ? NX_SYMBOL : NX_MORE;
        if (symbol < 0 || used > r->n)
            break;
        if (symbol < END_OF_BLOCK) {
            status = NX_FULL;
            if (at == cap)
                break;
            out[at++] = (u8)symbol;
        } else if (symbol == END_OF_BLOCK) {
            r->bits >>= used;
            r->n -= used;
            status = NX_BLOCK;
            break;
        } else {
            used = pair(s, symbol, r->bits >> used, used, r->n, at, &length, &distance, &status);
            if (!used)
                break;
            status = NX_FULL;
            if (length > cap - at)
                break;
            copy_match(out + at, distance, length);
            at += length;
        }
        r->bits >>= used;
        r->n -= used;
    }
    *position = at;
    return status;
}

static int tables(struct nx_inflate *s, const struct lengths *l)
{
    return decoder_build(&s->literal, l->literal, l->literals) && decoder_build(&s->distance, l->distance, l->distances) ? NX_OK : NX_DHT;
}

/* zlib knows 30 and 31 as fixed distances that no stream may use: the code must be complete all the same. */
static void fixed_tables(struct nx_inflate *s)
{
    struct lengths l;

    fixed_lengths(&l);
    l.distances = DISTANCES + 2;
    (void)tables(s, &l);
}

int nx_inflate_tables(struct nx_inflate *s)
{
    struct bit_source b = { .p = s->dht, .bits = s->dht_bits };
    struct lengths l;

    if (s->mode == IN_FIXED)
        fixed_tables(s);
    if (s->mode != IN_DYNAMIC)
        return NX_OK;
    if (s->dht_bits < DHT_MIN_BITS || s->dht_bits > DHT_MAX_BITS || dht_parse(&b, &l) != NX_OK || b.at != s->dht_bits)
        return NX_DHT;
    return tables(s, &l);
}

static void keep_dht(struct nx_inflate *s, const struct bit_source *b, u64 from)
{
    struct bit_source copy = { .p = b->p, .bits = b->at, .at = from };
    u32 v;

    memset(s->dht, 0, sizeof s->dht);
    s->dht_bits = (u32)(b->at - from);
    for (u32 i = 0; copy.at < copy.bits; i++) {
        u32 n = copy.bits - copy.at < 8 ? (u32)(copy.bits - copy.at) : 8;
        bits_get(&copy, n, &v);
        s->dht[i] = (u8)v;
    }
}

static enum nx_status header(struct nx_inflate *s, struct bit_source *b)
{
    struct bit_source ahead = *b;
    struct lengths l;
    u32 final, type, len, nlen;

    if (!bits_get(&ahead, 1, &final) || !bits_get(&ahead, 2, &type))
        return NX_MORE;
    if (type == STORED) {
        ahead.at = (ahead.at + 7) & ~7ull;
        if (ahead.at > ahead.bits || !bits_get(&ahead, 16, &len) || !bits_get(&ahead, 16, &nlen))
            return NX_MORE;
        if (len != (nlen ^ 0xffff))
            return NX_SYMBOL;
        s->remain = len;
        s->mode = IN_STORED;
    } else if (type == FIXED) {
        fixed_tables(s);
        s->mode = IN_FIXED;
    } else if (type == DYNAMIC) {
        u64 from = ahead.at;
        enum nx_status status = dht_parse(&ahead, &l);
        if (status != NX_OK)
            return status;
        if (tables(s, &l) != NX_OK)
            return NX_DHT;
        keep_dht(s, &ahead, from);
        s->mode = IN_DYNAMIC;
    } else {
        return NX_SYMBOL;
    }
    s->final = final;
    *b = ahead;
    return NX_OK;
}

static enum nx_status stored(struct nx_inflate *s, struct bit_source *b, u8 *out, u64 *at, u64 cap)
{
    u64 n = s->remain, room = cap - *at, there;

    b->at = (b->at + 7) & ~7ull;                        /* a resumed one begins at a byte; a header ends at one */
    there = b->at < b->bits ? (b->bits - b->at) >> 3 : 0;
    n = n > room ? room : n;
    n = n > there ? there : n;
    memcpy(out + *at, b->p + (b->at >> 3), n);
    *at += n;
    b->at += n * 8;
    s->remain -= (u32)n;
    return s->remain == 0 ? NX_BLOCK : n == there ? NX_MORE : NX_FULL;
}

static enum nx_status coded(struct nx_inflate *s, struct bit_source *b, u8 *out, u64 *at, u64 cap)
{
    struct reader r = { .p = b->p + (b->at >> 3), .end = b->p + (b->bits >> 3) };

    refill(&r);
    u32 skip = b->at & 7;
    if (skip) {                                         /* there is a byte: at is inside it */
        r.bits >>= skip;
        r.n -= skip;
    }
    enum nx_status status = symbols(s, &r, out, at, cap);
    b->at = (u64)(r.p - b->p) * 8 - r.n;
    return status;
}

int nx_inflate(struct nx_inflate *s, const u8 *src, u64 size, u32 skip, u8 *out, u64 have, u64 cap, bool one_block)
{
    struct bit_source b = { .p = src, .bits = size * 8, .at = skip };
    u64 at = have;
    enum nx_status status = NX_OK;

    if (b.at > b.bits)
        b.at = b.bits;
    while (status == NX_OK) {
        switch (s->mode) {
        case IN_HEADER:
            status = header(s, &b);
            continue;
        case IN_STORED:
            status = stored(s, &b, out, &at, cap);
            break;
        case IN_FIXED:
        case IN_DYNAMIC:
            status = coded(s, &b, out, &at, cap);
            break;
        default:
            status = NX_FINAL;
            continue;
        }
        if (status == NX_BLOCK) {
            s->mode = s->final ? IN_DONE : IN_HEADER;
            status = s->final ? NX_FINAL : one_block ? NX_BLOCK : NX_OK;
        }
    }
    s->used = b.at;
    s->produced = at - have;
    return status;
}
