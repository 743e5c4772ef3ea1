/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptor tables, and from a vector to the common handlers. */
#include "kernel.h"

#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_FMASK 0xc0000084
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_MCG_STATUS 0x17a
#define MSR_MC0_STATUS 0x401
#define MSR_MC0_ADDR 0x402
#define MSR_MC0_MISC 0x403

/* RFLAGS bits that user mode may choose; the rest is forced. */
#define FLAGS_USER 0x200cd5ull          /* CF PF AF ZF SF DF OF ID */
#define FLAGS_FORCED 0x202ull           /* IF, and the bit that is always one */
#define FLAGS_CLEAR 0x47700ull          /* FMASK: AC NT IOPL DF IF TF */

struct gate {
    u16 offset_low, selector;
    u8 ist, type;
    u16 offset_mid;
    u32 offset_high, zero;
};

struct tss {                            /* SDM 3, figure 7-11 */
    u32 reserved0;
    u64 rsp[3];
    u64 reserved1, ist[7], reserved2;
    u16 reserved3, iomap;
} __attribute__((packed));

extern u64 gdt[];
extern char trap_stubs[], syscall_entry[];
void arch_early(void);
void trap_dispatch(struct trapframe *tf);

static struct percpu cpu0;
static struct gate idt[256] __attribute__((aligned(16)));
static struct tss tss __attribute__((aligned(16)));
static u8 fault_stack[4096] __attribute__((aligned(16)));       /* for #DF and NMI: the current stack may be the problem */

/* Before any common code: what arch_cpu() and page tables with NX need. */
void arch_early(void)
{
    cpu0.self = &cpu0;
    cpu0.deadline = TIMER_OFF;
    wrmsr(MSR_GS_BASE, (u64)(uptr)&cpu0);
    wrmsr(MSR_KERNEL_GS_BASE, 0);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 0x801);                   /* NXE, SCE */
    u64 cr0, cr4;
    __asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("movq %0, %%cr0" ::"r"(cr0 | 0x10000));    /* WP */
    __asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
    u32 leaf7[4];
    cpuid(7, 0, leaf7);
    cr4 |= 0x80 | 0x40;                                         /* PGE, MCE */
    if (leaf7[1] & 1u << 7)
        cr4 |= 1u << 20;                                        /* SMEP */
    __asm__ volatile("movq %0, %%cr4" ::"r"(cr4));
}

static void set_gate(int vector, int ist)
{
    u64 entry = (u64)(uptr)trap_stubs + 16ull * (u64)vector;
    idt[vector] = (struct gate){(u16)entry, SEL_KCODE, (u8)ist, 0x8e, (u16)(entry >> 16), (u32)(entry >> 32), 0};
}

void trap_setup(void)
{
    for (int i = 0; i < 256; i++)
        set_gate(i, i == VEC_DF || i == VEC_NMI);
    idt[3].type |= 0x60;                                        /* user mode may say INT3 */
    tss.ist[0] = (u64)(uptr)(fault_stack + sizeof fault_stack);
    tss.iomap = sizeof tss;
    u64 base = (u64)(uptr)&tss;
    gdt[SEL_TSS / 8] = (sizeof tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    gdt[SEL_TSS / 8 + 1] = base >> 32;
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) idtr = {sizeof idt - 1, (u64)(uptr)idt};
    __asm__ volatile("lidt %0; ltr %w1; lldt %w2" ::"m"(idtr), "r"(SEL_TSS), "r"(0)); /* reset leaves an LDT over page 0 */
    wrmsr(MSR_STAR, (u64)(SEL_UDATA - 8) << 48 | (u64)SEL_KCODE << 32);
    wrmsr(MSR_LSTAR, (u64)(uptr)syscall_entry);
    wrmsr(MSR_FMASK, FLAGS_CLEAR);
}

void arch_set_kstack(u64 kstack_top)
{
    tss.rsp[0] = kstack_top;
    percpu()->kstack = kstack_top;
}

static void page_fault(struct trapframe *tf)
{
    int access = tf->error & 0x10 ? ACC_EXEC : tf->error & 2 ? ACC_WRITE : ACC_READ;
    u64 addr = read_cr2();
    trap_fault(tf, addr, access, tf_from_user(tf), tf->error & 1);
}

static void machine_check(struct trapframe *tf)
{
    u64 status = rdmsr(MSR_MC0_STATUS), addr = ~0ull;
    /* ADDRV and MISCV, and MISC says that the address is physical (SDM 3, 15.3.2) */
    if ((status >> 58 & 3) == 3 && (rdmsr(MSR_MC0_MISC) >> 6 & 7) == 2 && tf_from_user(tf))
        addr = vm_reverse(rdmsr(MSR_MC0_ADDR));
    wrmsr(MSR_MC0_STATUS, 0);
    wrmsr(MSR_MCG_STATUS, 0);           /* the next one may come */
    trap_memory_error(tf, addr);
}

void trap_dispatch(struct trapframe *tf)
{
    switch (tf->vector) {
    case VEC_SYSCALL: trap_syscall(tf); break;
    case VEC_PF: page_fault(tf); break;
    case VEC_MC: machine_check(tf); break;
    case VEC_TIMER: timer_interrupt(tf); break;
    case VEC_NMI:
    case VEC_SPURIOUS: break;
    case VEC_DF: panic("double fault at %llx, rsp %llx", tf->rip, tf->rsp);
    default:
        if (tf->vector < 32) {
            trap_illegal(tf);
        } else {
            lapic_eoi();
            trap_irq(tf);
        }
    }
    if (tf_from_user(tf) && tf->vector != VEC_NMI)
        trap_exit(tf);
}

void arch_user_init_tf(struct trapframe *tf, u64 pc, u64 sp, u64 arg0, u64 arg1)
{
    *tf = (struct trapframe){.rip = pc, .rsp = sp, .rdi = arg0, .rsi = arg1, .cs = SEL_UCODE + 3, .ss = SEL_UDATA + 3,
                             .rflags = FLAGS_FORCED};
}

void arch_sanitize_tf(struct trapframe *tf)
{
    tf->cs = SEL_UCODE + 3;
    tf->ss = SEL_UDATA + 3;
    tf->rflags = (tf->rflags & FLAGS_USER) | FLAGS_FORCED;
    if (tf->rip > USER_TOP)
        tf->rip = USER_TOP;             /* IRETQ refuses non-canonical addresses in kernel mode; this one faults in user mode */
}

void arch_dump_tf(const struct trapframe *tf)
{
    kprintf("vector %llu error %llx rip %llx cs %llx rflags %llx cr2 %llx\n", tf->vector, tf->error, tf->rip, tf->cs, tf->rflags,
            read_cr2());
    kprintf("rsp %llx rbp %llx rax %llx rbx %llx rcx %llx rdx %llx\n", tf->rsp, tf->rbp, tf->rax, tf->rbx, tf->rcx, tf->rdx);
    kprintf("rsi %llx rdi %llx r8 %llx r9 %llx r10 %llx r11 %llx\n", tf->rsi, tf->rdi, tf->r8, tf->r9, tf->r10, tf->r11);
    kprintf("r12 %llx r13 %llx r14 %llx r15 %llx\n", tf->r12, tf->r13, tf->r14, tf->r15);
}
