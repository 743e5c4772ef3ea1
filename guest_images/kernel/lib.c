/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory and strings. The compiler may call the mem*() functions on its own. */
#include "kernel.h"

typedef u64 __attribute__((may_alias)) word;

static bool aligned(const void *a, size_t n) { return (((uptr)a | n) & 31) == 0; }

void *memset(void *dst, int c, size_t n)
{
    if (aligned(dst, n)) {
        u64 v = (u8)c * 0x0101010101010101ull;
        for (word *p = dst, *end = p + n / 8; p < end; p += 4)
            p[0] = v, p[1] = v, p[2] = v, p[3] = v;
        return dst;
    }
    u8 *p = dst;
    while (n--)
        *p++ = (u8)c;
    return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
    if (aligned(dst, n) && aligned(src, n)) {
        const word *s = src;
        for (word *p = dst, *end = p + n / 8; p < end; p += 4, s += 4)
            p[0] = s[0], p[1] = s[1], p[2] = s[2], p[3] = s[3];
        return dst;
    }
    u8 *d = dst;
    const u8 *s = src;
    while (n--)
        *d++ = *s++;
    return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
    u8 *d = dst;
    const u8 *s = src;
    if (d <= s || d >= s + n)
        return memcpy(dst, src, n);
    while (n--)
        d[n] = s[n];
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n; n--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
    for (; n && *a && *a == *b; n--, a++, b++)
        ;
    return n ? (u8)*a - (u8)*b : 0;
}
