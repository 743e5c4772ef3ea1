/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "task.h"

bool holding(const struct spinlock *l)
{
    return __atomic_load_n(&l->locked, __ATOMIC_RELAXED) && l->cpu == arch_cpu();
}

void lock(struct spinlock *l)
{
    u64 irq = irq_save();
    if (holding(l))
        panic("lock: %s is held by this CPU", l->name);
    while (__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE))
        arch_relax();
    l->cpu = arch_cpu();
    l->irq = irq;
    mycpu()->locks++;
}

void unlock(struct spinlock *l)
{
    if (!holding(l))
        panic("unlock: %s is not held", l->name);
    u64 irq = l->irq;
    l->cpu = -1;
    mycpu()->locks--;
    __atomic_store_n(&l->locked, 0, __ATOMIC_RELEASE);
    irq_restore(irq);
}
