/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPUs, timer and power: hypercalls (LoPAR 2.9) and the decrementer. */
#include "cmo.h"
#include "esn.h"
#include "netcard.h"
#include "ppc64.h"
#include "vas.h"
#include "vpa.h"

enum { DEC_MAX = 0x7fffffff };
/* The time base runs at 512 MHz: 64 ticks are 125 ns. */
enum { TICKS = 64, TICKS_NS = 125 };

struct paca pacas[NCPU];

void arch_init_cpu(void)
{
    arch_switch_mm(0);
    paca()->deadline = TIMER_OFF;
    mtspr(SPR_DEC, DEC_MAX);
    vpa_register();
    xics_init_cpu();
}

void arch_init(void)
{
    u64 size;
    fdt_child_reg("/cpus", 0, &paca()->hwid, &size);
    arch_init_cpu();
    cas_negotiate();
    net_init();
    vas_init();
}

/* RTAS start-cpu (LoPAR 2.9, 7.3.8.3): CPU, entry in real mode, its r3. */
int arch_start_cpu(int cpu, u64 hwid, u64 stack_top)
{
    pacas[cpu] = (struct paca){.cpu = (u64)cpu, .kstack = stack_top, .toc = paca()->toc, .handler = paca()->handler, .hwid = hwid};
    __asm__ volatile("sync" ::: "memory");
    return rtas_call("start-cpu", 3, (u32[]){(u32)hwid, (u32)kva_to_pa(secondary_start), (u32)cpu});
}

/* ---- timer ---- */

u64 arch_time_ns(void) { return timebase() * TICKS_NS / TICKS; }

/* DEC has 32 bits, 4 s: longer waits are taken in turns by timer_interrupt. Its largest value means "no interrupt wanted". */
static void set_dec(u64 now)
{
    u64 left = paca()->deadline > now ? paca()->deadline - now : 0;
    mtspr(SPR_DEC, paca()->deadline == TIMER_OFF ? DEC_MAX : left < DEC_MAX ? left : DEC_MAX - 1);
}

void arch_timer_set(u64 ns_from_now)
{
    u64 now = timebase();
    u64 ticks = ns_from_now / TICKS_NS * TICKS + (ns_from_now % TICKS_NS * TICKS + TICKS_NS - 1) / TICKS_NS;
    paca()->deadline = ns_from_now == TIMER_OFF ? TIMER_OFF : now + ticks;
    set_dec(now);
}

void timer_interrupt(struct trapframe *tf)
{
    u64 now = timebase();
    bool due = paca()->deadline <= now;
    if (due)
        paca()->deadline = TIMER_OFF;
    set_dec(now);
    if (due)
        trap_timer(tf);
}

/* ---- idle and power ---- */

/* H_CEDE turns interrupts on and waits, in one step (LoPAR 11.3.3). */
void arch_idle(void)
{
    esn_idle();
    hcall(H_CEDE, 0, 0, 0, 0, NULL);
    irq_disable();
}

void arch_poweroff(int status)
{
    esn_quit();                         /* whoever has not left by now: the next kernel's memory is its own */
    vpa_deregister_all();
    for (;;)
        hcall(H_VMEMU_EXIT, (u64)status, 0, 0, 0, NULL);
}
