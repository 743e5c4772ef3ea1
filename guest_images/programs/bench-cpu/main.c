/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs the chosen kernels and prints one line for each: name, scale, checksum. */
#include "bench.h"

volatile struct bench_config bench_config = { .mask = ~0u, .scale = 4 };

const struct kernel kernels[] = {
    { "loop", 0, loop_work },     { "sha256", 0, sha256_work },        { "sort", sort_setup, sort_work },
    { "hash", 0, hash_work },     { "list", list_setup, list_work },   { "crc", crc_setup, crc_work },
};
const u32 nkernels = sizeof kernels / sizeof *kernels;

static void put_text(const char *s)
{
    while (*s)
        put_char(*s++);
}

static void put_hex(u32 x)
{
    put_text("0x");
    for (int shift = 28; shift >= 0; shift -= 4)
        put_char("0123456789abcdef"[x >> shift & 15]);
}

void bench_main(void)
{
    u32 scale = bench_config.scale;

    for (u32 i = 0; i < nkernels; i++) {
        if (!(bench_config.mask >> i & 1))
            continue;
        if (kernels[i].setup)
            kernels[i].setup();
        u32 sum = kernels[i].work(scale);
        put_text("bench-cpu ");
        put_text(kernels[i].name);
        put_text(" scale=");
        put_hex(scale);
        put_text(" checksum=");
        put_hex(sum);
        put_char('\n');
    }
    power_off();
}

/* The compiler may call these for struct copies and loops. */
void *memcpy(void *to, const void *from, u64 n)
{
    u8 *t = to;
    const u8 *f = from;

    while (n--)
        *t++ = *f++;
    return to;
}

void *memset(void *to, int value, u64 n)
{
    for (u8 *t = to; n--; t++)
        *t = (u8)value;
    return to;
}
