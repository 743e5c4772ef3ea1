/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User page frames: all RAM outside the kernel image, firmware, initrd and device tree. The host may page them out, so nothing
 * about a frame is kept in it; one byte each in the pinned pool counts references (0: free).
 *
 * Memory is promised before it is handed out (frame_reserve): brk, mmap and fork fail with -ENOMEM, a page fault never does.
 */
#include "kernel.h"

enum { FRAME_RESERVED = 255 };      /* not RAM for users */

static u8 *refs;
static u64 first_pfn, n_frames;
static u64 hint;                    /* no free frame below this index */
static u64 n_usable, n_promised;
static struct spinlock frames_lock = SPINLOCK("frames");

/* Take [lo, hi) out of the frames for users. */
static void exclude(u64 lo, u64 hi)
{
    u64 base = first_pfn << PAGE_SHIFT, end = base + (n_frames << PAGE_SHIFT);
    lo = lo < base ? base : PAGE_DOWN(lo);
    hi = hi > end ? end : PAGE_UP(hi);
    for (u64 pa = lo; pa < hi; pa += PAGE_SIZE)
        refs[(pa >> PAGE_SHIFT) - first_pfn] = FRAME_RESERVED;
}

static void exclude_boot_data(void)
{
    u64 addr, size;
    exclude(kva_to_pa(kernel_start), kva_to_pa(kernel_end));
    exclude(kva_to_pa(fdt_header()), kva_to_pa(fdt_header()) + fdt_size());
    exclude(fdt_num("/chosen", "linux,initrd-start", 0), fdt_num("/chosen", "linux,initrd-end", 0));
    for (int i = 0; fdt_child_reg("/reserved-memory", i, &addr, &size); i++)
        exclude(addr, addr + size < addr ? ~0ull : addr + size);
    exclude(0, PAGE_SIZE);          /* 0 means "no frame" */
}

void frames_init(void)
{
    int order = 0;
    first_pfn = mem_base >> PAGE_SHIFT;
    n_frames = mem_size >> PAGE_SHIFT;
    while (PAGE_SIZE << order < n_frames && 8ull << order <= KPOOL_PAGES)
        order++;
    if (n_frames > PAGE_SIZE << order)      /* a quarter of the pool describes 1 GiB: leave the rest of RAM alone */
        n_frames = PAGE_SIZE << order;
    refs = kalloc_order(order);
    if (!refs)
        panic("frames_init: pool exhausted");
    exclude_boot_data();
    for (u64 i = 0; i < n_frames; i++)
        n_usable += refs[i] == 0;
}

static u8 *ref(u64 pa)
{
    u64 i = (pa >> PAGE_SHIFT) - first_pfn;
    if (i >= n_frames || refs[i] == 0 || refs[i] == FRAME_RESERVED)
        panic("frames: %llx is not an allocated frame", pa);
    return &refs[i];
}

__attribute__((weak)) void arch_frame_used(u64 pa) { (void)pa; }
__attribute__((weak)) void arch_frame_free(u64 pa) { (void)pa; }

u64 frame_alloc(void)
{
    u64 pa = 0;
    lock(&frames_lock);
    while (hint < n_frames && refs[hint])
        hint++;
    if (hint < n_frames) {
        refs[hint] = 1;
        pa = (first_pfn + hint++) << PAGE_SHIFT;
    }
    unlock(&frames_lock);
    if (pa && page_states)
        arch_frame_used(pa);
    return pa;
}

u64 frames_alloc(u64 n)
{
    u64 run = 0, i = 0, pa;
    if (!frame_reserve(n))
        return 0;
    lock(&frames_lock);
    for (; i < n_frames && run < n; i++)
        run = refs[i] ? 0 : run + 1;
    if (run == n)
        memset(refs + (i - n), 1, n);
    pa = (first_pfn + i - n) << PAGE_SHIFT;
    for (i = 0; page_states && run == n && i < n; i++)
        arch_frame_used(pa + i * PAGE_SIZE);
    unlock(&frames_lock);
    if (run == n)
        return pa;
    frame_unreserve(n);
    return 0;
}

void frame_zero(u64 pa) { memset(pa_to_kva(pa), 0, PAGE_SIZE); }

void frame_get(u64 pa)
{
    lock(&frames_lock);
    if (++*ref(pa) == FRAME_RESERVED)
        panic("frame_get: too many references to %llx", pa);
    unlock(&frames_lock);
}

void frame_put(u64 pa)
{
    u64 i = (pa >> PAGE_SHIFT) - first_pfn;
    lock(&frames_lock);
    if (page_states && *ref(pa) == 1)
        arch_frame_free(pa);            /* before anybody else can have it */
    if (--*ref(pa) == 0 && i < hint)
        hint = i;
    unlock(&frames_lock);
}

int frame_refs(u64 pa) { return *ref(pa); }

bool frame_reserve(u64 n)
{
    lock(&frames_lock);
    bool ok = n <= n_usable - n_promised;
    if (ok)
        n_promised += n;
    unlock(&frames_lock);
    return ok;
}

void frame_unreserve(u64 n)
{
    lock(&frames_lock);
    if (n > n_promised)
        panic("frame_unreserve: %llu of %llu", n, n_promised);
    n_promised -= n;
    unlock(&frames_lock);
}

u64 frames_total(void) { return n_usable; }
u64 frames_uncommitted(void) { return n_usable - n_promised; }
