/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Console, contexts, starting, idle, power. */
#include "kernel.h"

#define COM1 0x3f8                      /* 16550: data 0, line status 5 (bit 0 received, bit 5 may send) */
#define DEBUG_EXIT 0xf4

_Static_assert(sizeof(struct local) <= PAGE_SIZE, "one page");

void arch_write(const char *s, size_t n)
{
    for (; n; n--, s++) {
        while (!(inb(COM1 + 5) & 0x20))
            arch_relax();
        outb(COM1, (u8)*s);
    }
}

int arch_getc(void) { return inb(COM1 + 5) & 1 ? inb(COM1) : -1; }

void arch_init_cpu(void)
{
    trap_setup_cpu();
    lapic_setup_cpu();
}

void arch_init(void)
{
    vm_boot_done();
    trap_setup();
    lapic_setup();
    arch_init_cpu();
}

extern char trampoline[], trampoline_end[], secondary_entry[];

static void put64(u64 offset, u64 v) { *(volatile u64 *)((char *)pa_to_kva(TRAMPOLINE) + offset) = v; }

int arch_start_cpu(int cpu, u64 hwid, u64 stack_top)
{
    static u64 root;
    void *local = kalloc();
    if (!root)
        root = vm_start_root();
    if (!root || !local)
        return -ENOMEM;
    memcpy(pa_to_kva(TRAMPOLINE), trampoline, (u64)(trampoline_end - trampoline));
    put64(TRAMPOLINE_ROOT, root);
    put64(TRAMPOLINE_ENTRY, (u64)(uptr)secondary_entry);
    put64(TRAMPOLINE_STACK, stack_top);
    put64(TRAMPOLINE_LOCAL, (u64)(uptr)local_init(local, cpu));
    lapic_init_start(hwid, TRAMPOLINE >> PAGE_SHIFT);
    return 0;
}

void arch_idle(void)
{
    /* the shadow of STI covers HLT: no interrupt falls between */
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

NORETURN void arch_poweroff(int status)
{
    irq_disable();
    for (;;)
        outl(DEBUG_EXIT, (u32)status);
}

void arch_sync_icache(void *kva, u64 len)
{
    (void)kva, (void)len;               /* coherent */
}

/* What arch_switch pops. */
struct context {
    u64 r15, r14, r13, r12, rbx, rbp, rip;
};

struct context *arch_task_setup(u64 kstack_top, void (*entry)(void))
{
    /* after the pops and RET, rsp is 8 below a multiple of 16, as at any function entry */
    struct context *c = (struct context *)(uptr)(kstack_top - sizeof(struct trapframe) - 8 - sizeof *c);
    *c = (struct context){.rip = (u64)(uptr)entry};
    return c;
}
