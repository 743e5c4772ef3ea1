/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtual terminal (LoPAR 2.9, H_PUT_TERM_CHAR and H_GET_TERM_CHAR): up to 16 bytes a call, in two registers. */
#include "ppc64.h"

enum { TERMINAL = 0, MOST = 16 };

/* Bytes go from the most significant end of the first register to the least significant one of the second. */
static void put(const char *s, u64 n)
{
    u64 bytes[2] = {0, 0};
    for (u64 i = 0; i < n; i++)
        bytes[i / 8] |= (u64)(u8)s[i] << (56 - 8 * (i % 8));
    while (hcall(H_PUT_TERM_CHAR, TERMINAL, n, bytes[0], bytes[1], NULL) == H_BUSY)
        ;
}

void arch_write(const char *s, size_t n)
{
    for (u64 part; n; s += part, n -= part) {
        part = n < MOST ? n : MOST;
        put(s, part);
    }
}

int arch_getc(void)
{
    static u64 waiting[3];              /* count and up to 16 bytes of the last call */
    static int next;
    if ((u64)next >= waiting[0]) {
        next = 0;
        waiting[0] = 0;
        if (hcall(H_GET_TERM_CHAR, TERMINAL, 0, 0, 0, waiting) != H_SUCCESS || waiting[0] == 0 || waiting[0] > MOST)
            return -1;
    }
    int c = (int)(waiting[1 + next / 8] >> (56 - 8 * (next % 8)) & 255);
    next++;
    return c;
}
