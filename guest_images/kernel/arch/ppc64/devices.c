/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Console, timer, interrupt controller and power through hypercalls (LoPAR 2.9) and the decrementer. */
#include "ppc64.h"

enum { TERMINAL = 0, DEC_MAX = 0x7fffffff };
/* The time base runs at 512 MHz: 64 ticks are 125 ns. */
enum { TICKS = 64, TICKS_NS = 125 };

enum { IPI_SOURCE = 2, IPI_PRIORITY = 4, IPI_NONE = 0xff };

struct paca pacas[NCPU];

/* Virtual processor area, LoPAR 11.1.1: 640 bytes, 128-byte aligned, must not cross a 4 KiB border. */
static u8 vpas[NCPU][1024] __attribute__((aligned(1024)));

static void register_vpa(int cpu)
{
    vpas[cpu][4] = 640 >> 8;            /* size, big-endian */
    vpas[cpu][5] = 640 & 255;
    s64 r = hcall(H_REGISTER_VPA, 1ull << 45, paca()->hwid, kva_to_pa(vpas[cpu]), 0, NULL);
    if (r != 0)
        panic("register_vpa: H_REGISTER_VPA returned %d", (int)r);
}

void arch_init_cpu(void)
{
    arch_switch_mm(0);
    paca()->deadline = TIMER_OFF;
    mtspr(SPR_DEC, DEC_MAX);
    register_vpa(arch_cpu());
    hcall(H_CPPR, 0xff, 0, 0, 0, NULL); /* accept every priority */
}

void arch_init(void)
{
    u64 size;
    fdt_child_reg("/cpus", 0, &paca()->hwid, &size);
    arch_init_cpu();
}

/* RTAS start-cpu (LoPAR 2.9, 7.3.8.3) through the hypercall that firmware's entry point makes. Status, or what H_RTAS returned. */
int arch_start_cpu(int cpu, u64 hwid, u64 stack_top)
{
    static u32 args[3 + 3 + 1];         /* token, counts, CPU, entry, r3; status */
    struct paca *p = &pacas[cpu];
    *p = (struct paca){.cpu = (u64)cpu, .kstack = stack_top, .toc = paca()->toc, .handler = paca()->handler, .hwid = hwid};
    args[0] = fdt_u32("/rtas", "start-cpu", 0);
    args[1] = 3;
    args[2] = 1;
    args[3] = (u32)hwid;
    args[4] = (u32)kva_to_pa(secondary_start);
    args[5] = (u32)cpu;
    __asm__ volatile("sync" ::: "memory");
    s64 r = hcall(H_RTAS, kva_to_pa(args), 0, 0, 0, NULL);
    return r ? (int)r : (int)*(volatile u32 *)&args[6];
}

/* ---- console ---- */

void arch_putc(int c)
{
    /* bytes from the most significant end of r6; busy means try again */
    while (hcall(H_PUT_TERM_CHAR, TERMINAL, 1, (u64)(u8)c << 56, 0, NULL) == 1)
        ;
}

int arch_getc(void)
{
    static u64 waiting[3];              /* count and up to 16 bytes of the last call */
    static int next;
    if ((u64)next >= waiting[0]) {
        next = 0;
        waiting[0] = 0;
        if (hcall(H_GET_TERM_CHAR, TERMINAL, 0, 0, 0, waiting) != 0 || waiting[0] == 0 || waiting[0] > 16)
            return -1;
    }
    int c = (int)(waiting[1 + next / 8] >> (56 - 8 * (next % 8)) & 255);
    next++;
    return c;
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

/* ---- external interrupts: XICS ---- */

void arch_send_ipi(u64 hwid)
{
    __asm__ volatile("sync" ::: "memory");              /* what it tells of is seen before it comes */
    hcall(H_IPI, hwid, IPI_PRIORITY, 0, 0, NULL);
}

void external_interrupt(struct trapframe *tf)
{
    u64 out[3];
    bool ipi = false;
    while (hcall(H_XIRR, 0, 0, 0, 0, out) == 0 && (out[0] & 0xffffff) != 0) {
        if ((out[0] & 0xffffff) == IPI_SOURCE) {
            hcall(H_IPI, paca()->hwid, IPI_NONE, 0, 0, NULL);   /* level: down before its end, and before we look why it came */
            ipi = true;
        }
        hcall(H_EOI, out[0], 0, 0, 0, NULL);            /* no other source has a driver yet: accept and end it */
    }
    if (ipi)
        trap_ipi(tf);
    trap_irq(tf);
}

/* ---- idle and power ---- */

/* H_CEDE turns interrupts on and waits, in one step (LoPAR 11.3.3). */
void arch_idle(void)
{
    hcall(H_CEDE, 0, 0, 0, 0, NULL);
    irq_disable();
}

void arch_poweroff(int status)
{
    for (;;)
        hcall(H_VMEMU_EXIT, (u64)status, 0, 0, 0, NULL);
}
