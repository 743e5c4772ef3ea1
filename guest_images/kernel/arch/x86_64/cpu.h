/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Instructions that C cannot say, and the per-CPU block behind GS. */
#ifndef VMEMU_X86_64_CPU_H
#define VMEMU_X86_64_CPU_H

#include "param.h"
#include "types.h"

/* One per CPU, GS base while in the kernel. */
struct percpu {
    struct percpu *self;
    u64 kstack;         /* PERCPU_KSTACK: top of the running task's kernel stack */
    u64 user_rsp;       /* PERCPU_USER_RSP: scratch of the system call entry */
    int cpu;
    u64 deadline;       /* timer: ns, TIMER_OFF when none */
};

struct tss {                            /* SDM 3, figure 7-11 */
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
} __attribute__((packed));

/* What each CPU has of its own. percpu comes first: GS points at it. */
struct local {
    struct percpu percpu;
    struct tss tss __attribute__((aligned(16)));
    u64 gdt[7] __attribute__((aligned(16)));
    u8 fault_stack[3072] __attribute__((aligned(16)));          /* for #DF and NMI: the current stack may be the problem */
};

#define RFLAGS_IF 0x200ull

static inline void irq_enable(void) { __asm__ volatile("sti" ::: "memory"); }
static inline void irq_disable(void) { __asm__ volatile("cli" ::: "memory"); }

static inline u64 read_flags(void)
{
    u64 flags;
    __asm__ volatile("pushfq; popq %0" : "=r"(flags)::"memory");
    return flags;
}

static inline int irq_enabled(void) { return (read_flags() & RFLAGS_IF) != 0; }

static inline u64 irq_save(void)
{
    u64 state = read_flags() & RFLAGS_IF;
    irq_disable();
    return state;
}

static inline void irq_restore(u64 state)
{
    if (state)
        irq_enable();
}

static inline struct percpu *percpu(void)
{
    struct percpu *p;
    __asm__ volatile("movq %%gs:0, %0" : "=r"(p));
    return p;
}

static inline int arch_cpu(void) { return percpu()->cpu; }
static inline void arch_relax(void) { __asm__ volatile("pause" ::: "memory"); }

static inline void outb(u32 port, u8 v) { __asm__ volatile("outb %0, %w1" ::"a"(v), "Nd"(port)); }
static inline void outl(u32 port, u32 v) { __asm__ volatile("outl %0, %w1" ::"a"(v), "Nd"(port)); }

static inline u8 inb(u32 port)
{
    u8 v;
    __asm__ volatile("inb %w1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static inline void wrmsr(u32 msr, u64 v)
{
    __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}

static inline u64 rdmsr(u32 msr)
{
    u32 lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
    return (u64)hi << 32 | lo;
}

static inline u64 rdtsc(void)
{
    u32 lo, hi;
    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (u64)hi << 32 | lo;
}

static inline void cpuid(u32 leaf, u32 sub, u32 out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(sub));
}

static inline u64 read_cr2(void)
{
    u64 v;
    __asm__ volatile("movq %%cr2, %0" : "=r"(v));
    return v;
}

static inline void write_cr3(u64 v) { __asm__ volatile("movq %0, %%cr3" ::"r"(v) : "memory"); }

/* entry.S: 0, or -1 when the CPU answers with #GP */
int rdmsr_safe(u32 msr, u64 *value);
int wrmsr_safe(u32 msr, u64 value);

/* arch.c, timer.c, trap.c, vm.c */
void vm_boot_done(void);
u64 vm_reverse(u64 pa);         /* a user address of the current address space that maps this page, or ~0 */
struct local *local_init(struct local *l, int cpu);     /* before it runs; cpu's descriptors and per-CPU block */
void trap_setup(void);
void trap_setup_cpu(void);
void lapic_setup(void);
void lapic_setup_cpu(void);
void lapic_init_start(u64 hwid, u32 page);              /* INIT and STARTUP: real mode at page * 4 KiB */
u64 vm_start_root(void);        /* the kernel's half, and the first 512 GiB at 0 too; for CPUs that start. Physical, 0: no memory */
void lapic_eoi(void);
void lapic_disable(void);                               /* for tests; lapic_setup_cpu enables it */
void timer_interrupt(void *tf);

#endif
