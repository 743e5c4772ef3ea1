/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local APIC and time. The TSC and the APIC timer both derive from the crystal of CPUID leaf 0x15 (SDM 2, CPUID; SDM 3, 10.5.4).
 */
#include "kernel.h"

#define LAPIC_BASE 0xfee00000ull
#define REG_TPR 0x80
#define REG_EOI 0xb0
#define REG_SVR 0xf0
#define REG_LVT_TIMER 0x320
#define REG_INITIAL 0x380
#define REG_DIVIDE 0x3e0

static u64 ns_per_tick;                 /* TSC, 32.32 fixed point */
static u64 ticks_per_ns;                /* APIC timer, 32.32 */

static volatile u32 *reg(u32 offset) { return (volatile u32 *)((char *)pa_to_kva(LAPIC_BASE) + offset); }

void lapic_eoi(void) { *reg(REG_EOI) = 0; }

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

void lapic_setup(void)
{
    clock_setup();
    *reg(REG_TPR) = 0;
    *reg(REG_SVR) = 0x100 | VEC_SPURIOUS;       /* enable */
    *reg(REG_DIVIDE) = 0xb;                     /* by 1 */
    *reg(REG_LVT_TIMER) = VEC_TIMER;            /* one-shot */
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
