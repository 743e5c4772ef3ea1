/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt state and CPU number. */
#ifndef VMEMU_PPC64_CPU_H
#define VMEMU_PPC64_CPU_H

#include "types.h"
#include "asm.h"

/* mtmsrd with L = 1 changes EE and RI only; the kernel is always recoverable here. */
static inline void irq_set(u64 ee) { __asm__ volatile("mtmsrd %0, 1" ::"r"(ee | MSR_RI) : "memory"); }

static inline u64 irq_state(void)
{
    u64 msr;
    __asm__ volatile("mfmsr %0" : "=r"(msr)::"memory");
    return msr & MSR_EE;
}

static inline void irq_enable(void) { irq_set(MSR_EE); }
static inline void irq_disable(void) { irq_set(0); }
static inline int irq_enabled(void) { return irq_state() != 0; }

static inline u64 irq_save(void)
{
    u64 state = irq_state();
    irq_set(0);
    return state;
}

static inline void irq_restore(u64 state) { irq_set(state); }

static inline int arch_cpu(void)
{
    u64 cpu;
    __asm__ volatile("ld %0, 0(13)" : "=r"(cpu));       /* PACA_CPU */
    return (int)cpu;
}

static inline void arch_relax(void) { __asm__ volatile("or 31, 31, 31" ::: "memory"); }     /* low priority hint */

#endif
