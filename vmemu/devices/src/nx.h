/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nx.h - the codec of the NX gzip engine: RFC 1951 bit by bit, so that it can stop and go on at any bit.
 *
 *   nx_sum.c      CRC-32 and Adler-32
 *   nx_huffman.c  code lengths -> codes and decoding tables; the header of a dynamic block
 *   nx_inflate.c  decoder: stops at the last whole symbol, says how many bits it used
 *   nx_deflate.c  encoder: one block with given codes
 *
 * Nothing here allocates, keeps a pointer or knows the engine's formats: those are Python's (vmemu/devices/nx_*.py).
 */
#ifndef VMEMU_NX_H
#define VMEMU_NX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

/* RFC 1951 3.2.5 to 3.2.7 */
enum { MAX_BITS = 15, LITERALS = 286, DISTANCES = 30, FIXED_LITERALS = 288, END_OF_BLOCK = 256, MAX_MATCH = 258, WINDOW = 32768 };
enum { STORED, FIXED, DYNAMIC };
/* Type-10 header behind the three block bits: NX manual, CPB: 42 to 2283 bits, kept in 288 bytes */
enum { DHT_MIN_BITS = 42, DHT_MAX_BITS = 2283, DHT_BYTES = 288 };

/* How a run ends. The errors are the engine's completion codes. */
enum nx_status { NX_OK = 0, NX_MORE = 1, NX_FULL = 2, NX_FINAL = 3, NX_BLOCK = 4, NX_SYMBOL = 66, NX_DISTANCE = 67, NX_DHT = 68 };

/* ------------------------------------------------------------ nx_sum.c */
u32 nx_crc32(u32 crc, const u8 *p, size_t n);
u32 nx_adler32(u32 adler, const u8 *p, size_t n);

/* -------------------------------------------------------- nx_huffman.c */
/* Bits of a buffer, least significant first. */
struct bit_source {
    const u8 *p;
    u64 bits;                                           /* in the buffer */
    u64 at;
};

/* The next `n` (<= 16) bits; false: the buffer ends before. */
bool bits_get(struct bit_source *, u32 n, u32 *value);

struct lengths {
    u8 literal[FIXED_LITERALS], distance[DISTANCES + 2];
    u32 literals, distances;
};

void fixed_lengths(struct lengths *);
/* Code lengths of a type-10 header (behind the block bits). NX_OK, NX_MORE (the bits end before), NX_DHT. */
enum nx_status dht_parse(struct bit_source *, struct lengths *);

enum { FAST_BITS = 10 };
struct decoder {
    u16 fast[1 << FAST_BITS];                           /* symbol << 4 | length, 0: longer than FAST_BITS, or no code */
    u16 count[MAX_BITS + 1], symbol[FIXED_LITERALS];
    u32 longest;
};

/* False: over-subscribed, or incomplete with more than one code (what zlib refuses). */
bool decoder_build(struct decoder *, const u8 *length, u32 n);

struct encoder { u16 code[FIXED_LITERALS]; u8 length[FIXED_LITERALS]; };
void encoder_build(struct encoder *, const u8 *length, u32 n);

/* -------------------------------------------------------- nx_inflate.c */
enum inflate_mode { IN_HEADER, IN_STORED, IN_FIXED, IN_DYNAMIC, IN_DONE };

/* Between two runs. */
struct nx_inflate {
    u32 mode, final;
    u32 remain;                                         /* IN_STORED: bytes */
    u32 dht_bits;                                       /* IN_DYNAMIC */
    u8 dht[DHT_BYTES];
    u64 used;                                           /* bits of the last run's source, the first skipped ones included */
    u64 produced;                                       /* bytes of the last run */
    struct decoder literal, distance;                   /* made by nx_inflate_tables, or by a block's header */
};

/* After loading mode, dht and dht_bits from somewhere: NX_OK or NX_DHT. */
int nx_inflate_tables(struct nx_inflate *);
/*
 * Decode from bit `skip` of src into out[have..cap); out[0..have) is history. Stops in front of what does not fit (NX_FULL) or is
 * not there completely (NX_MORE), behind the final block (NX_FINAL), behind any block when `one_block` (NX_BLOCK), or at an error.
 */
int nx_inflate(struct nx_inflate *, const u8 *src, u64 size, u32 skip, u8 *out, u64 have, u64 cap, bool one_block);

/* -------------------------------------------------------- nx_deflate.c */
enum { HASH_BITS = 15, COUNTS = LITERALS + DISTANCES };
struct nx_deflate {
    struct encoder literal, distance;
    u32 type, dht_bits;                                 /* FIXED or DYNAMIC */
    u8 dht[DHT_BYTES];
    u64 pending;                                        /* bits that make no byte yet */
    u32 npending;
    u32 count[COUNTS];                                  /* symbols used, saturating at 24 bits */
    u64 produced;
    u32 head[1 << HASH_BITS];
    u32 prev[WINDOW];
};

/* After loading type, dht and dht_bits: NX_OK or NX_DHT. */
int nx_deflate_tables(struct nx_deflate *);
/*
 * Encode src[have..size), with src[0..have) as history, into out. `first`: with the block's header; `last`: with end of block, filled up
 * to a byte. NX_OK, NX_SYMBOL (the table has no code for what is needed) or NX_FULL.
 */
int nx_deflate(struct nx_deflate *, const u8 *src, u64 have, u64 size, u8 *out, u64 cap, bool first, bool last);

#endif
