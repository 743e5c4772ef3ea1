/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Event ring: written on the hot path, drained by Python in batches. A full ring calls its reader; without one the oldest events go
 * and are counted. Recording reads the machine and changes nothing in it: a traced run is the same run.
 */
#include <string.h>

#include "core.h"

/* The word in which the guest's kernel keeps the number of its running task; a page that is away is not fetched for it. */
static u64 running_task(struct machine *m, u32 vcpu)
{
    const struct ring *r = &m->ring;
    const u8 *p;
    u64 task;

    if (vcpu >= r->ntasks || !(p = s2_ptr(m, r->task_gpa + 8ull * vcpu, false)))
        return NO_TASK;
    memcpy(&task, p, 8);
    return m->arch->big_endian ? __builtin_bswap64(task) : task;
}

struct event event_now(struct machine *m, struct vcpu *v)
{
    if (!v)
        return (struct event){ .cycles = m->current ? vcpu_now(m->current) : 0, .vcpu = NO_VCPU, .task = NO_TASK };
    return (struct event){
        .cycles = vcpu_now(v), .insns = vcpu_insns(v), .pc = m->arch->get_pc(v), .vcpu = (u16)v->id,
        .task = running_task(m, v->id), .flags = m->arch->in_user(v) ? EVF_USER : 0,
    };
}

void event_at(struct machine *m, struct event e)
{
    struct ring *r = &m->ring;

    if (!r->ev)
        return;
    if (r->head - r->tail == r->size && r->full)
        r->full(r->ctx);
    if (r->head - r->tail == r->size) {
        r->tail++;
        r->lost++;
    }
    r->ev[r->head++ & (r->size - 1)] = e;
}

void event_record(struct machine *m, struct vcpu *v, u32 kind, u64 a, u64 b, u64 c)
{
    struct event e = event_now(m, v);

    e.kind = kind;
    e.a = a;
    e.b = b;
    e.c = c;
    event_at(m, e);
}

u32 ring_drain(struct ring *r, struct event *out, u32 max)
{
    u32 n = 0;

    while (n < max && r->tail != r->head)
        out[n++] = r->ev[r->tail++ & (r->size - 1)];
    return n;
}
