/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Huffman codes of deflate (RFC 1951 3.2.2, 3.2.7). What is refused is exactly what zlib's inflate refuses. */
#include <string.h>

#include "nx.h"

bool bits_get(struct bit_source *s, u32 n, u32 *value)
{
    u32 v = 0;

    if (s->bits - s->at < n)
        return false;
    for (u32 got = 0; got < n;) {
        u32 shift = s->at & 7, take = 8 - shift < n - got ? 8 - shift : n - got;
        v |= (s->p[s->at >> 3] >> shift & ((1u << take) - 1)) << got;
        s->at += take;
        got += take;
    }
    *value = v;
    return true;
}

void fixed_lengths(struct lengths *l)
{
    memset(l->literal, 8, 144);
    memset(l->literal + 144, 9, 112);
    memset(l->literal + 256, 7, 24);
    memset(l->literal + 280, 8, 8);
    memset(l->distance, 5, sizeof l->distance);
    l->literals = FIXED_LITERALS;
    l->distances = DISTANCES;
}

/* Kraft sum: 0 complete, < 0 over-subscribed, > 0 codes are left */
static int left_over(const u16 *count)
{
    int left = 1;

    for (u32 n = 1; n <= MAX_BITS; n++) {
        left = (left << 1) - count[n];
        if (left < 0)
            break;
    }
    return left;
}

static void first_codes(const u16 *count, u16 *next)
{
    u32 code = 0;

    next[0] = 0;
    for (u32 n = 1; n <= MAX_BITS; n++) {
        code = (code + (n > 1 ? count[n - 1] : 0)) << 1;
        next[n] = (u16)code;
    }
}

static u32 reversed(u32 code, u32 n)
{
    u32 r = 0;

    while (n--) {
        r = r << 1 | (code & 1);
        code >>= 1;
    }
    return r;
}

bool decoder_build(struct decoder *d, const u8 *length, u32 n)
{
    u16 offset[MAX_BITS + 2] = { 0 }, next[MAX_BITS + 1];

    memset(d, 0, sizeof *d);
    for (u32 i = 0; i < n; i++)
        d->count[length[i]]++;
    d->count[0] = 0;
    for (u32 i = 1; i <= MAX_BITS; i++) {
        offset[i + 1] = offset[i] + d->count[i];
        if (d->count[i])
            d->longest = i;
    }
    int left = left_over(d->count);
    if (left < 0 || (left > 0 && d->longest > 1))
        return false;
    first_codes(d->count, next);
    for (u32 i = 0; i < n; i++) {
        u32 len = length[i];
        if (!len)
            continue;
        d->symbol[offset[len]++] = (u16)i;
        u32 code = reversed(next[len]++, len);
        if (len <= FAST_BITS)
            for (u32 at = code; at < 1u << FAST_BITS; at += 1u << len)
                d->fast[at] = (u16)(i << 4 | len);
    }
    return true;
}

void encoder_build(struct encoder *e, const u8 *length, u32 n)
{
    u16 count[MAX_BITS + 1] = { 0 }, next[MAX_BITS + 1];

    memset(e, 0, sizeof *e);
    for (u32 i = 0; i < n; i++)
        count[length[i]]++;
    count[0] = 0;
    first_codes(count, next);
    for (u32 i = 0; i < n; i++) {
        e->length[i] = length[i];
        if (length[i])
            e->code[i] = (u16)reversed(next[length[i]]++, length[i]);
    }
}

/* The code that the code lengths are written in: 19 symbols of at most 7 bits, in an order of their own. It must be complete. */
static enum nx_status length_code(struct bit_source *s, u32 n, struct decoder *d)
{
    static const u8 order[19] = { 16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15 };
    u8 length[19] = { 0 };
    u32 v;

    for (u32 i = 0; i < n; i++) {
        if (!bits_get(s, 3, &v))
            return NX_MORE;
        length[order[i]] = (u8)v;
    }
    return decoder_build(d, length, 19) && left_over(d->count) == 0 ? NX_OK : NX_DHT;
}

static enum nx_status length_symbol(struct bit_source *s, const struct decoder *d, u32 *symbol)
{
    u32 code = 0, n = 0, bit;

    do {                                                /* bit by bit: 7 at most, and the code is complete */
        if (!bits_get(s, 1, &bit))
            return NX_MORE;
        code |= bit << n++;
    } while ((d->fast[code] & 15) != n && n < 7);
    *symbol = d->fast[code] >> 4;
    return NX_OK;
}

enum nx_status dht_parse(struct bit_source *s, struct lengths *l)
{
    static const struct { u8 base, bits; } repeat[3] = { { 3, 2 }, { 3, 3 }, { 11, 7 } };
    struct decoder d;
    u8 all[LITERALS + DISTANCES];
    u32 hlit, hdist, hclen, n = 0, symbol, more;

    if (!bits_get(s, 5, &hlit) || !bits_get(s, 5, &hdist) || !bits_get(s, 4, &hclen))
        return NX_MORE;
    if (hlit > 29 || hdist > 29)
        return NX_DHT;
    l->literals = hlit + 257;
    l->distances = hdist + 1;
    enum nx_status status = length_code(s, hclen + 4, &d);
    if (status != NX_OK)
        return status;
    while (n < l->literals + l->distances) {
        status = length_symbol(s, &d, &symbol);
        if (status != NX_OK)
            return status;
        if (symbol < 16) {
            all[n++] = (u8)symbol;
            continue;
        }
        if (symbol == 16 && n == 0)
            return NX_DHT;
        if (!bits_get(s, repeat[symbol - 16].bits, &more))
            return NX_MORE;
        more += repeat[symbol - 16].base;
        if (more > l->literals + l->distances - n)
            return NX_DHT;
        memset(all + n, symbol == 16 ? all[n - 1] : 0, more);
        n += more;
    }
    if (!all[END_OF_BLOCK])
        return NX_DHT;
    memcpy(l->literal, all, l->literals);
    memcpy(l->distance, all + l->literals, l->distances);
    return NX_OK;
}
