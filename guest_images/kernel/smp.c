/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More than one CPU: start them, interrupt them, stop them. */
#include "apf.h"
#include "task.h"

enum { START_ORDER = 1 };               /* log2 of the pages of a CPU's scheduler stack */
#define START_TIMEOUT 100000000ull      /* ns */
#define LEAVE_POLL 20000ull             /* ns */

_Static_assert(NCPU <= 32, "masks of CPUs have 32 bits");

u32 online_mask(void)
{
    u32 mask = 0;
    for (int i = 0; i < NCPU; i++)
        mask |= (u32)__atomic_load_n(&cpus[i].online, __ATOMIC_ACQUIRE) << i;
    return mask;
}

int cpus_online(void) { return __builtin_popcount(online_mask()); }

void cpu_main(void)
{
    arch_init_cpu();
    apf_cpu_online();
    __atomic_store_n(&mycpu()->online, true, __ATOMIC_RELEASE);
    scheduler();
}

/* False: it does not come, and nobody knows what it does. */
static bool start(int n)
{
    u64 end = time_ns() + START_TIMEOUT;
    void *stack = kalloc_order(START_ORDER);
    if (!stack)
        panic("smp_init: no memory for CPU %d", n);
    int error = arch_start_cpu(n, cpus[n].hwid, (u64)(uptr)stack + (PAGE_SIZE << START_ORDER));
    if (error) {
        kprintf("CPU %d cannot be started (%d)\n", n, error);
        return false;
    }
    while (!__atomic_load_n(&cpus[n].online, __ATOMIC_ACQUIRE) && time_ns() < end)
        arch_relax();
    if (!cpus[n].online)
        kprintf("CPU %d does not start\n", n);
    return cpus[n].online;
}

void smp_init(void)
{
    int n = 1;
    u64 size;
    if (fdt_child_reg("/cpus", 0, &cpus[0].hwid, &size)) {
        while (n < NCPU && fdt_child_reg("/cpus", n, &cpus[n].hwid, &size) && start(n))
            n++;
    }
    if (n > 1 && !quiet)
        kprintf("vmemu kernel %s: %d CPUs\n", ISA_NAME, n);
}

/* ---- out of service and back ---- */

void cpu_leave(void)
{
    struct cpu *c = mycpu();
    apf_cpu_offline();
    arch_switch_mm(0);
    __atomic_store_n(&c->mm_root, 0, __ATOMIC_RELEASE);
    lock(&sched_lock);
    c->idle = false;                    /* nobody sends it work */
    __atomic_store_n(&c->online, false, __ATOMIC_RELEASE);
    hand_over(online_mask());           /* what it was told to look for already */
    unlock(&sched_lock);
    while (__atomic_load_n(&c->leave, __ATOMIC_ACQUIRE))
        arch_idle();                    /* its timer may be the one that others rely on: that goes on */
    apf_cpu_online();
    __atomic_store_n(&c->online, true, __ATOMIC_RELEASE);
}

/* May it go? Another one must stay. sched_lock held. */
static bool dispensable(const struct cpu *c)
{
    for (const struct cpu *other = cpus; other < cpus + NCPU; other++) {
        if (other != c && other->online && !other->leave)
            return true;
    }
    return false;
}

s64 cpu_set_online(u64 n, bool on)
{
    struct cpu *c = &cpus[n < NCPU ? n : 0];
    lock(&sched_lock);
    bool possible = n < NCPU && (c->online || c->leave) && (on || dispensable(c));
    if (possible) {
        __atomic_store_n(&c->leave, !on, __ATOMIC_RELEASE);
        c->need_resched = true;
        if (c != mycpu())
            send_ipi(c, IPI_RESCHED);
    }
    while (possible && __atomic_load_n(&c->online, __ATOMIC_ACQUIRE) != on)
        sleep_on(c, &sched_lock, time_ns() + LEAVE_POLL, false);        /* not yield: it would fight with c for the lock */
    unlock(&sched_lock);
    return possible ? 0 : -EINVAL;
}

/* ---- interrupts between them ---- */

void send_ipi(struct cpu *c, u32 kind)
{
    u64 irq = irq_save();
    __atomic_fetch_or(&c->ipi, kind, __ATOMIC_ACQ_REL);
    arch_send_ipi(c->hwid);
    irq_restore(irq);
}

void stop_others(void)
{
    for (struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (c->online && c != mycpu())
            send_ipi(c, IPI_STOP);
    }
}

void stop_this(void)
{
    irq_disable();
    apf_cpu_stop();
    for (;;)
        arch_relax();
}
