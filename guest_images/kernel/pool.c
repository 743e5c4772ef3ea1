/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pinned pool: a part of .bss, hence inside the range of the vmemu note, that is never paged out. Page tables, kernel
 * stacks and every other kernel object come from here, so that a page fault is only ever about user memory.
 */
#include "kernel.h"

static u8 pool[KPOOL_PAGES * PAGE_SIZE] __attribute__((aligned(4096)));
static u8 used[KPOOL_PAGES];
static u64 n_free = KPOOL_PAGES;
static struct spinlock pool_lock = SPINLOCK("pool");

void pool_init(void)
{
    if ((u64)(uptr)pool & PAGE_MASK)
        panic("pool_init: the pool is not page aligned");
}

/* Is the run of n pages at index i free and aligned (physically) to its size? */
static bool fits(u64 i, u64 n)
{
    if (((kva_to_pa(pool) >> PAGE_SHIFT) + i) & (n - 1))
        return false;
    for (u64 k = 0; k < n; k++) {
        if (used[i + k])
            return false;
    }
    return true;
}

/* Index of a free run, marked as used, or -1. First fit. */
static s64 take(u64 n)
{
    s64 found = -1;
    lock(&pool_lock);
    for (u64 i = 0; i + n <= KPOOL_PAGES && found < 0; i++) {
        if (fits(i, n))
            found = (s64)i;
    }
    if (found >= 0) {
        memset(used + found, 1, n);
        n_free -= n;
    }
    unlock(&pool_lock);
    return found;
}

void *kalloc_order(int order)
{
    s64 i = take(1ull << order);
    if (i < 0)
        return NULL;
    return memset(pool + (u64)i * PAGE_SIZE, 0, PAGE_SIZE << order);
}

void *kalloc(void) { return kalloc_order(0); }

void kfree_order(void *page, int order)
{
    u64 offset = (u64)((u8 *)page - pool), n = 1ull << order;
    if ((offset & PAGE_MASK) || offset / PAGE_SIZE + n > KPOOL_PAGES)
        panic("kfree: %p is no pool page", page);
    lock(&pool_lock);
    for (u64 i = offset / PAGE_SIZE; i < offset / PAGE_SIZE + n; i++) {
        if (!used[i])
            panic("kfree: %p is free", page);
        used[i] = 0;
    }
    n_free += n;
    unlock(&pool_lock);
}

void kfree(void *page) { kfree_order(page, 0); }

u64 pool_free_pages(void) { return n_free; }
