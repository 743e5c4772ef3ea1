/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32 (ISO 3309, RFC 1952 8) eight bytes at a time, and Adler-32 (RFC 1950 9). */
#include <string.h>

#include "nx.h"

#define POLYNOMIAL 0xedb88320u
#define ADLER_BASE 65521u
/* The most bytes whose sums fit in 32 bits before a reduction (RFC 1950's reference code) */
#define ADLER_RUN 5552

static u32 table[8][256];

__attribute__((constructor)) static void make_table(void)
{
    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? POLYNOMIAL : 0);
        table[0][i] = c;
    }
    for (u32 i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = table[k - 1][i] >> 8 ^ table[0][table[k - 1][i] & 0xff];
}

u32 nx_crc32(u32 crc, const u8 *p, size_t n)
{
    crc = ~crc;
    for (; n >= 8; p += 8, n -= 8) {
        u32 a = crc ^ ((u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24);
        crc = table[7][a & 0xff] ^ table[6][a >> 8 & 0xff] ^ table[5][a >> 16 & 0xff] ^ table[4][a >> 24] ^ table[3][p[4]] ^
              table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    while (n--)
        crc = crc >> 8 ^ table[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

u32 nx_adler32(u32 adler, const u8 *p, size_t n)
{
    u32 a = adler & 0xffff, b = adler >> 16;

    while (n) {
        size_t run = n < ADLER_RUN ? n : ADLER_RUN;
        n -= run;
        while (run--) {
            a += *p++;
            b += a;
        }
        a %= ADLER_BASE;
        b %= ADLER_BASE;
    }
    return b << 16 | a;
}
