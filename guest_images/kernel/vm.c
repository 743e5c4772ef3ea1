/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User address spaces: regions filled on demand (zeros, or bytes of the program file), shared copy-on-write by fork.
 * A page that several address spaces reference is mapped without PROT_W in all of them.
 */
#include "task.h"

int vm_init(struct mm *mm)
{
    memset(mm, 0, sizeof *mm);
    mm->root = arch_pt_new();
    return mm->root ? 0 : -ENOMEM;
}

static struct region *find(struct mm *mm, u64 va)
{
    for (struct region *r = mm->regions; r < mm->regions + NREGION; r++) {
        if (va >= r->start && va < r->end)
            return r;
    }
    return NULL;
}

static bool overlaps(const struct mm *mm, u64 start, u64 end)
{
    for (const struct region *r = mm->regions; r < mm->regions + NREGION; r++) {
        if (r->start < r->end && start < r->end && r->start < end)
            return true;
    }
    return false;
}

int vm_add(struct mm *mm, const struct region *r)
{
    if (r->start >= r->end || (r->start | r->end) & PAGE_MASK || r->end > USER_TOP || overlaps(mm, r->start, r->end))
        return -EINVAL;
    for (struct region *slot = mm->regions; slot < mm->regions + NREGION; slot++) {
        if (slot->start < slot->end)
            continue;
        u64 pages = (r->end - r->start) / PAGE_SIZE;
        if (!frame_reserve(pages))
            return -ENOMEM;
        mm->promised += pages;
        *slot = *r;
        return 0;
    }
    return -ENOMEM;
}

static void unpromise(struct mm *mm, u64 pages)
{
    frame_unreserve(pages);
    mm->promised -= pages;
}

enum { BATCH = 32 };            /* pages that are unmapped before other CPUs are told */

/* Unmap [start, end) and drop its frames. loaded: it is the current address space, and other CPUs may know its translations. */
static void drop(struct mm *mm, u64 start, u64 end, bool loaded)
{
    u64 frames[BATCH], first = start;
    int n = 0;
    for (u64 va = start; va < end; va += PAGE_SIZE) {
        u64 pa = arch_unmap(mm->root, va);
        if (pa && n++ == 0)
            first = va;
        if (pa)
            frames[n - 1] = pa;
        if (n == 0 || (n < BATCH && va + PAGE_SIZE < end))
            continue;
        if (loaded)
            tlb_flush(mm, first, va + PAGE_SIZE);
        while (n)
            frame_put(frames[--n]);     /* only now: nobody can reach it any more */
    }
}

void vm_destroy(struct mm *mm)
{
    for (struct region *r = mm->regions; r < mm->regions + NREGION; r++)
        drop(mm, r->start, r->end, false);
    frame_unreserve(mm->promised);
    arch_pt_free(mm->root);
    memset(mm, 0, sizeof *mm);
}

static u64 max(u64 a, u64 b) { return a > b ? a : b; }
static u64 min(u64 a, u64 b) { return a < b ? a : b; }

/* Give the page its first contents. */
static void fill(const struct region *r, u64 va, u64 pa)
{
    frame_zero(pa);
    u64 lo = max(va, r->file_start), hi = min(va + PAGE_SIZE, r->file_end);
    if (r->file && lo < hi)
        memcpy((u8 *)pa_to_kva(pa) + (lo - va), r->file + (lo - r->file_start), hi - lo);
    if (r->prot & PROT_X)
        arch_sync_icache(pa_to_kva(pa), PAGE_SIZE);
}

void vm_refill(struct mm *mm, u64 va)
{
    const struct region *r = find(mm, va);
    u64 pa = r ? arch_lookup(mm->root, PAGE_DOWN(va), NULL) : 0;
    if (pa)
        fill(r, PAGE_DOWN(va), pa);
}

/* Map the frame, dropping it when there is no memory for page tables. */
static int map_frame(struct mm *mm, u64 va, u64 pa, int prot)
{
    int error = arch_map(mm->root, va, pa, prot);
    if (error)
        frame_put(pa);
    return error;
}

/* First touch of a page. */
static int populate(struct mm *mm, const struct region *r, u64 va)
{
    u64 pa = frame_alloc();
    if (!pa)
        panic("vm_fault: no frame although it was promised");
    fill(r, va, pa);
    return map_frame(mm, va, pa, r->prot);
}

/* Write to a shared page: the last user keeps it, others get a copy. */
static int unshare(struct mm *mm, const struct region *r, u64 va, u64 old)
{
    u64 pa = old;
    bool copied = frame_refs(old) > 1;
    if (copied) {
        pa = frame_alloc();
        if (!pa)
            panic("vm_fault: no frame although it was promised");
        memcpy(pa_to_kva(pa), pa_to_kva(old), PAGE_SIZE);
        if (r->prot & PROT_X)
            arch_sync_icache(pa_to_kva(pa), PAGE_SIZE);
    }
    int error = arch_map(mm->root, va, pa, r->prot);    /* replaces: cannot need a table */
    tlb_flush(mm, va, va + PAGE_SIZE);
    if (copied)
        frame_put(old);         /* after the flush: its last user may write it from now on */
    return error;
}

int vm_fault(struct mm *mm, u64 va, int access)
{
    static const int needed[] = {[ACC_READ] = PROT_R, [ACC_WRITE] = PROT_W, [ACC_EXEC] = PROT_X};
    struct region *r = find(mm, va);
    int prot;
    if (!r || !(r->prot & needed[access]))
        return -EFAULT;
    va = PAGE_DOWN(va);
    u64 pa = arch_lookup(mm->root, va, &prot);
    if (!pa)
        return populate(mm, r, va);
    if (access == ACC_WRITE && !(prot & PROT_W))
        return unshare(mm, r, va, pa);
    arch_tlb_flush_page(va);        /* a stale translation: the page is accessible by now */
    return 0;
}

/* Share every present page of the parent's region. */
static int share(struct mm *child, struct mm *parent, const struct region *r)
{
    for (u64 va = r->start; va < r->end; va += PAGE_SIZE) {
        int prot;
        u64 pa = arch_lookup(parent->root, va, &prot);
        if (!pa)
            continue;
        frame_get(pa);
        int error = map_frame(child, va, pa, r->shared ? prot : prot & ~PROT_W);
        if (error)
            return error;
        if (prot & PROT_W && !r->shared)
            arch_map(parent->root, va, pa, prot & ~PROT_W);
    }
    return 0;
}

int vm_fork(struct mm *child, struct mm *parent)
{
    int error = 0;
    for (struct region *r = parent->regions; r < parent->regions + NREGION && !error; r++) {
        if (r->start == r->end)
            continue;
        error = vm_add(child, r);
        if (!error)
            error = share(child, parent, r);
    }
    child->brk_start = parent->brk_start;
    child->brk = parent->brk;
    if (!bug(BUG_FORK_NO_FLUSH))
        tlb_flush_all(parent);
    return error;
}

/* Move the end of the heap region from old to end (both page aligned). */
static int resize_heap(struct mm *mm, u64 old, u64 end)
{
    struct region *r = find(mm, mm->brk_start);
    if (end > old && r) {
        if (overlaps(mm, old, end))
            return -EINVAL;
        if (!frame_reserve((end - old) / PAGE_SIZE))
            return -ENOMEM;
        mm->promised += (end - old) / PAGE_SIZE;
        r->end = end;
    } else if (end > old) {
        return vm_add(mm, &(struct region){.start = old, .end = end, .prot = PROT_R | PROT_W});
    } else if (end < old) {
        drop(mm, end, old, true);
        unpromise(mm, (old - end) / PAGE_SIZE);
        r->end = end;
    }
    return 0;
}

s64 vm_brk(struct mm *mm, u64 end)
{
    if (end == 0)
        return (s64)mm->brk;
    if (end < mm->brk_start || end > UHEAP_MAX)
        return -EINVAL;
    int error = resize_heap(mm, PAGE_UP(mm->brk), PAGE_UP(end));
    if (error)
        return error;
    mm->brk = end;
    return (s64)end;
}

s64 vm_mmap(struct mm *mm, u64 len, u64 prot)
{
    if (len == 0 || len > UMMAP_MAX - UMMAP_BASE || !(prot & PROT_R) ||
        prot & ~(u64)(PROT_R | PROT_W | PROT_X | UPROT_SHARED))
        return -EINVAL;
    len = PAGE_UP(len);
    u64 start = UMMAP_BASE;
    for (int i = 0; i < NREGION; i++) {         /* above everything: addresses are not scarce */
        const struct region *r = &mm->regions[i];
        if (r->start < r->end && r->end + PAGE_SIZE > start)
            start = r->end + PAGE_SIZE;
    }
    if (start > UMMAP_MAX - len)
        return -ENOMEM;
    struct region r = {.start = start, .end = start + len, .prot = (int)prot & ~UPROT_SHARED, .shared = prot & UPROT_SHARED};
    int error = vm_add(mm, &r);
    for (u64 va = start; r.shared && va < r.end && !error; va += PAGE_SIZE)
        error = populate(mm, &r, va);   /* before a fork could give two tasks a page each */
    if (error && find(mm, start))
        vm_munmap(mm, start, len);
    return error ? error : (s64)start;
}

s64 vm_munmap(struct mm *mm, u64 addr, u64 len)
{
    struct region *r = find(mm, addr);
    if (!r || addr < UMMAP_BASE || r->start != addr || r->end - r->start != PAGE_UP(len))
        return -EINVAL;
    drop(mm, r->start, r->end, true);
    unpromise(mm, (r->end - r->start) / PAGE_SIZE);
    r->start = r->end = 0;
    return 0;
}
