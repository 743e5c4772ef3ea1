/* SPDX-License-Identifier: GPL-2.0-or-later */
#define ISA_NAME "x86_64"

/* Stack pointer of a function that is entered below top: as a call leaves it. */
#define FUNCTION_SP(top) ((top) - 8)

static inline s64 syscall5(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    register u64 r10 __asm__("r10") = d;
    register u64 r8 __asm__("r8") = e;
    s64 result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                     : "rcx", "r11", "memory", "cc");
    return result;
}

/* Make instructions just written at [p, p + n) executable: x86 keeps fetches coherent, a jump is enough (SDM 3, 9.1.3). */
static inline void sync_code(void *p, u64 n)
{
    (void)p, (void)n;
    __asm__ volatile("" ::: "memory");
}

/* Write a function `int f(void)` that returns value (0..127); returns its length. */
static inline u64 make_constant_function(void *p, int value)
{
    const u8 code[] = {0xb8, (u8)value, 0, 0, 0, 0xc3};     /* mov $value, %eax; ret */
    __builtin_memcpy(p, code, sizeof code);
    return sizeof code;
}

static inline void illegal_instruction(void) { __asm__ volatile("ud2"); }
static inline void privileged_instruction(void) { __asm__ volatile("cli"); }
