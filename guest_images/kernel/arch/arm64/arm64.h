/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of this folder. */
#ifndef VMEMU_ARM64_H
#define VMEMU_ARM64_H

#include "arch.h"

void uart_init(void);
void gic_init(void);
void gic_irq(struct trapframe *tf);     /* acknowledge, dispatch, end */
void timer_stop(void);

extern char secondary_start[];          /* start.S */

#define IPI_SGI 0                       /* the one that we send each other */
#define TIMER_PPI 27                    /* virtual timer (DDI 0487 D11.2.4; the board's device tree agrees) */

static inline volatile u32 *mmio32(u64 pa) { return (volatile u32 *)pa_to_kva(pa); }

#endif
