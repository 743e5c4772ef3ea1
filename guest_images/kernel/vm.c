/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User address spaces: regions filled on demand (zeros, or bytes of the program file), shared copy-on-write by fork.
 * A page that several address spaces reference is mapped without PROT_W in all of them.
 */
#include "task.h"

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
        u64 pages = r->device ? 0 : (r->end - r->start) / PAGE_SIZE;
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

/* Unmap [start, end) and drop its frames, if it has any. loaded: other CPUs may know its translations. */
static void drop(struct mm *mm, u64 start, u64 end, bool has_frames, bool loaded)
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
        for (; n; n--) {
            if (has_frames)
                frame_put(frames[n - 1]);   /* only now: nobody can reach it any more */
        }
    }
}

/* Drop regions: those of devices, or all, and then the address space is not loaded on any CPU. */
static void clear(struct mm *mm, bool all)
{
    struct file *devices[NREGION];
    int n = 0;
    mutex_lock(&mm->lock);
    for (struct region *r = mm->regions; r < mm->regions + NREGION; r++) {
        if (r->device)
            devices[n++] = r->device;
        else if (!all)
            continue;
        drop(mm, r->start, r->end, !r->device, !all);
        *r = (struct region){0};
    }
    if (all)
        unpromise(mm, mm->promised);
    mutex_unlock(&mm->lock);
    while (n)
        file_put(devices[--n]);         /* may wait for somebody who needs our lock */
}

void vm_clear(struct mm *mm) { clear(mm, true); }
void vm_clear_devices(struct mm *mm) { clear(mm, false); }

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
    mutex_lock(&mm->lock);
    const struct region *r = find(mm, va);
    u64 pa = r ? arch_lookup(mm->root, PAGE_DOWN(va), NULL) : 0;
    if (pa)
        fill(r, PAGE_DOWN(va), pa);
    mutex_unlock(&mm->lock);
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

int vm_fault_locked(struct mm *mm, u64 va, int access)
{
    static const int needed[] = {[ACC_READ] = PROT_R, [ACC_WRITE] = PROT_W, [ACC_EXEC] = PROT_X};
    struct region *r = find(mm, va);
    int prot;
    if (!r || !(r->prot & needed[access]))
        return -EFAULT;
    va = PAGE_DOWN(va);
    u64 pa = arch_lookup(mm->root, va, &prot);
    if (!pa && r->device)
        return -EFAULT;
    if (!pa)
        return populate(mm, r, va);
    if (access == ACC_WRITE && !(prot & PROT_W))
        return unshare(mm, r, va, pa);
    arch_tlb_flush_page(va);        /* a stale translation: the page is accessible by now */
    return 0;
}

int vm_fault(struct mm *mm, u64 va, int access)
{
    mutex_lock(&mm->lock);
    int error = vm_fault_locked(mm, va, access);
    mutex_unlock(&mm->lock);
    return error;
}

/* Share every present page of the parent's region. The child keeps the device, too. */
static int share(struct mm *child, struct mm *parent, const struct region *r)
{
    for (u64 va = r->start; va < r->end; va += PAGE_SIZE) {
        int prot;
        u64 pa = arch_lookup(parent->root, va, &prot);
        if (!pa)
            continue;
        if (r->device) {
            int error = arch_map(child->root, va, pa, prot | PROT_DEVICE);
            if (error)
                return error;
            continue;
        }
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
    mutex_lock(&parent->lock);
    for (struct region *r = parent->regions; r < parent->regions + NREGION && !error; r++) {
        if (r->start == r->end)
            continue;
        error = vm_add(child, r);
        if (!error && r->device)
            file_get(r->device);
        if (!error)
            error = share(child, parent, r);
    }
    child->brk_start = parent->brk_start;
    child->brk = parent->brk;
    if (!bug(BUG_FORK_NO_FLUSH))
        tlb_flush_all(parent);
    mutex_unlock(&parent->lock);
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
        drop(mm, end, old, true, true);
        unpromise(mm, (old - end) / PAGE_SIZE);
        r->end = end;
    }
    return 0;
}

static s64 set_brk(struct mm *mm, u64 end)
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

s64 vm_brk(struct mm *mm, u64 end)
{
    mutex_lock(&mm->lock);
    s64 result = set_brk(mm, end);
    mutex_unlock(&mm->lock);
    return result;
}

/* Where a region of that length may lie: above everything, addresses are not scarce. 0: nowhere. */
static u64 place(const struct mm *mm, u64 len)
{
    u64 start = UMMAP_BASE;
    for (int i = 0; i < NREGION; i++) {
        const struct region *r = &mm->regions[i];
        if (r->start < r->end && r->end + PAGE_SIZE > start)
            start = r->end + PAGE_SIZE;
    }
    return start > UMMAP_MAX - len ? 0 : start;
}

/* Take away the region that is exactly [addr, addr + len). *device: what it was of, for the caller to let go without the lock. */
static s64 remove(struct mm *mm, u64 addr, u64 len, struct file **device)
{
    struct region *r = find(mm, addr);
    if (!r || addr < UMMAP_BASE || r->start != addr || r->end - r->start != PAGE_UP(len))
        return -EINVAL;
    *device = r->device;
    drop(mm, r->start, r->end, !r->device, true);
    if (!r->device)
        unpromise(mm, (r->end - r->start) / PAGE_SIZE);
    *r = (struct region){0};
    return 0;
}

/* Add the region and fill in what must be there at once: a device's page (pa), or shared memory before a fork could give two
 * tasks a page each. Returns its start. */
static s64 add(struct mm *mm, struct region *r, u64 len, u64 pa)
{
    struct file *device;
    r->start = place(mm, len);
    r->end = r->start + len;
    int error = r->start ? vm_add(mm, r) : -ENOMEM;
    if (error)
        return error;
    if (r->device)
        error = arch_map(mm->root, r->start, pa, r->prot | PROT_DEVICE);
    for (u64 va = r->start; r->shared && va < r->end && !error; va += PAGE_SIZE)
        error = populate(mm, r, va);
    if (error)
        remove(mm, r->start, len, &device);
    return error ? error : (s64)r->start;
}

s64 vm_mmap(struct mm *mm, u64 len, u64 prot)
{
    struct region r = {.prot = (int)prot & ~UPROT_SHARED, .shared = prot & UPROT_SHARED};
    if (len == 0 || len > UMMAP_MAX - UMMAP_BASE || !(prot & PROT_R) ||
        prot & ~(u64)(PROT_R | PROT_W | PROT_X | UPROT_SHARED))
        return -EINVAL;
    mutex_lock(&mm->lock);
    s64 start = add(mm, &r, PAGE_UP(len), 0);
    mutex_unlock(&mm->lock);
    return start;
}

s64 vm_map_device(struct mm *mm, struct file *device, u64 pa)
{
    struct region r = {.prot = PROT_R | PROT_W, .device = device};
    mutex_lock(&mm->lock);
    s64 start = add(mm, &r, PAGE_SIZE, pa);
    if (start > 0)
        file_get(device);
    mutex_unlock(&mm->lock);
    return start;
}

s64 vm_munmap(struct mm *mm, u64 addr, u64 len)
{
    struct file *device = NULL;
    mutex_lock(&mm->lock);
    s64 result = remove(mm, addr, len, &device);
    mutex_unlock(&mm->lock);
    if (device)
        file_put(device);               /* may wait for somebody who needs our lock */
    return result;
}
