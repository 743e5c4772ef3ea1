/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preemptive round robin within priorities. Each CPU runs scheduler() on its boot stack; a task gives up its CPU by switching to
 * that context with sched_lock held, and gets it back the same way, so a switch never meets a half-changed task.
 */
#include "task.h"

#define SLICE_NS (1000000000ull / HZ)

struct cpu cpus[NCPU];
u64 running[NCPU];                      /* task numbers for the host (note.S), 0: none */
struct task tasks[NTASK];
struct spinlock sched_lock = SPINLOCK("sched");

struct task *current(void)
{
    u64 irq = irq_save();
    struct task *t = mycpu()->task;
    irq_restore(irq);
    if (!t)
        panic("current: no task on this CPU");
    return t;
}

/* The next task to run: highest priority, then the first one after the last that ran. sched_lock held. */
static struct task *pick(int last)
{
    struct task *best = NULL;
    for (int i = 1; i <= NTASK; i++) {
        struct task *t = &tasks[(last + i) % NTASK];
        if (t->state == TASK_RUNNABLE && (!best || t->prio > best->prio))
            best = t;
    }
    return best;
}

/*
 * sched_lock stays held over a switch, but the interrupt state it will restore belongs to whoever took it. Without this the
 * scheduler would go on with a task's interrupts enabled, and lose the wakeup of a timer that fires just before arch_idle.
 */
static void switch_to(struct context **save, struct context *to)
{
    u64 irq = sched_lock.irq;
    arch_switch(save, to);
    sched_lock.irq = irq;
}

static void run(struct cpu *c, struct task *t)
{
    u64 now = arch_time_ns();
    u64 due = timer_expire(now);
    t->state = TASK_RUNNING;
    c->task = t;
    running[c - cpus] = (u64)t->pid;
    c->last = (int)(t - tasks);
    c->need_resched = false;
    c->slice_end = now + SLICE_NS;
    timer_arm(c->slice_end < due ? c->slice_end : due);
    if (c->mm_root != t->mm.root)
        arch_switch_mm(c->mm_root = t->mm.root);
    arch_set_kstack(kstack_top(t));
    switch_to(&c->ctx, t->ctx);
    c->task = NULL;
    running[c - cpus] = 0;
}

/* Nothing to run: wait for an interrupt. Without sleepers the timer stays off, so that an idle machine is seen to be idle. */
static void idle(struct cpu *c)
{
    u64 due = timer_expire(arch_time_ns());
    c->slice_end = FOREVER;
    if (pick(c->last)) {
        unlock(&sched_lock);
        return;
    }
    timer_arm(due);
    unlock(&sched_lock);
    arch_idle();
}

void scheduler(void)
{
    struct cpu *c = mycpu();
    for (;;) {
        lock(&sched_lock);
        struct task *t = pick(c->last);
        if (t) {
            run(c, t);
            unlock(&sched_lock);
        } else {
            idle(c);
        }
    }
}

/* Give up the CPU. sched_lock held, the task's state says what it waits for. */
static void sched(struct task *t)
{
    if (t->state == TASK_RUNNING)
        panic("sched: task %d still runs", t->pid);
    if (*(u64 *)(uptr)t->kstack != 0)
        panic("sched: kernel stack of task %d overflowed", t->pid);
    switch_to(&t->ctx, mycpu()->ctx);
}

void yield(void)
{
    u64 irq = irq_save();
    struct task *t = current();
    lock(&sched_lock);
    t->state = TASK_RUNNABLE;
    sched(t);
    unlock(&sched_lock);
    irq_restore(irq);
}

void reschedule(void)
{
    u64 irq = irq_save();
    mycpu()->need_resched = true;
    irq_restore(irq);
}

void sched_exit(void)
{
    struct task *t = current();
    sched(t);
    panic("sched_exit: task %d came back", t->pid);
}

int sleep_on(const void *chan, struct spinlock *l, u64 until, bool killable)
{
    struct task *t = current();
    u64 irq = l->irq;               /* the caller's interrupt state: other holders overwrite it meanwhile */
    if (l != &sched_lock) {
        lock(&sched_lock);          /* before l goes, or a wakeup could be missed */
        l->irq = sched_lock.irq;    /* interrupts stay off */
        unlock(l);
    }
    t->timed_out = until <= arch_time_ns();
    if (!t->timed_out && !(killable && t->killed)) {
        t->chan = chan;
        t->wake_at = until;
        t->killable = killable;
        t->state = TASK_SLEEPING;
        sched(t);
        t->chan = NULL;
    }
    int result = killable && t->killed ? -EINTR : t->timed_out ? -EAGAIN : 0;
    sched_lock.irq = irq;
    if (l != &sched_lock) {
        unlock(&sched_lock);
        lock(l);
    }
    return result;
}

void wake_task(struct task *t)
{
    if (t->state != TASK_SLEEPING)
        return;
    t->state = TASK_RUNNABLE;
    struct cpu *c = mycpu();
    if (c->task && t->prio > c->task->prio)
        c->need_resched = true;
}

void wakeup(const void *chan)
{
    lock(&sched_lock);
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t->chan == chan)
            wake_task(t);
    }
    unlock(&sched_lock);
}
