/* SPDX-License-Identifier: GPL-2.0-or-later */
/* External interrupts: the XICS that the hypervisor shows a partition (LoPAR 2.9, "Interrupt controller virtualization"). */
#include "ppc64.h"

enum { IPI_SOURCE = 2, NO_SOURCE = 0, MOST_SOURCES = 72 };
enum { IPI_PRIORITY = 4, DEVICE_PRIORITY = 5, MASKED = 0xff };
#define XISR 0xffffffu                  /* the source in an XIRR; the priority before it is in the top byte */

static struct {
    u32 number;
    xics_handler *handler;
} sources[MOST_SOURCES];                /* entries are filled once, handler last */

u64 xics_strays;

bool xics_connect(u32 number, xics_handler *handler)
{
    int i = 0;
    while (i < MOST_SOURCES && sources[i].handler && sources[i].number != number)
        i++;
    if (number <= IPI_SOURCE || i == MOST_SOURCES)
        return false;
    sources[i].number = number;
    __atomic_store_n(&sources[i].handler, handler, __ATOMIC_RELEASE);
    return xics_route(number, paca()->hwid);
}

bool xics_route(u32 number, u64 hwid)
{
    return rtas_call("ibm,set-xive", 3, (u32[]){number, (u32)hwid, DEVICE_PRIORITY}) == 0;
}

void xics_eoi(u32 xirr) { hcall(H_EOI, xirr, 0, 0, 0, NULL); }

void xics_init_cpu(void) { hcall(H_CPPR, MASKED, 0, 0, 0, NULL); }      /* accept every priority */

void arch_send_ipi(u64 hwid)
{
    __asm__ volatile("sync" ::: "memory");              /* what it tells of is seen before it comes */
    hcall(H_IPI, hwid, IPI_PRIORITY, 0, 0, NULL);
}

/* A source that nobody has connected is accepted and ended. */
static void device_interrupt(u32 xirr)
{
    for (int i = 0; i < MOST_SOURCES; i++) {
        xics_handler *handler = __atomic_load_n(&sources[i].handler, __ATOMIC_ACQUIRE);
        if (handler && sources[i].number == (xirr & XISR)) {
            handler(xirr);
            return;
        }
    }
    __atomic_fetch_add(&xics_strays, 1, __ATOMIC_RELAXED);
    xics_eoi(xirr);
}

/* One interrupt: if there are more, the line stays up, and they come as soon as this one is done. */
void external_interrupt(struct trapframe *tf)
{
    u64 out[3];
    if (hcall(H_XIRR, 0, 0, 0, 0, out) != H_SUCCESS || (out[0] & XISR) == NO_SOURCE)
        return;
    if ((out[0] & XISR) == IPI_SOURCE) {
        hcall(H_IPI, paca()->hwid, MASKED, 0, 0, NULL);         /* level: down before its end, and before we look why it came */
        xics_eoi((u32)out[0]);
        trap_ipi(tf);
    } else {
        device_interrupt((u32)out[0]);
    }
    trap_irq(tf);
}
