/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of this folder. */
#ifndef VMEMU_ARM64_H
#define VMEMU_ARM64_H

#include "arch.h"

void uart_init(void);
void gic_init(void);
void gic_irq(struct trapframe *tf);     /* acknowledge, dispatch, end */
void gic_ppi(u32 id, bool on);          /* let this CPU's interrupt come, before all others */
void timer_stop(void);

/* apf.c */
extern u32 async_intid;                 /* their interrupt, or NO_INTID */
#define NO_INTID (~0u)
void async_irq(struct trapframe *tf);
void async_before_user(void);           /* last but trap_exit: sleep if the hypervisor has said so */

extern char secondary_start[];          /* start.S */

#define IPI_SGI 0                       /* the one that we send each other */
#define PPI_FIRST 16
#define PPI_LAST 31
#define TIMER_PPI 27                    /* virtual timer (DDI 0487 D11.2.4; the board's device tree agrees) */

static inline volatile u32 *mmio32(u64 pa) { return (volatile u32 *)pa_to_kva(pa); }

#endif
