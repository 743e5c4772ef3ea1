/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PL011 UART (DDI 0183), GICv3 (IHI 0069), the virtual timer, and the ways to stop the machine. */
#include "arm64.h"
#include "kernel.h"

/* ---- UART ---- */

#define UART_DR 0x00
#define UART_FR 0x18
#define UART_FR_RXFE 0x10
#define UART_FR_TXFF 0x20

void arch_write(const char *s, size_t n)
{
    for (; n; n--, s++) {
        while (*mmio32(UART_BASE + UART_FR) & UART_FR_TXFF)
            ;
        *mmio32(UART_BASE + UART_DR) = (u8)*s;
    }
}

int arch_getc(void)
{
    if (*mmio32(UART_BASE + UART_FR) & UART_FR_RXFE)
        return -1;
    return (int)(*mmio32(UART_BASE + UART_DR) & 0xff);
}

void uart_init(void)
{
    *mmio32(UART_BASE + 0x30) = 0x301;  /* UARTCR: enable, receive and transmit */
}

/* ---- GIC: the timer and one software generated interrupt, both private to a CPU, so distributor and redistributor need little ---- */

#define GICD_CTLR 0x0
#define GICR_TYPER_AFFINITY 0xc         /* upper word of GICR_TYPER */
#define GICR_WAKER 0x14
#define WAKER_SLEEP 2u
#define WAKER_ASLEEP 4u
#define GICR_SGI 0x10000                /* second page of a redistributor */
#define GICR_IGROUPR0 (GICR_SGI + 0x80)
#define GICR_ISENABLER0 (GICR_SGI + 0x100)
#define GICR_ICENABLER0 (GICR_SGI + 0x180)
#define GICR_IPRIORITYR (GICR_SGI + 0x400)
#define PRIORITY 0xa0
#define PRIORITY_FIRST 0x80
#define SPURIOUS 1020                   /* 1020..1023 are no interrupts */

static u32 affinity(void)
{
    u64 mpidr = read_sysreg(mpidr_el1);

    return (u32)(mpidr >> 32 & 0xff) << 24 | (u32)(mpidr & 0xffffff);
}

static u64 redistributor(void)
{
    u64 redist = GICR_BASE;

    while (*mmio32(redist + GICR_TYPER_AFFINITY) != affinity())
        redist += GICR_STRIDE;
    return redist;
}

static void set_priority(u64 redist, u32 id, u8 priority)
{
    *(volatile u8 *)pa_to_kva(redist + GICR_IPRIORITYR + id) = priority;
}

void gic_ppi(u32 id, bool on)
{
    u64 redist = redistributor();

    set_priority(redist, id, PRIORITY_FIRST);
    *mmio32(redist + (on ? GICR_ISENABLER0 : GICR_ICENABLER0)) = 1u << id;
}

void gic_init(void)
{
    u64 redist = redistributor();

    *mmio32(redist + GICR_WAKER) &= ~WAKER_SLEEP;
    while (*mmio32(redist + GICR_WAKER) & WAKER_ASLEEP)
        ;
    *mmio32(redist + GICR_IGROUPR0) = ~0u;
    set_priority(redist, TIMER_PPI, PRIORITY);
    set_priority(redist, IPI_SGI, PRIORITY);
    *mmio32(redist + GICR_ISENABLER0) = 1u << TIMER_PPI | 1u << IPI_SGI;
    write_sysreg(S3_0_C12_C12_5, 1);                    /* ICC_SRE_EL1 */
    isb();
    write_sysreg(S3_0_C4_C6_0, 0xff);                   /* ICC_PMR_EL1: any priority */
    write_sysreg(S3_0_C12_C12_7, 1);                    /* ICC_IGRPEN1_EL1 */
    isb();
}

void gic_irq(struct trapframe *tf)
{
    u64 id = read_sysreg(S3_0_C12_C12_0);               /* ICC_IAR1_EL1 */

    if (id >= SPURIOUS)
        return;
    if (id == TIMER_PPI)
        timer_stop();                                   /* lines are level: down before the end of the interrupt */
    if (id == async_intid)
        async_irq(tf);
    write_sysreg(S3_0_C12_C12_1, id);                   /* ICC_EOIR1_EL1 */
    isb();
    if (id == TIMER_PPI)
        trap_timer(tf);
    else if (id == IPI_SGI)
        trap_ipi(tf);
    else
        trap_irq(tf);
}

/* ICC_SGI1R_EL1 (IHI 0069, 12.2.15): affinities 3 to 1, and one bit for affinity 0. hwid is MPIDR's affinity. */
void arch_send_ipi(u64 hwid)
{
    u64 value = (hwid >> 32 & 0xff) << 48 | (hwid >> 16 & 0xff) << 32 | (hwid >> 8 & 0xff) << 16 | 1ull << (hwid & 15);

    __asm__ volatile("dsb ishst" ::: "memory");         /* what it tells of is seen before it comes */
    write_sysreg(S3_0_C12_C11_5, value | (u64)IPI_SGI << 24);
    isb();
}

/* ---- virtual timer ---- */

#define SECOND 1000000000ull

u64 arch_time_ns(void)
{
    u64 hz = read_sysreg(cntfrq_el0), t;

    isb();                                              /* not earlier than what comes before */
    t = read_sysreg(cntvct_el0);
    return t / hz * SECOND + t % hz * SECOND / hz;
}

void timer_stop(void) { write_sysreg(cntv_ctl_el0, 0); }

void arch_timer_set(u64 ns_from_now)
{
    u64 hz = read_sysreg(cntfrq_el0);

    if (ns_from_now == TIMER_OFF) {
        timer_stop();
        return;
    }
    u64 ticks = ns_from_now / SECOND * hz + (ns_from_now % SECOND * hz + SECOND - 1) / SECOND;
    write_sysreg(cntv_cval_el0, read_sysreg(cntvct_el0) + ticks);
    write_sysreg(cntv_ctl_el0, 1);
    isb();
}

void arch_idle(void)
{
    __asm__ volatile("dsb sy\n\twfi" ::: "memory");     /* wakes for a pending interrupt although it is masked */
    irq_enable();
    isb();
    irq_disable();
}

/* ---- start and stop ---- */

#define PSCI_SYSTEM_OFF 0x84000008ull   /* DEN 0022, 5.9 */
#define PSCI_CPU_ON 0xc4000003ull       /* 5.4 */

static s64 psci(u64 function, u64 a, u64 b, u64 c)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;

    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)::"memory");
    return (s64)x0;
}

int arch_start_cpu(int cpu, u64 hwid, u64 stack_top)
{
    *(u64 *)(uptr)(stack_top - 16) = (u64)cpu;
    __asm__ volatile("dsb ish" ::: "memory");
    return (int)psci(PSCI_CPU_ON, hwid, kva_to_pa(secondary_start), stack_top);
}

void arch_poweroff(int status)
{
    u64 exit, size;

    irq_disable();
    if (fdt_compatible_reg("vmemu,exit", 0, &exit, &size))
        *mmio32(exit) = (u32)status;
    psci(PSCI_SYSTEM_OFF, 0, 0, 0);
    for (;;)
        __asm__ volatile("wfi");
}

void arch_init_cpu(void)
{
    gic_init();
    timer_stop();
}

void arch_init(void)
{
    uart_init();
    *mmio32(GICD_BASE + GICD_CTLR) = 0x12;              /* ARE, group 1 */
    arch_init_cpu();
}
