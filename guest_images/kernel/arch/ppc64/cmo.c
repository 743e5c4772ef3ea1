/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page states, with the kernel option "page-states": a free frame is unused, so the platform throws it away instead of storing it and
 * gives a zero page instead of fetching it. A frame in use is active. Nothing of this kernel is expendable: a frame that is lost
 * would have to be filled again before anybody else sees it, and frames are shared, and read through the linear map.
 */
#include "cmo.h"
#include "ppc64.h"

bool page_set_state(u64 pa, enum page_state state) { return hcall(H_PAGE_INIT, PAGE_STATE(state), pa, 0, 0, NULL) == H_SUCCESS; }

/* Touched first: while it is unused, the platform need not bring back what was in it. */
void arch_frame_used(u64 pa)
{
    *(volatile u8 *)pa_to_kva(pa) = 0;
    if (cmo_agreed && !page_set_state(pa, PAGE_ACTIVE))
        panic("arch_frame_used: %llx stays unused", pa);        /* it would be thrown away with somebody's data */
}

void arch_frame_free(u64 pa)
{
    if (cmo_agreed)
        page_set_state(pa, PAGE_UNUSED);
}
