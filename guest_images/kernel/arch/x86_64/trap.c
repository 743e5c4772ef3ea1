/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Descriptor tables, and from a vector to the common handlers. */
#include "kernel.h"
#include "kvm_apf.h"

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

extern u64 gdt[];
extern char trap_stubs[], syscall_entry[];
extern char msr_safe_read[], msr_safe_write[], msr_safe_refused[];
void arch_early(void);
void secondary_entry(struct local *l);
void trap_dispatch(struct trapframe *tf);

static struct local local0;
static struct gate idt[256] __attribute__((aligned(16)));

struct local *local_init(struct local *l, int cpu)
{
    u64 base = (u64)(uptr)&l->tss;
    l->percpu = (struct percpu){.self = &l->percpu, .cpu = cpu, .deadline = TIMER_OFF};
    l->tss.ist[0] = (u64)(uptr)(l->fault_stack + sizeof l->fault_stack);
    l->tss.iomap = sizeof l->tss;
    memcpy(l->gdt, gdt, sizeof l->gdt);
    l->gdt[SEL_TSS / 8] = (sizeof l->tss - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
    l->gdt[SEL_TSS / 8 + 1] = base >> 32;
    return l;
}

static void early(struct local *l)
{
    wrmsr(MSR_GS_BASE, (u64)(uptr)&l->percpu);
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

/* Before any common code: what arch_cpu() and page tables with NX need. */
void arch_early(void) { early(local_init(&local0, 0)); }

void secondary_entry(struct local *l)
{
    arch_switch_mm(0);                                          /* and PGE drops what the tables before it were good for */
    early(l);
    cpu_main();
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
}

void trap_setup_cpu(void)
{
    struct local *l = (struct local *)percpu();
    struct {
        u16 limit;
        u64 base;
    } __attribute__((packed)) gdtr = {sizeof l->gdt - 1, (u64)(uptr)l->gdt};
    __asm__ volatile("lgdt %0" ::"m"(gdtr));    /* the segments are the same as before */
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
    struct local *l = (struct local *)percpu();
    l->tss.rsp[0] = kstack_top;
    l->percpu.kstack = kstack_top;
}

static void page_fault(struct trapframe *tf)
{
    u64 addr = read_cr2();
    if (apf_page_fault(tf, addr))       /* before anything that could fault */
        return;
    int access = tf->error & 0x10 ? ACC_EXEC : tf->error & 2 ? ACC_WRITE : ACC_READ;
    trap_fault(tf, addr, access, tf_from_user(tf), tf->error & 1);
}

/* An MSR that says no to the functions that can live with it. */
static void general_protection(struct trapframe *tf)
{
    if (tf->rip == (u64)(uptr)msr_safe_read || tf->rip == (u64)(uptr)msr_safe_write)
        tf->rip = (u64)(uptr)msr_safe_refused;
    else
        trap_illegal(tf);
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
    case VEC_GP: general_protection(tf); break;
    case VEC_PF: page_fault(tf); break;
    case VEC_MC: machine_check(tf); break;
    case VEC_TIMER: timer_interrupt(tf); break;
    case VEC_IPI:
        lapic_eoi();
        trap_ipi(tf);
        break;
    case VEC_APF: apf_interrupt(tf); break;
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
