/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory as a device sees it that works with a process's effective addresses (the nest MMU of POWER9: Power ISA 3.1B, Book III, 6.7.10,
 * problem state). Each page is walked when it is copied, so no translation outlives an access.
 */
#include <string.h>

#include "api.h"
#include "ppc64.h"

static enum dma_end ended(u32 fault)
{
    return fault & (DSISR_PROT | DSISR_NOEXEC | DSISR_KEY) ? DMA_RIGHTS : DMA_UNMAPPED;
}

/* The resident page behind `ea`, or why there is none. */
static enum dma_end reach(struct machine *m, u32 pid, u64 ea, enum access acc, struct s2_page **page, u64 *gpa)
{
    struct walk w = { 0 };
    enum walk_status status = ppc64_walk_process(m->vcpu[0], pid, ea, acc, &w);

    *gpa = w.gpa;
    if (status == WALK_S2)
        return DMA_TABLE;
    if (status != WALK_OK)
        return ended(w.fault);
    i64 index = s2_index(m, w.gpa);
    if (index < 0)
        return DMA_NOT_RAM;
    *page = &m->s2[index];
    switch ((*page)->state) {
    case S2_RESIDENT:
        return DMA_DONE;
    case S2_ZERO:
        return DMA_ZERO;
    case S2_BAD:
        return DMA_LOST;
    default:
        return DMA_AWAY;
    }
}

u64 ppc64_dma(struct machine *m, u32 pid, u64 ea, void *buf, u64 len, bool write, u64 out[2])
{
    enum access acc = write ? ACC_WRITE : ACC_READ, before = m->vcpu[0]->fill_access;
    enum dma_end end = DMA_DONE;
    struct s2_page *page = NULL;
    u64 done = 0, gpa = 0;

    m->vcpu[0]->fill_access = acc;
    while (done < len) {
        u64 at = ea + done, n = PAGE_SIZE - (at & (PAGE_SIZE - 1));
        if (at < ea) {                                  /* around the end of the address space */
            end = DMA_UNMAPPED;
            break;
        }
        end = reach(m, pid, at, acc, &page, &gpa);
        if (end != DMA_DONE)
            break;
        u8 *p = s2_ptr(m, gpa, write);
        page->flags |= S2F_ACCESSED;
        if (n > len - done)
            n = len - done;
        if (write)
            memcpy(p, (u8 *)buf + done, n);
        else
            memcpy((u8 *)buf + done, p, n);
        if (write)
            debug_host(m, NULL, at, gpa, n, WATCH_WRITE);
        done += n;
    }
    m->vcpu[0]->fill_access = before;
    out[0] = end;
    out[1] = gpa;
    return done;
}
