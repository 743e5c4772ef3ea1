/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Console output. */
#include "apf.h"
#include "task.h"

static struct spinlock console_lock = SPINLOCK("console");
static bool panicking;              /* a panic prints whatever the lock's state */
static int panic_cpu = -1;

void console_write(const char *s, size_t n)
{
    bool locked = !panicking && !holding(&console_lock);
    if (locked)
        lock(&console_lock);
    arch_write(s, n);
    if (locked)
        unlock(&console_lock);
}

/* A line under construction; what does not fit is cut. */
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

static u64 number_arg(__builtin_va_list *ap, int longs, bool is_signed)
{
    if (longs)          /* long and long long are both 64 bits here */
        return __builtin_va_arg(*ap, u64);
    return is_signed ? (u64)(s64)__builtin_va_arg(*ap, int) : __builtin_va_arg(*ap, unsigned);
}

static void put_signed(struct line *l, s64 v, int width, char pad)
{
    if (v < 0) {
        put(l, '-');
        width--;
    }
    put_number(l, v < 0 ? -(u64)v : (u64)v, 10, width, pad);
}

static void put_text(struct line *l, const char *s, int width)
{
    int n = 0;
    for (s = s ? s : "(null)"; *s; n++)
        put(l, *s++);
    while (n++ < width)
        put(l, ' ');
}

static void format(struct line *l, const char *fmt, __builtin_va_list *ap)
{
    for (; *fmt; fmt++) {
        if (*fmt != '%') {
            put(l, *fmt);
            continue;
        }
        char pad = ' ';
        int width = 0, longs = 0;
        if (*++fmt == '-')      /* texts are padded on the right anyway */
            fmt++;
        if (*fmt == '0')
            pad = '0';
        while (*fmt >= '0' && *fmt <= '9')
            width = width * 10 + *fmt++ - '0';
        while (*fmt == 'l' || *fmt == 'z')
            longs++, fmt++;
        switch (*fmt) {
        case 'd':
        case 'i': put_signed(l, (s64)number_arg(ap, longs, true), width, pad); break;
        case 'u': put_number(l, number_arg(ap, longs, false), 10, width, pad); break;
        case 'x': put_number(l, number_arg(ap, longs, false), 16, width, pad); break;
        case 'p': put_text(l, "0x", 0); put_number(l, __builtin_va_arg(*ap, uptr), 16, width, '0'); break;
        case 's': put_text(l, __builtin_va_arg(*ap, const char *), width); break;
        case 'c': put(l, (char)__builtin_va_arg(*ap, int)); break;
        case '%': put(l, '%'); break;
        default: return;        /* a broken format ends the line */
        }
    }
}

void kprintf(const char *fmt, ...)
{
    struct line l = {.n = 0};
    __builtin_va_list ap;
    __builtin_va_start(ap, fmt);
    format(&l, fmt, &ap);
    __builtin_va_end(ap);
    console_write(l.text, l.n);
}

void panic(const char *fmt, ...)
{
    struct line l = {.n = 0};
    __builtin_va_list ap;
    int first = -1;
    irq_disable();
    if (!__atomic_compare_exchange_n(&panic_cpu, &first, arch_cpu(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (first != arch_cpu())    /* that one tells what happened, and ends the machine */
            stop_this();
        arch_poweroff(1);           /* a panic inside panic: give up quietly */
    }
    panicking = true;
    apf_cpu_stop();
    stop_others();
    put_text(&l, "panic: ", 0);
    __builtin_va_start(ap, fmt);
    format(&l, fmt, &ap);
    __builtin_va_end(ap);
    put(&l, '\n');
    console_write(l.text, l.n);
    arch_poweroff(1);
}
