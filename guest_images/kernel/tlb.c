/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Translations on other CPUs. An address space belongs to one task, but a CPU that the task has left keeps it loaded until it loads
 * another one: when the task comes back, it finds what it knew before. So whoever takes rights away tells every CPU that has it
 * loaded; no CPU can load it newly meanwhile, for its task is the one that asks.
 *
 * Each CPU has one request, in its struct cpu. It marks itself in the flush_from of those concerned, interrupts them, and waits
 * until each has taken its bit out of request.waiting. While it waits it serves others: two CPUs that ask each other with
 * interrupts off both get their answer. Nobody waits with a lock held, so a CPU that spins for a lock gets it and then answers.
 */
#include "task.h"

enum { FEW_PAGES = 8 };                 /* more than these: drop everything */

static void flush_here(u64 start, u64 end)
{
    if (end - start > FEW_PAGES * PAGE_SIZE) {
        arch_tlb_flush_all();
        return;
    }
    for (u64 va = start; va < end; va += PAGE_SIZE)
        arch_tlb_flush_page(va);
}

static void unload_here(void)
{
    arch_switch_mm(0);
    __atomic_store_n(&mycpu()->mm_root, 0, __ATOMIC_RELEASE);
}

void tlb_serve(void)
{
    struct cpu *me = mycpu();
    u32 from = __atomic_exchange_n(&me->flush_from, 0, __ATOMIC_ACQ_REL);
    for (; from; from &= from - 1) {
        struct flush *f = &cpus[__builtin_ctz(from)].flush;
        if (f->root != me->mm_root)
            ;                           /* it has loaded another one since */
        else if (f->start == f->end)
            unload_here();
        else
            flush_here(f->start, f->end);
        __atomic_fetch_and(&f->waiting, ~(1u << arch_cpu()), __ATOMIC_ACQ_REL);
    }
}

static void ask_others(u64 root, u64 start, u64 end)
{
    u64 irq = irq_save();
    struct cpu *me = mycpu();
    u32 mine = 1u << arch_cpu(), others = 0;
    for (int i = 0; i < NCPU; i++) {
        if (&cpus[i] != me && __atomic_load_n(&cpus[i].mm_root, __ATOMIC_ACQUIRE) == root)
            others |= 1u << i;
    }
    if (others && me->locks)
        panic("tlb: a CPU that holds a lock waits for others");
    me->flush.root = root;
    me->flush.start = start;
    me->flush.end = end;
    __atomic_store_n(&me->flush.waiting, others, __ATOMIC_RELEASE);
    for (u32 left = others; left; left &= left - 1) {
        struct cpu *c = &cpus[__builtin_ctz(left)];
        __atomic_fetch_or(&c->flush_from, mine, __ATOMIC_ACQ_REL);
        send_ipi(c, IPI_FLUSH);
    }
    while (__atomic_load_n(&me->flush.waiting, __ATOMIC_ACQUIRE)) {
        tlb_serve();
        arch_relax();
    }
    irq_restore(irq);
}

void tlb_flush(const struct mm *mm, u64 start, u64 end)
{
    flush_here(start, end);
    if (!TLB_BROADCAST)
        ask_others(mm->root, start, end);
}

void tlb_flush_all(const struct mm *mm) { tlb_flush(mm, 0, USER_TOP); }

void mm_unload(u64 root)
{
    u64 irq = irq_save();
    if (mycpu()->mm_root == root)       /* else the task that drops it has another one, and goes on with that */
        unload_here();
    ask_others(root, 0, 0);
    irq_restore(irq);
}
