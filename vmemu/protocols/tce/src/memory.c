/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's linear memory. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tce.h"

#define SCRATCH 65536u                                  /* what a breach reads and writes, so that it harms nobody before the run ends */

int lin_init(struct tce_host *h, u64 bytes)
{
    h->lin_size = (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    h->lin = mmap(NULL, h->lin_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    h->scratch = calloc(1, SCRATCH);
    if (h->lin == MAP_FAILED)
        h->lin = NULL;
    h->lin_next = PAGE_SIZE;                            /* so that no page is at a round address by chance */
    return h->lin && h->scratch ? 0 : -1;
}

void lin_end(struct tce_host *h)
{
    if (h->lin)
        munmap(h->lin, h->lin_size);
    free(h->scratch);
}

void breach(struct tce_host *h, const char *fmt, ...)
{
    va_list ap;

    if (h->dead)
        return;                                         /* the first one counts */
    h->dead = true;
    int n = snprintf(h->why, sizeof h->why, "the host died in %s mode: ", h->real ? "real" : "virtual");
    va_start(ap, fmt);
    vsnprintf(h->why + n, sizeof h->why - (size_t)n, fmt, ap);
    va_end(ap);
}

void *lin(struct tce_host *h, u64 phys, u64 len)
{
    u64 off = phys - KERNEL_BASE;

    if (phys >= KERNEL_BASE && off < h->lin_next && len <= h->lin_next - off)
        return h->lin + off;
    if (phys >> PAGE_SHIFT < h->nframes && (phys & (PAGE_SIZE - 1)) + len <= PAGE_SIZE)
        return h->core->frame_bytes(h->m, (u32)(phys >> PAGE_SHIFT), false) + (phys & (PAGE_SIZE - 1));
    breach(h, "access to %#llx, which is not in the linear map", (unsigned long long)phys);
    return h->scratch;
}

u64 kernel_pages(struct tce_host *h, u32 n)
{
    u64 at = h->lin_next, bytes = n * PAGE_SIZE;

    if (h->real) {
        breach(h, "allocation of %u pages", n);
        return 0;
    }
    if (n == 1 && h->lin_free) {                        /* single pages come back */
        at = h->lin_free - KERNEL_BASE;
        h->lin_free = *(u64 *)(h->lin + at);
        memset(h->lin + at, 0, PAGE_SIZE);
        return KERNEL_BASE + at;
    }
    if (bytes > h->lin_size - at)
        return 0;
    h->lin_next += bytes;
    return KERNEL_BASE + at;
}
