/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which vCPUs may run, in the order of their clocks: asked before every turn. */
#include "core.h"

static bool runnable(const struct vcpu *v)
{
    return v->online && !v->on_hold && !v->benched && (!v->halted || v->irq_lines != v->parked);
}

u32 machine_ready(struct machine *m, u64 window)
{
    struct ready *r = &m->ready;

    r->n = r->near = 0;
    for (u32 i = 0; i < m->nvcpus; i++) {
        if (!runnable(m->vcpu[i]))
            continue;
        u64 now = vcpu_now(m->vcpu[i]);
        u32 at = r->n++;
        for (; at && r->clock[at - 1] > now; at--) {
            r->clock[at] = r->clock[at - 1];
            r->id[at] = r->id[at - 1];
        }
        r->clock[at] = now;
        r->id[at] = i;
    }
    while (r->near < r->n && r->clock[r->near] - r->clock[0] <= window)
        r->near++;
    return r->n;
}

bool vcpu_runnable(const struct vcpu *v) { return runnable(v); }
