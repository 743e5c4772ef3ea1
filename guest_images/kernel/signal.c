/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signals: a fault, or one that was sent, enters the task's handler, or kills the task. */
#include "task.h"

/*
 * What a handler's stack pointer points at. The program must not look inside: on sigreturn the kernel takes tf from it, after
 * arch_sanitize_tf.
 */
struct sigframe {
    u32 magic;
    u32 active;                 /* sig_active to go back to */
    u64 reserved;
    struct trapframe tf;
};
#define SIGFRAME_MAGIC 0x53494746u

enum { IGNORED = 1 };                   /* sigaction.entry; only a signal that was sent can be ignored */

/* Bytes below the stack pointer that compiled code may use: 128 on x86-64, 288 on ppc64 (ELFv2), none on arm64. */
enum { RED_ZONE = 288 };

static const char *signal_name(int sig)
{
    switch (sig) {
    case SIGILL: return "SIGILL";
    case SIGBUS: return "SIGBUS";
    case SIGSEGV: return "SIGSEGV";
    default: return "signal";
    }
}

/* A fatal signal ends all threads. */
static void end_threads(const struct task *me, int sig)
{
    lock(&sched_lock);
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t == me || t->tgid != me->tgid || !t->mm)
            continue;
        t->killed = sig;
        if (t->killable)
            wake_task(t);
        notice(t);
    }
    unlock(&sched_lock);
}

static NORETURN void die(struct trapframe *tf, int sig, u64 addr, int access)
{
    static const char *const verbs[] = {"read", "write", "execute"};
    kprintf("task %d: %s, %s at %llx, pc %llx\n", current()->pid, signal_name(sig), verbs[access], addr, tf_pc(tf));
    if (!quiet && current()->pid == INIT_PID)       /* the machine stops with it; others have a parent to tell */
        arch_dump_tf(tf);
    end_threads(current(), sig);
    task_exit((u32)sig);
}

void signal_fault(struct trapframe *tf, int sig, u64 addr, int access)
{
    struct task *t = current();
    struct sigaction *a = &t->sigactions[sig];
    u64 sp = (tf_sp(tf) - RED_ZONE - sizeof(struct sigframe)) & ~15ull;
    struct sigframe frame = {.magic = SIGFRAME_MAGIC, .active = t->sig_active};
    if (a->entry <= IGNORED || t->sig_active & 1u << sig)   /* a handler that faults the same way would never end */
        die(tf, sig, addr, access);
    memcpy(&frame.tf, tf, sizeof frame.tf);
    if (copy_to_user(t->mm, sp, &frame, sizeof frame) != 0)
        die(tf, sig, addr, access);
    t->sig_active |= 1u << sig;
    tf_set_pc(tf, a->entry);
    tf_set_sp(tf, sp);
    tf_set_arg(tf, 0, (u64)sig);
    tf_set_arg(tf, 1, addr);
    tf_set_arg(tf, 2, (u64)access);
    tf_set_arg(tf, 3, a->handler);
}

static bool takes(const struct task *t, int sig) { return t->mm && t->tgid && !(t->sig_active & 1u << sig); }

bool signal_waits(const struct task *t) { return t->sig_pending && takes(t, t->sig_pending); }

void signal_send(int tgid, int sig, u64 addr)
{
    struct task *to = NULL;
    lock(&sched_lock);
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t->mm && t->tgid == tgid && (!to || (!takes(to, sig) && takes(t, sig))))
            to = t;
    }
    if (to && to->sigactions[sig].entry != IGNORED) {
        to->sig_pending = sig;
        to->sig_addr = addr;
        if (to->killable)
            wake_task(to);
        notice(to);
    }
    unlock(&sched_lock);
}

void signal_deliver(struct trapframe *tf)
{
    struct task *t = current();
    while (signal_waits(t)) {
        int sig = t->sig_pending;
        u64 addr = t->sig_addr;
        t->sig_pending = 0;
        signal_fault(tf, sig, addr, ACC_WRITE);
    }
}

s64 signal_return(struct trapframe *tf, u64 frame_va)
{
    struct task *t = current();
    struct sigframe frame;
    if (frame_va & 15 || copy_from_user(t->mm, &frame, frame_va, sizeof frame) != 0)
        return -EFAULT;
    if (frame.magic != SIGFRAME_MAGIC)
        return -EINVAL;
    arch_sanitize_tf(&frame.tf);
    memcpy(tf, &frame.tf, sizeof *tf);
    t->sig_active = frame.active;
    return 0;
}
