/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupt masks and small instructions. */
#ifndef VMEMU_CPU_H
#define VMEMU_CPU_H

#include "types.h"

#define read_sysreg(name) ({ u64 value_; __asm__ volatile("mrs %0, " #name : "=r"(value_)); value_; })
#define write_sysreg(name, value) __asm__ volatile("msr " #name ", %0" ::"r"((u64)(value)) : "memory")

#define DAIF_I 0x80ull

static inline void isb(void) { __asm__ volatile("isb" ::: "memory"); }
static inline void irq_enable(void) { __asm__ volatile("msr daifclr, #2" ::: "memory"); }
static inline void irq_disable(void) { __asm__ volatile("msr daifset, #2" ::: "memory"); }

static inline u64 irq_save(void)
{
    u64 daif = read_sysreg(daif);

    irq_disable();
    return daif;
}

static inline void irq_restore(u64 state) { write_sysreg(daif, state); }
static inline int irq_enabled(void) { return !(read_sysreg(daif) & DAIF_I); }
static inline int arch_cpu(void) { return (int)read_sysreg(tpidr_el1); }
static inline void arch_relax(void) { __asm__ volatile("yield"); }

#endif
