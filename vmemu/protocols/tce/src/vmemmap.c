/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where page structs lie. Flat: one array in linear memory. Sparse: a virtual array (the vmemmap) whose blocks lie anywhere in linear
 * memory and come and go; real mode has no virtual addresses, and walks the list of blocks instead.
 */
#include <stdlib.h>
#include <string.h>

#include "tce.h"

static u64 block_bytes(const struct tce_host *h) { return 1ull << h->block_shift; }

int vmemmap_init(struct tce_host *h, u64 npages)
{
    u64 bytes = npages * h->page_bytes;

    h->npages = npages;
    h->nblocks = (bytes + block_bytes(h) - 1) >> h->block_shift;
    if (h->flat) {
        h->head = kernel_pages(h, (u32)((bytes + PAGE_SIZE - 1) >> PAGE_SHIFT));
        return h->head ? 0 : -1;
    }
    h->block = calloc(h->nblocks + 1, sizeof *h->block);
    h->nodes = kernel_pages(h, (u32)((h->nblocks * sizeof(struct backing) + PAGE_SIZE - 1) >> PAGE_SHIFT));
    return h->block && h->nodes ? 0 : -1;
}

void vmemmap_end(struct tce_host *h) { free(h->block); }

u64 pfn_to_page(const struct tce_host *h, u64 pfn) { return VMEMMAP_BASE + pfn * h->page_bytes; }

int vmemmap_add(struct tce_host *h, u64 block, u64 phys)
{
    if (h->flat || block >= h->nblocks || h->block[block])
        return -1;
    if (!phys) {
        kernel_pages(h, 1);                             /* a gap: blocks that follow each other do not lie side by side */
        phys = kernel_pages(h, (u32)(block_bytes(h) >> PAGE_SHIFT));
    }
    if (!phys)
        return -1;
    u64 at = h->nodes + block * sizeof(struct backing);
    struct backing *b = lin(h, at, sizeof *b);
    *b = (struct backing){ .next = h->head, .virt = VMEMMAP_BASE + (block << h->block_shift), .phys = phys };
    h->head = at;                                       /* pushed at the front, as vmemmap_list_populate() does */
    h->block[block] = phys;
    return 0;
}

int vmemmap_remove(struct tce_host *h, u64 block)
{
    u64 *link = &h->head, gone = h->nodes + block * sizeof(struct backing);

    if (h->flat || block >= h->nblocks || !h->block[block])
        return -1;
    while (*link && *link != gone)
        link = &((struct backing *)lin(h, *link, sizeof(struct backing)))->next;
    if (!*link)
        return -1;
    *link = ((struct backing *)lin(h, gone, sizeof(struct backing)))->next;
    h->block[block] = 0;
    return 0;
}

/* The first block that does not start behind the struct decides, whether it holds it or not (as posted 2013-07-31). */
u64 realmode_pfn_to_page(struct tce_host *h, u64 pfn)
{
    u64 va = pfn_to_page(h, pfn);

    if (h->flat)
        return pfn < h->npages ? h->head + pfn * h->page_bytes : 0;
    for (u64 at = h->head; at;) {
        const struct backing *b = lin(h, at, sizeof *b);
        at = b->next;
        if (b->virt > va)
            continue;
        if (va + h->page_bytes > b->virt + block_bytes(h))
            return 0;
        return b->phys + (va - b->virt);
    }
    return 0;
}

void *virt(struct tce_host *h, u64 va)
{
    u64 off = va - VMEMMAP_BASE, block = off >> h->block_shift;

    if (h->real) {
        breach(h, "access to %#llx, a vmemmap address", (unsigned long long)va);
        return h->scratch;
    }
    if (h->flat)
        return off < h->npages * h->page_bytes ? lin(h, h->head + off, 8) : NULL;
    if (block >= h->nblocks || !h->block[block])
        return NULL;
    return lin(h, h->block[block] + (off & (block_bytes(h) - 1)), 8);
}
