/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "user.h"

struct line {
    char text[240];
    size_t n;
};

static void put(struct line *l, char c)
{
    if (l->n < sizeof l->text)
        l->text[l->n++] = c;
}

static void put_number(struct line *l, u64 v, unsigned base, int width, char pad)
{
    char digits[24];
    int n = 0;
    do {
        digits[n++] = "0123456789abcdef"[v % base];
        v /= base;
    } while (v);
    while (width-- > n)
        put(l, pad);
    while (n)
        put(l, digits[--n]);
}

static void put_text(struct line *l, const char *s, int width)
{
    int n = 0;
    for (; s[n]; n++)
        put(l, s[n]);
    for (; n < width; n++)
        put(l, ' ');
}

static void put_argument(struct line *l, char kind, int width, char pad, bool is_long, __builtin_va_list *ap)
{
    s64 v;
    switch (kind) {
    case 's': put_text(l, __builtin_va_arg(*ap, const char *), width); break;
    case 'c': put(l, (char)__builtin_va_arg(*ap, int)); break;
    case 'p': put_text(l, "0x", 0); put_number(l, __builtin_va_arg(*ap, uptr), 16, width, '0'); break;
    case 'u': put_number(l, is_long ? __builtin_va_arg(*ap, u64) : __builtin_va_arg(*ap, u32), 10, width, pad); break;
    case 'x': put_number(l, is_long ? __builtin_va_arg(*ap, u64) : __builtin_va_arg(*ap, u32), 16, width, pad); break;
    case 'd':
        v = is_long ? __builtin_va_arg(*ap, s64) : __builtin_va_arg(*ap, s32);
        if (v < 0)
            put(l, '-');
        put_number(l, v < 0 ? -(u64)v : (u64)v, 10, width, pad);
        break;
    default: put(l, kind); break;
    }
}

void printf(const char *fmt, ...)
{
    struct line l = {.n = 0};
    __builtin_va_list ap;
    __builtin_va_start(ap, fmt);
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(&l, *fmt);
            continue;
        }
        char pad = *++fmt == '0' ? '0' : ' ';
        int width = 0;
        bool is_long = false;
        if (*fmt == '-')
            fmt++;
        while (*fmt >= '0' && *fmt <= '9')
            width = width * 10 + *fmt++ - '0';
        for (; *fmt == 'l' || *fmt == 'z'; fmt++)
            is_long = true;
        put_argument(&l, *fmt, width, pad, is_long, &ap);
    }
    __builtin_va_end(ap);
    write(1, l.text, l.n);
}
