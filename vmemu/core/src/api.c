/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flat functions for the Python face. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "api.h"

extern const char *capstone_path;                        /* decode_x86_64.c */

int core_init(const char *unicorn, const char *capstone)
{
    if (!capstone_path)
        capstone_path = strdup(capstone);
    return uclib_load(unicorn);
}

u64 vcpu_reg_get(struct vcpu *v, u32 index) { return v->m->arch->reg_get(v, index); }

int vcpu_reg_set(struct vcpu *v, u32 index, u64 value)
{
    u64 pc = v->m->arch->get_pc(v);
    u32 done = v->open ? vcpu_executed(v) : 0;
    int r = v->m->arch->reg_set(v, index, value);

    if (!r && v->open && v->m->arch->get_pc(v) != pc && !v->running)
        vcpu_close_block(v, done);                      /* the guest's path was bent: this is no resume, wherever PC points now */
    return r;
}
u64 vcpu_pc(struct vcpu *v) { return v->m->arch->get_pc(v); }

int vcpu_reset(struct vcpu *v)
{
    u32 lines = v->irq_lines;

    if (v->running)
        return core_fail("vCPU %u cannot be reset while it runs", v->id);
    if (v->open)
        vcpu_close_block(v, vcpu_executed(v));
    v->pend.kind = PEND_NONE;
    vcpu_set_halted(v, false);
    if (v->m->arch->reset(v))
        return -1;
    v->irq_lines = lines;
    return 0;
}


int vcpu_walk(struct vcpu *v, u64 va, u32 access, u64 out[4])
{
    struct walk w = { 0 };
    int status;

    if (access > ACC_FETCH)
        return core_fail("access %u", access);
    v->fill_access = (enum access)access;
    status = (int)v->m->arch->walk(v, va, (enum access)access, &w);
    out[0] = w.gpa;
    out[1] = w.prot;
    out[2] = w.fault;
    out[3] = w.table_error;
    return status;
}

int vcpu_inject(struct vcpu *v, u32 kind, u32 vector, u32 error, bool has_error, u64 addr, u64 aux)
{
    if (v->pend.kind)
        return core_fail("an event is already pending");
    v->pend = (struct pending){ .kind = kind, .vector = vector, .error = error, .addr = addr, .aux = aux, .has_error = has_error };
    return 0;
}

void vcpu_mem_error(struct vcpu *v, u64 gva, u64 gpa, u32 access)
{
    v->count[C_FAULT_MEM_ERROR]++;
    event(v->m, v, EV_MEM_ERROR, gpa, gva, access);
    v->m->arch->mem_error(v, gva, gpa, (enum access)access);
}

void vcpu_add_cycles(struct vcpu *v, u64 cycles, u32 kind)
{
    v->cycles += cycles;
    if (kind == CYCLES_IDLE)
        v->idle_cycles += cycles;
    else if (kind == CYCLES_BLOCKED)
        v->blocked_cycles += cycles;
}

u32 machine_copy(struct machine *m, u64 gpa, void *buf, u32 len, bool write)
{
    u32 done = 0;

    while (done < len) {
        u32 n = PAGE_SIZE - (u32)(gpa & (PAGE_SIZE - 1));
        u8 *p = s2_ptr(m, gpa, write);
        if (!p)
            break;
        if (n > len - done)
            n = len - done;
        if (write)
            memcpy(p, (u8 *)buf + done, n);
        else
            memcpy((u8 *)buf + done, p, n);
        if (write)
            debug_host(m, NULL, 0, gpa, n, WATCH_WRITE);
        done += n;
        gpa += n;
    }
    return done;
}

int machine_ring(struct machine *m, u32 log2, void (*full)(void *), void *ctx)
{
    struct event *ev = calloc((size_t)1 << log2, sizeof *ev);

    if (!ev)
        return core_fail("no memory for the event ring");
    free(m->ring.ev);
    m->ring.ev = ev;
    m->ring.head = m->ring.tail = m->ring.lost = 0;
    m->ring.size = 1ull << log2;
    m->ring.full = full;
    m->ring.ctx = ctx;
    return 0;
}

void machine_tasks(struct machine *m, u64 gpa, u32 n)
{
    m->ring.task_gpa = gpa;
    m->ring.ntasks = n;
}

void machine_event(struct machine *m, i64 vcpu, u64 cycles, u32 kind, u64 a, u64 b, u64 c)
{
    if (!m->ring.ev)
        return;
    struct event e = event_now(m, vcpu < 0 || vcpu >= m->nvcpus ? NULL : m->vcpu[vcpu]);
    if (cycles != ~0ull)
        e.cycles = cycles;
    e.kind = kind;
    e.a = a;
    e.b = b;
    e.c = c;
    event_at(m, e);
}

u32 machine_nonzero(struct machine *m, u32 from)
{
    while (from < m->npages && m->s2[from].state == S2_ZERO)
        from++;
    return from;
}
