/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries from the architecture's trap code (arch.h). All come with interrupts off. */
#include "apf.h"
#include "task.h"

void trap_syscall(struct trapframe *tf)
{
    bool replaced = false;
    irq_enable();
    s64 result = syscall(tf, &replaced);
    irq_disable();
    if (!replaced)
        tf_set_ret(tf, (u64)result);
}

static NORETURN void kernel_trap(const struct trapframe *tf, const char *what, u64 addr)
{
    if (!quiet)
        arch_dump_tf(tf);
    panic("trap: %s at %llx in the kernel, pc %llx", what, addr, tf_pc(tf));
}

void trap_fault(struct trapframe *tf, u64 addr, int access, int user, int present)
{
    (void)present;          /* the page table itself is looked up: the entry may be stale */
    if (!user)
        kernel_trap(tf, access == ACC_WRITE ? "write fault" : access == ACC_EXEC ? "execute fault" : "read fault", addr);
    irq_enable();           /* as in a system call: the page's contents may have to be waited for */
    int error = vm_fault(current()->mm, addr, access);
    if (error == -EFAULT) {
        signal_fault(tf, SIGSEGV, addr, access);
    } else if (error) {
        kprintf("task %d: no memory for page tables, at %llx\n", current()->pid, addr);
        task_exit(SIGKILL);
    }
    irq_disable();
}

void trap_memory_error(struct trapframe *tf, u64 addr)
{
    if (!tf_from_user(tf))
        kernel_trap(tf, "memory error", addr);
    irq_enable();
    signal_fault(tf, SIGBUS, addr, ACC_READ);
    irq_disable();
}

void trap_illegal(struct trapframe *tf)
{
    if (!tf_from_user(tf))
        kernel_trap(tf, "illegal instruction", tf_pc(tf));
    irq_enable();
    signal_fault(tf, SIGILL, tf_pc(tf), ACC_EXEC);
    irq_disable();
}

void trap_irq(struct trapframe *tf)
{
    (void)tf;               /* the handler's wakeups have set need_resched */
}

void trap_ipi(struct trapframe *tf)
{
    u32 kinds = __atomic_exchange_n(&mycpu()->ipi, 0, __ATOMIC_ACQ_REL);
    (void)tf;
    if (kinds & IPI_STOP)
        stop_this();
    if (kinds & IPI_FLUSH)
        tlb_serve();
    if (kinds & IPI_APF)
        apf_serve();
    /* IPI_RESCHED: need_resched is set, or the scheduler looks again after arch_idle */
}

void trap_exit(struct trapframe *tf)
{
    if (!tf_from_user(tf))
        panic("trap_exit: not on the way to user mode");
    struct task *t = current();
    token_quiet();
    for (;;) {
        if (t->killed)
            task_exit((u32)t->killed);
        signal_deliver(tf);
        if (!mycpu()->need_resched)
            return;
        yield();
    }
}
