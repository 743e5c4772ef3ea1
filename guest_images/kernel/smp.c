/* SPDX-License-Identifier: GPL-2.0-or-later */
/* More than one CPU: start them, interrupt them, stop them. */
#include "apf.h"
#include "task.h"

enum { START_ORDER = 1 };               /* log2 of the pages of a CPU's scheduler stack */
#define START_TIMEOUT 100000000ull      /* ns */

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
