/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a vector to the common handlers, and contexts. "DDI 0487" is the Arm Architecture Reference Manual. */
#include "arm64.h"
#include "kernel.h"

_Static_assert(sizeof(struct trapframe) == TF_SIZE, "vectors.S");
_Static_assert(__builtin_offsetof(struct trapframe, sp) == TF_SP, "vectors.S");
_Static_assert(__builtin_offsetof(struct trapframe, pc) == TF_PC, "vectors.S");
_Static_assert(__builtin_offsetof(struct trapframe, pstate) == TF_PSTATE, "vectors.S");

/* ESR_EL1 (DDI 0487 D13.2.37) */
#define ESR_CLASS(esr) ((esr) >> 26 & 0x3f)
#define ESR_FNV (1u << 10)              /* FAR not valid */
#define ESR_CM (1u << 8)                /* cache maintenance: counts as a write there, is none */
#define ESR_WNR (1u << 6)
#define CLASS_SVC 0x15
#define CLASS_FETCH_USER 0x20
#define CLASS_FETCH_KERNEL 0x21
#define CLASS_DATA_USER 0x24
#define CLASS_DATA_KERNEL 0x25

enum { KIND_SYNC, KIND_IRQ, KIND_FIQ, KIND_SERROR };

static void abort_taken(struct trapframe *tf, u64 esr, int fetch)
{
    u64 far = esr & ESR_FNV ? ~0ull : read_sysreg(far_el1);
    unsigned status = esr & 0x3f;
    int access = fetch ? ACC_EXEC : (esr & ESR_WNR) && !(esr & ESR_CM) ? ACC_WRITE : ACC_READ;

    if ((status & 0x3c) >= 0x08 && status < 0x10)       /* access flag, permission */
        trap_fault(tf, far, access, tf_from_user(tf), 1);
    else if (status < 0x08)                             /* address size, translation */
        trap_fault(tf, far, access, tf_from_user(tf), 0);
    else if (status >= 0x10 && status < 0x20)           /* external abort, on the access or on its table walk; ECC */
        trap_memory_error(tf, far);
    else
        trap_illegal(tf);                               /* alignment and the rest */
}

static void sync_taken(struct trapframe *tf)
{
    u64 esr = read_sysreg(esr_el1);

    switch (ESR_CLASS(esr)) {
    case CLASS_SVC:
        if (tf_from_user(tf))
            trap_syscall(tf);
        else
            trap_illegal(tf);
        break;
    case CLASS_FETCH_USER:
    case CLASS_FETCH_KERNEL:
        abort_taken(tf, esr, 1);
        break;
    case CLASS_DATA_USER:
    case CLASS_DATA_KERNEL:
        abort_taken(tf, esr, 0);
        break;
    default:
        trap_illegal(tf);
    }
}

void trap_entry(struct trapframe *tf, int kind)
{
    if (kind == KIND_SYNC)
        sync_taken(tf);
    else if (kind == KIND_IRQ)
        gic_irq(tf);
    else
        trap_memory_error(tf, ~0ull);                   /* SError; an FIQ cannot be: no group 0 interrupt is enabled */
    if (tf_from_user(tf)) {
        async_before_user();
        trap_exit(tf);
    }
}

/* What arch_switch keeps; x29 first, so that the frame pointer chain works. */
struct context {
    u64 x29, x30, x19, x20, x21, x22, x23, x24, x25, x26, x27, x28;
};
_Static_assert(sizeof(struct context) == 96, "vectors.S");

struct context *arch_task_setup(u64 kstack_top, void (*entry)(void))
{
    struct context *c = (struct context *)(uptr)(kstack_top - sizeof(struct trapframe)) - 1;

    memset(c, 0, sizeof *c);
    c->x30 = (u64)(uptr)entry;
    return c;
}

void arch_set_kstack(u64 kstack_top)
{
    (void)kstack_top;                                   /* vectors.S: SP_EL1 is right by construction */
}

#define PSTATE_NZCV 0xf0000000ull

void arch_user_init_tf(struct trapframe *tf, u64 pc, u64 sp, u64 arg0, u64 arg1)
{
    memset(tf, 0, sizeof *tf);                          /* PSTATE 0: EL0, nothing masked */
    tf->pc = pc;
    tf->sp = sp;
    tf->x[0] = arg0;
    tf->x[1] = arg1;
}

void arch_sanitize_tf(struct trapframe *tf) { tf->pstate &= PSTATE_NZCV; }

void arch_dump_tf(const struct trapframe *tf)
{
    kprintf("  pc %016llx sp %016llx pstate %08llx\n", tf->pc, tf->sp, tf->pstate);
    kprintf("  esr %08llx far %016llx\n", read_sysreg(esr_el1), read_sysreg(far_el1));
    for (int i = 0; i < 30; i += 3)
        kprintf("  x%02d %016llx x%02d %016llx x%02d %016llx\n", i, tf->x[i], i + 1, tf->x[i + 1], i + 2, tf->x[i + 2]);
    kprintf("  x30 %016llx\n", tf->x[30]);
}
