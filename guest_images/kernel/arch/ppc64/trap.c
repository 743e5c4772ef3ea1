/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From an interrupt's vector to the common kernel, and contexts. */
#include "esn.h"
#include "ppc64.h"

#define DSISR_NOPTE 0x40000000ull       /* the same position in SRR1 for fetches */
#define DSISR_STORE 0x02000000ull
#define DSISR_MC_LOADSTORE 0x00008000ull

void timer_interrupt(struct trapframe *tf);
void external_interrupt(struct trapframe *tf);
void trap_dispatch(struct trapframe *tf);

static void data_fault(struct trapframe *tf)
{
    if (esn_fault(tf, tf->dar))
        return;
    int segment = tf->trap == 0x380;    /* outside the tree: no cause bits, and whether it was a store is not told */
    trap_fault(tf, tf->dar, !segment && tf->dsisr & DSISR_STORE ? ACC_WRITE : ACC_READ, tf_from_user(tf),
               !segment && !(tf->dsisr & DSISR_NOPTE));
}

static void fetch_fault(struct trapframe *tf)
{
    if (!esn_fault(tf, tf->nip))
        trap_fault(tf, tf->nip, ACC_EXEC, tf_from_user(tf), tf->trap == 0x400 && !(tf->msr & DSISR_NOPTE));
}

static void machine_check(struct trapframe *tf)
{
    u64 addr = tf->dsisr & DSISR_MC_LOADSTORE ? tf->dar : tf->nip;
    tf->msr |= MSR_ME;                  /* taken with machine checks off; go back with them on */
    trap_memory_error(tf, addr);
}

void trap_dispatch(struct trapframe *tf)
{
    switch (tf->trap) {
    case 0x200: machine_check(tf); break;
    case 0x300: case 0x380: data_fault(tf); break;
    case 0x400: case 0x480: fetch_fault(tf); break;
    case 0x500: external_interrupt(tf); break;
    case 0x900: timer_interrupt(tf); break;
    case 0xc00:
        if (!tf_from_user(tf))
            panic("trap_dispatch: system call from the kernel at %llx", tf->nip);
        trap_syscall(tf);
        break;
    case 0x100: panic("trap_dispatch: system reset at %llx", tf->nip);
    default: trap_illegal(tf); break;   /* program, alignment, unavailable facility, trace */
    }
    if (tf_from_user(tf))
        trap_exit(tf);
    else
        tf->gpr[13] = (uptr)paca();     /* it may have slept, and go on on another CPU */
}

/* ---- contexts ---- */

extern char context_start[];

struct context *arch_task_setup(u64 kstack_top, void (*entry)(void))
{
    u64 *frame = (u64 *)(uptr)(kstack_top - sizeof(struct trapframe) - FRAME_MIN - CONTEXT_SIZE);
    memset(frame, 0, CONTEXT_SIZE + FRAME_MIN);
    frame[FRAME_MIN / 8] = (uptr)entry;                 /* r14 */
    frame[CONTEXT_SIZE / 8 + 2] = (uptr)context_start;  /* LR save word of the frame above */
    return (struct context *)frame;
}

/* A task never pastes what another one has copied: cpabort, or its request would go out through the other one's window. */
void arch_set_kstack(u64 kstack_top)
{
    paca()->kstack = kstack_top;
    if (!bug(BUG_VAS_NO_CPABORT))
        __asm__ volatile(".long 0x7c00068c");
}

void arch_user_init_tf(struct trapframe *tf, u64 pc, u64 sp, u64 arg0, u64 arg1)
{
    memset(tf, 0, sizeof *tf);
    tf->msr = MSR_USER;
    tf_set_pc(tf, pc);
    tf->gpr[1] = sp;
    tf->gpr[3] = arg0;
    tf->gpr[4] = arg1;
}

void arch_sanitize_tf(struct trapframe *tf)
{
    tf->msr = MSR_USER;
    tf->nip &= ~3ull;
}

void arch_dump_tf(const struct trapframe *tf)
{
    kprintf("trap %llx nip %llx msr %llx lr %llx ctr %llx\n", tf->trap, tf->nip, tf->msr, tf->lr, tf->ctr);
    kprintf("dar %llx dsisr %llx cr %llx xer %llx\n", tf->dar, tf->dsisr, tf->cr, tf->xer);
    for (int i = 0; i < 32; i += 4)
        kprintf("r%d %llx %llx %llx %llx\n", i, tf->gpr[i], tf->gpr[i + 1], tf->gpr[i + 2], tf->gpr[i + 3]);
}
