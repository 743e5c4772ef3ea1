/* SPDX-License-Identifier: GPL-2.0-or-later */
#define ISA_NAME "arm64"

/* Stack pointer of a function that is entered below top. */
#define FUNCTION_SP(top) (top)

static inline s64 syscall5(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    register u64 x8 __asm__("x8") = nr;
    register u64 x0 __asm__("x0") = a;
    register u64 x1 __asm__("x1") = b;
    register u64 x2 __asm__("x2") = c;
    register u64 x3 __asm__("x3") = d;
    register u64 x4 __asm__("x4") = e;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory", "cc");
    return (s64)x0;
}

/* Make instructions just written at [p, p + n) executable (Arm ARM B2.7.4.2). 16 bytes is the smallest line. */
static inline void sync_code(void *p, u64 n)
{
    for (uptr a = (uptr)p & ~15ull; a < (uptr)p + n; a += 16)
        __asm__ volatile("dc cvau, %0" ::"r"(a) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
    for (uptr a = (uptr)p & ~15ull; a < (uptr)p + n; a += 16)
        __asm__ volatile("ic ivau, %0" ::"r"(a) : "memory");
    __asm__ volatile("dsb ish\n isb" ::: "memory");
}

/* Write a function `int f(void)` that returns value (0..127); returns its length. */
static inline u64 make_constant_function(void *p, int value)
{
    const u32 code[] = {0x52800000u | (u32)value << 5, 0xd65f03c0u};     /* mov w0, #value; ret */
    __builtin_memcpy(p, code, sizeof code);
    return sizeof code;
}

static inline void illegal_instruction(void) { __asm__ volatile("udf #0"); }
static inline void privileged_instruction(void) { __asm__ volatile("msr daifset, #2"); }
