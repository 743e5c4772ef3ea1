/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gzip streams (RFC 1952) of any length from requests of limited size. The engine makes one deflate block of each, marked as the
 * last one and starting on a byte; what comes before the real last one is unmarked, and ends with an empty stored block (RFC 1951
 * 3.2.4) so that the next starts on a byte again.
 */
#include "nx_user.h"

enum { WINDOW = 32768, HEADER = 10, TRAILER = 8, SYNC = 5 };
enum { FAILED = -1000 };
enum { SFBT_DONE = 0 };

static u64 min(u64 a, u64 b) { return a < b ? a : b; }

static s64 failed(int cc) { return cc < 0 ? cc : FAILED - cc; }

static void put_le32(u8 *p, u32 v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (u8)(v >> 8 * i);
}

static u32 get_le32(const u8 *p) { return (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24; }

/* End a block whose last byte, before end, has so many valid bits (0: 8). Returns the new end. */
static u8 *append_sync(u8 *end, int bits)
{
    if (bits)
        end[-1] &= (u8)((1 << bits) - 1);
    if (bits == 0 || bits > 5)
        *end++ = 0;                     /* three bits of header: not the last, stored */
    *end++ = 0, *end++ = 0;
    *end++ = 0xff, *end++ = 0xff;
    return end;
}

s64 nx_compress(struct nx *nx, struct nx_block *block, const u8 *in, u64 n, u8 *out, u64 room)
{
    static const u8 header[HEADER] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    u8 *at = out + HEADER, *limit = out + room - TRAILER - SYNC;
    u64 done = 0;
    if (n == 0 || room < HEADER + TRAILER + SYNC + 64)
        return -EINVAL;
    memcpy(out, header, HEADER);
    memset(block, 0, sizeof *block);
    block->cpb.in_adler = 1;
    while (done < n) {
        u64 history = min(done, WINDOW) & ~15ull;
        struct nx_job job = {
            .function = NX_COMPRESS_RESUME_FHT, .history = in + done - history, .history_bytes = history, .source = in + done,
            .source_bytes = min(n - done, nx->chunk), .target = at, .target_bytes = min((u64)(limit - at), 2 * nx->chunk + 64),
        };
        int cc = nx_run(nx, block, &job);
        if (cc != NX_CC_OK && cc != NX_CC_LARGER && !(cc == NX_CC_PARTIAL && block->csb.ce == (NX_CE_PARTIAL | NX_CE_COUNT)))
            return failed(cc);
        done += block->cpb.out.compress_spbc - history;
        at += block->csb.count;
        if (done < n) {
            job.target[0] &= 0xfe;
            at = append_sync(at, block->cpb.out_tebc & 7);
        }
        memcpy(block->cpb.in_crc, block->cpb.out_crc, sizeof block->cpb.in_crc);
        block->cpb.in_adler = block->cpb.out_adler;
    }
    memcpy(at, block->cpb.out_crc, 4);
    put_le32(at + 4, (u32)n);
    return at + TRAILER - out;
}

/* Did the engine stop in the middle because the source ended, with all it needs to go on? */
static bool suspended(int cc, const struct nx_block *block)
{
    return cc == NX_CC_PARTIAL && (block->csb.ce & (NX_CE_PARTIAL | NX_CE_TERMINATED)) == NX_CE_PARTIAL;
}

s64 nx_decompress(struct nx *nx, struct nx_block *block, const u8 *in, u64 n, u8 *out, u64 room)
{
    u64 from = HEADER, made = 0, chunk = nx->chunk;
    if (n < HEADER + TRAILER || in[0] != 0x1f || in[1] != 0x8b || in[2] != 8 || in[3] != 0)
        return -EINVAL;
    memset(block, 0, sizeof *block);
    for (u32 function = NX_DECOMPRESS;; function = NX_DECOMPRESS_RESUME) {
        u64 history = function == NX_DECOMPRESS ? 0 : (min(made, WINDOW) + 15) & ~15ull;
        struct nx_job job = {
            .function = function, .history = out + made - history, .history_bytes = history, .source = in + from,
            .source_bytes = min(n - from, chunk), .target = out + made, .target_bytes = min(room - made, 2 * nx->chunk),
        };
        int cc = nx_run(nx, block, &job);
        if (cc == NX_CC_TARGET_SPACE && job.source_bytes > 1) {     /* nothing of it counts: ask for less */
            chunk = job.source_bytes / 2;
            nx->stats.halved++;
            continue;
        }
        if (cc != NX_CC_OK && !suspended(cc, block))
            return failed(cc);
        u32 unused = block->cpb.out_subc;
        bool done = block->cpb.out_sfbt == SFBT_DONE;
        from += block->cpb.decompress_spbc - history - (done ? unused / 8 : (unused + 7) / 8);
        made += block->csb.count;
        if (done)
            break;
        if (from >= n)
            return -EINVAL;             /* cut short */
        memcpy(&block->cpb, &block->cpb.out_adler, 304);            /* by design: output quadwords 24 to 42 are the next input's 0 to 18 */
        chunk = min(2 * chunk, nx->chunk);
    }
    if (n - from < TRAILER || memcmp(in + from, block->cpb.out_crc, 4) != 0 || get_le32(in + from + 4) != (u32)made)
        return FAILED;
    return (s64)made;
}
