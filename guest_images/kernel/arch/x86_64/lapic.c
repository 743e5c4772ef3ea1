/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APIC and time. The TSC and the APIC timer both derive from the crystal of CPUID leaf 0x15 (SDM 2, CPUID; SDM 3, 10.5.4).
 */
#include "kernel.h"

#define LAPIC_BASE 0xfee00000ull
#define REG_TPR 0x80
#define REG_EOI 0xb0
#define REG_SVR 0xf0
#define REG_ICR 0x300                   /* interrupt command: message, and in the upper word whom to (SDM 3, 10.6.1) */
#define REG_ICR_HIGH 0x310
#define REG_LVT_TIMER 0x320
#define REG_INITIAL 0x380
#define REG_DIVIDE 0x3e0

static u64 ns_per_tick;                 /* TSC, 32.32 fixed point */
static u64 ticks_per_ns;                /* APIC timer, 32.32 */

static volatile u32 *reg(u32 offset) { return (volatile u32 *)((char *)pa_to_kva(LAPIC_BASE) + offset); }

void lapic_eoi(void) { *reg(REG_EOI) = 0; }
void lapic_disable(void) { *reg(REG_SVR) = VEC_SPURIOUS; }     /* and all of its own interrupts masked (SDM 3, 10.4.7.2) */

static void clock_setup(void)
{
    u32 r[4];
    cpuid(0x15, 0, r);
    if (!r[0] || !r[1] || !r[2])
        panic("clock_setup: CPUID 0x15 does not tell the clocks");
    u64 crystal = r[2], tsc = crystal * r[1] / r[0];
    ns_per_tick = (1000000000ull << 32) / tsc;
    ticks_per_ns = (crystal << 32) / 1000000000ull;
}

void lapic_setup(void) { clock_setup(); }

void lapic_setup_cpu(void)
{
    *reg(REG_TPR) = 0;
    *reg(REG_SVR) = 0x100 | VEC_SPURIOUS;       /* enable */
    *reg(REG_DIVIDE) = 0xb;                     /* by 1 */
    *reg(REG_LVT_TIMER) = VEC_TIMER;            /* one-shot */
}

#define ICR_PENDING 0x1000u
#define ICR_INIT 0x4500u                        /* level, assert */
#define ICR_STARTUP 0x4600u
#define ICR_FIXED 0x4000u

/* Interrupts off: the two words belong together. */
static void command(u64 apic_id, u32 message)
{
    while (*reg(REG_ICR) & ICR_PENDING)
        arch_relax();
    *reg(REG_ICR_HIGH) = (u32)apic_id << 24;
    *reg(REG_ICR) = message;
}

void arch_send_ipi(u64 hwid) { command(hwid, ICR_FIXED | VEC_IPI); }

static void delay(u64 ns)
{
    for (u64 end = arch_time_ns() + ns; arch_time_ns() < end;)
        arch_relax();
}

/* SDM 3, 8.4.4.1: a second STARTUP is ignored by a CPU that the first one has started. */
void lapic_init_start(u64 hwid, u32 page)
{
    u64 irq = irq_save();
    command(hwid, ICR_INIT);
    delay(10000);                               /* not the 10 ms of the 1990s: Linux does without since family 6 */
    for (int i = 0; i < 2; i++) {
        command(hwid, ICR_STARTUP | page);
        delay(10000);
    }
    irq_restore(irq);
}

u64 arch_time_ns(void) { return (u64)((unsigned __int128)rdtsc() * ns_per_tick >> 32); }

/* The counter has 32 bits: far deadlines are reached in steps. */
static void arm(u64 ns)
{
    u64 most = 0xffffffffull;
    u64 count = ns >= most ? most : (u64)((unsigned __int128)ns * ticks_per_ns >> 32);
    *reg(REG_INITIAL) = count >= most ? (u32)most : (u32)(count + 1);
}

void arch_timer_set(u64 ns_from_now)
{
    struct percpu *p = percpu();
    if (ns_from_now == TIMER_OFF) {
        p->deadline = TIMER_OFF;
        *reg(REG_INITIAL) = 0;
        return;
    }
    u64 now = arch_time_ns();
    p->deadline = ns_from_now < TIMER_OFF - 1 - now ? now + ns_from_now : TIMER_OFF - 1;    /* "for ever" must not wrap to OFF */
    arm(ns_from_now);
}

void timer_interrupt(void *tf)
{
    struct percpu *p = percpu();
    u64 now = arch_time_ns();
    lapic_eoi();
    if (p->deadline == TIMER_OFF)
        return;                                 /* switched off while the interrupt was on its way */
    if (now < p->deadline) {
        arm(p->deadline - now);
        return;
    }
    p->deadline = TIMER_OFF;
    trap_timer(tf);
}
