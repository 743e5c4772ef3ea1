/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (Castagnoli; RFC 3720 appendix B.4). The processor's instruction where there is one, a table elsewhere. */
#include <string.h>

#include "core.h"

#define POLY 0x82f63b78u                                /* reflected 0x1EDC6F41 */

static u32 soft(u32 crc, const u8 *p, size_t n)
{
    static u32 table[256];

    if (!table[1])
        for (u32 i = 256; i-- > 0;) {                   /* downwards: table[1] is written last but one, table[0] is 0 */
            u32 c = i;
            for (int k = 0; k < 8; k++)
                c = c & 1 ? c >> 1 ^ POLY : c >> 1;
            table[i] = c;
        }
    while (n--)
        crc = table[(crc ^ *p++) & 0xff] ^ crc >> 8;
    return crc;
}

#if defined(__x86_64__)
/* Three independent streams hide the instruction's latency of 3 cycles; their CRCs are joined with a shift by
 * `LANE` zero bytes, a linear map tabulated per byte. */
#define LANE 1360                                       /* 3 * 1360 + 16 = 4096 */
static u32 shift_lane[4][256];

static u32 zeros(u32 crc, size_t n)
{
    for (; n; n--)
        for (int k = 0; k < 8; k++)
            crc = crc & 1 ? crc >> 1 ^ POLY : crc >> 1;
    return crc;
}

static u32 shifted(u32 crc)
{
    return shift_lane[0][crc & 0xff] ^ shift_lane[1][crc >> 8 & 0xff] ^ shift_lane[2][crc >> 16 & 0xff] ^ shift_lane[3][crc >> 24];
}

__attribute__((constructor)) static void tabulate(void)
{
    u32 base[32];

    for (int b = 0; b < 32; b++)
        base[b] = zeros(1u << b, LANE);
    for (int byte = 0; byte < 4; byte++)
        for (u32 i = 0; i < 256; i++)
            for (int b = 0; b < 8; b++)
                if (i >> b & 1)
                    shift_lane[byte][i] ^= base[byte * 8 + b];
}

__attribute__((target("sse4.2"))) static u32 hard(u32 crc, const u8 *p, size_t n)
{
    u64 c = crc, w;

    while (n >= 3 * LANE) {
        u64 c1 = 0, c2 = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            u64 w0, w1, w2;
            memcpy(&w0, p + i, 8);
            memcpy(&w1, p + LANE + i, 8);
            memcpy(&w2, p + 2 * LANE + i, 8);
            c = __builtin_ia32_crc32di(c, w0);
            c1 = __builtin_ia32_crc32di(c1, w1);
            c2 = __builtin_ia32_crc32di(c2, w2);
        }
        c = shifted(shifted((u32)c) ^ (u32)c1) ^ (u32)c2;
        p += 3 * LANE;
        n -= 3 * LANE;
    }
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        c = __builtin_ia32_crc32di(c, w);
    }
    for (; n; n--)
        c = __builtin_ia32_crc32qi((u32)c, *p++);
    return (u32)c;
}
static int have_hard(void) { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
static u32 hard(u32 crc, const u8 *p, size_t n)
{
    u64 w;

    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        crc = __crc32cd(crc, w);
    }
    while (n--)
        crc = __crc32cb(crc, *p++);
    return crc;
}
static int have_hard(void) { return 1; }
#else
static u32 hard(u32 crc, const u8 *p, size_t n) { return soft(crc, p, n); }
static int have_hard(void) { return 0; }
#endif

u32 crc32c(const void *data, size_t len)
{
    return ~(have_hard() ? hard(~0u, data, len) : soft(~0u, data, len));
}

u32 crc32c_reference(const void *data, size_t len) { return ~soft(~0u, data, len); }
