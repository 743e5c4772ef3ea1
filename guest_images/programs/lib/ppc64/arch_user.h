/* SPDX-License-Identifier: GPL-2.0-or-later */
#define ISA_NAME "ppc64"

/* Stack pointer of a function that is entered below top: room for the frame header it saves LR in (ELFv2 2.2.2). */
#define FUNCTION_SP(top) ((top) - 64)

static inline s64 syscall5(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    register u64 r0 __asm__("r0") = nr;
    register u64 r3 __asm__("r3") = a;
    register u64 r4 __asm__("r4") = b;
    register u64 r5 __asm__("r5") = c;
    register u64 r6 __asm__("r6") = d;
    register u64 r7 __asm__("r7") = e;
    __asm__ volatile("sc" : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
                     :: "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");
    return (s64)r3;
}

/* Make instructions just written at [p, p + n) executable (Power ISA 3.1, II 1.8). */
static inline void sync_code(void *p, u64 n)
{
    for (uptr a = (uptr)p & ~31ull; a < (uptr)p + n; a += 32)
        __asm__ volatile("dcbst 0, %0" ::"r"(a) : "memory");
    __asm__ volatile("sync" ::: "memory");
    for (uptr a = (uptr)p & ~31ull; a < (uptr)p + n; a += 32)
        __asm__ volatile("icbi 0, %0" ::"r"(a) : "memory");
    __asm__ volatile("sync\n isync" ::: "memory");
}

/* Write a function `int f(void)` that returns value (0..127); returns its length. */
static inline u64 make_constant_function(void *p, int value)
{
    const u32 code[] = {0x38600000u | (u32)value, 0x4e800020u};     /* li r3, value; blr */
    __builtin_memcpy(p, code, sizeof code);
    return sizeof code;
}

static inline void illegal_instruction(void) { __asm__ volatile(".long 0"); }
static inline void privileged_instruction(void) { __asm__ volatile("mfmsr 3" ::: "r3"); }
