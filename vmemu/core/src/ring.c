/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Event ring: written on the hot path, drained by Python in batches. When nobody drains, the oldest events go and are counted. */
#include "core.h"

void ring_put(struct ring *r, u64 cycles, u64 insns, u32 vcpu, u32 kind, u64 a, u64 b, u64 c)
{
    if (!r->ev)
        return;
    if (r->head - r->tail == r->size) {
        r->tail++;
        r->lost++;
    }
    r->ev[r->head++ & (r->size - 1)] = (struct event){ cycles, insns, kind, vcpu, a, b, c };
}

u32 ring_drain(struct ring *r, struct event *out, u32 max)
{
    u32 n = 0;

    while (n < max && r->tail != r->head)
        out[n++] = r->ev[r->tail++ & (r->size - 1)];
    return n;
}
