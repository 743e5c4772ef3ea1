/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bench-cpu: integer kernels on bare metal, for comparing engines. No MMU beyond what 64-bit x86 demands, no exceptions, no device
 * tree, no FP. The same file runs on vmemu, on a bare CPU emulator that starts at `bench_start`, and on qemu-system.
 */
#ifndef BENCH_H
#define BENCH_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

/* What runs, in the target's byte order. A harness patches it in the file (symbol bench_config). */
struct bench_config {
    u32 mask;                           /* bit i = kernel i */
    u32 scale;                          /* repetitions of each kernel's unit of work */
};
extern volatile struct bench_config bench_config;

struct kernel {
    const char *name;
    void (*setup)(void);
    u32 (*work)(u32 scale);             /* returns a checksum that depends on scale alone, equal on every architecture */
};
extern const struct kernel kernels[];
extern const u32 nkernels;

u32 loop_work(u32), sha256_work(u32), sort_work(u32), hash_work(u32), list_work(u32), crc_work(u32);
void list_setup(void), crc_setup(void), sort_setup(void);

void *memset(void *to, int value, u64 n);

/* start.S of each architecture */
void put_char(char c);
void power_off(void) __attribute__((noreturn));

/* xorshift32 (Marsaglia 2003): fast, and the same everywhere */
static inline u32 next_random(u32 *state)
{
    u32 x = *state;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}
#endif
