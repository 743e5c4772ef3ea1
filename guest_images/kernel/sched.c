/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preemptive round robin within priorities. Each CPU runs scheduler() on its boot stack; a task gives up its CPU by switching to
 * that context with sched_lock held, and gets it back the same way, so a switch never meets a half-changed task.
 */
#include "apf.h"
#include "task.h"

#define SLICE_NS (1000000000ull / HZ)
#define PATIENCE_NS 100000ull           /* difference in time had that is worth a switch */

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

static int last;        /* index of the task that was given a CPU last: one round robin for all CPUs. sched_lock */

static bool may_run(const struct task *t, const struct cpu *c) { return t->cpus >> (c - cpus) & 1; }

/* The next task for this CPU: highest priority, then who goes ahead, then the first one after the last that ran. sched_lock held. */
static struct task *pick(const struct cpu *c)
{
    struct task *best = NULL;
    for (int i = 1; i <= NTASK; i++) {
        struct task *t = &tasks[(last + i) % NTASK];
        if (t->state != TASK_RUNNABLE || !may_run(t, c))
            continue;
        if (!best || t->prio > best->prio || (t->prio == best->prio && t->ahead && !best->ahead))
            best = t;
    }
    return best;
}

/* Let a CPU look for work: this one does when it is on its way back to user mode, or idle and in an interrupt. */
static void poke(struct cpu *c)
{
    if (c != mycpu())
        send_ipi(c, IPI_RESCHED);
}

/* An idle CPU that may run it, this one before others; NULL: none. */
static struct cpu *idle_cpu(const struct task *t)
{
    struct cpu *me = mycpu();
    if (me->idle && may_run(t, me))
        return me;
    for (struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (c->idle && may_run(t, c))
            return c;
    }
    return NULL;
}

/* The CPU with the least important task, if t is more important, this one before others; NULL: none. */
static struct cpu *busy_cpu(const struct task *t)
{
    struct cpu *me = mycpu(), *best = NULL;
    for (struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (!c->task || c->need_resched || !may_run(t, c) || c->task->prio >= t->prio)
            continue;
        if (!best || c->task->prio < best->task->prio || (c == me && c->task->prio == best->task->prio))
            best = c;
    }
    return best;
}

/*
 * See to it that a CPU notices a runnable task. A CPU is idle from when it has found nothing until somebody takes the mark away
 * and sends an interrupt, all with sched_lock held; arch_idle returns at once for one that came before it. So no wakeup is lost,
 * and two wakeups wake two CPUs.
 */
static bool place(const struct task *t)
{
    struct cpu *c = idle_cpu(t);
    if (c)
        c->idle = false;
    else if ((c = busy_cpu(t)))
        c->need_resched = true;
    else
        return false;                   /* all run what is as important: one of them at the end of its slice */
    poke(c);
    return true;
}

void make_runnable(struct task *t)
{
    t->state = TASK_RUNNABLE;
    place(t);
}

/* The CPU whose task is as important as t, and has run longest of those that have run more than t and a bit; NULL: none. */
static struct cpu *greedy_cpu(const struct task *t)
{
    struct cpu *best = NULL;
    u64 now = time_ns(), most = t->ran_ns + PATIENCE_NS;
    for (struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (!c->task || c->need_resched || !may_run(t, c) || c->task->prio != t->prio)
            continue;
        u64 ran = c->task->ran_ns + now - c->since;
        if (ran > most) {
            most = ran;
            best = c;
        }
    }
    return best;
}

/* Who computes for a moment and waits for the next page would otherwise wait out the others' slices each time. */
void wake_for_page(struct task *t)
{
    if (t->state != TASK_SLEEPING)
        return;
    t->state = TASK_RUNNABLE;
    struct cpu *c = place(t) ? NULL : greedy_cpu(t);
    if (!c)
        return;
    t->ahead = true;
    c->need_resched = true;
    poke(c);
}

void hand_over(u32 others)
{
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (!(t->cpus & others))
            t->cpus = ~0u;              /* better somewhere else than nowhere */
        if (t->state == TASK_RUNNABLE)
            place(t);
    }
}

void notice(struct task *t)
{
    for (struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (c->task == t) {
            c->need_resched = true;
            poke(c);
        }
    }
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

static void run(struct cpu *c, struct task *t, u64 now, u64 due)
{
    t->state = TASK_RUNNING;
    c->task = t;
    running[c - cpus] = (u64)t->pid;
    last = (int)(t - tasks);
    c->need_resched = false;
    c->since = now;
    t->ahead = false;
    c->slice_end = now + SLICE_NS;
    timer_arm(due);
    if (t->mm && c->mm_root != t->mm->root) {
        arch_switch_mm(t->mm->root);
        __atomic_store_n(&c->mm_root, t->mm->root, __ATOMIC_RELEASE);   /* not before the old one is gone: mm_unload */
    }
    arch_set_kstack(kstack_top(t));
    switch_to(&c->ctx, t->ctx);
    t->ran_ns += time_ns() - now;
    c->task = NULL;
    running[c - cpus] = 0;
}

/* Nothing to run: wait for an interrupt. Without sleepers the timer stays off, so that an idle machine is seen to be idle. */
static void idle(struct cpu *c, u64 due)
{
    c->slice_end = FOREVER;
    timer_arm(due);
    unlock(&sched_lock);
    arch_idle();
}

void scheduler(void)
{
    struct cpu *c = mycpu();
    struct task *before = NULL;
    for (;;) {
        token_quiet();
        if (__atomic_load_n(&c->leave, __ATOMIC_ACQUIRE))
            cpu_leave();
        lock(&sched_lock);
        c->idle = true;                 /* until pick() has looked, it need not be told */
        u64 now = time_ns(), due = timer_expire(now);
        struct task *t = pick(c);
        if (t)
            c->idle = false;
        if (before && before != t && before->state == TASK_RUNNABLE)
            place(before);              /* preempted, or sent away: another CPU may want it */
        before = t;
        if (t) {
            run(c, t, now, due);
            unlock(&sched_lock);
        } else {
            idle(c, due);
        }
    }
}

/* Give up the CPU. sched_lock held, the task's state says what it waits for. */
static void sched(struct task *t)
{
    if (t->state == TASK_RUNNING)
        panic("sched: task %d still runs", t->pid);
    if (mycpu()->atomic)
        panic("sched: task %d sleeps where it must not", t->pid);
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
    t->timed_out = until <= time_ns();
    if (!t->timed_out && !(killable && (t->killed || signal_waits(t)))) {
        t->chan = chan;
        t->wake_at = until;
        t->killable = killable;
        t->state = TASK_SLEEPING;
        sched(t);
        t->chan = NULL;
    }
    int result = killable && (t->killed || signal_waits(t)) ? -EINTR : t->timed_out ? -EAGAIN : 0;
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
    make_runnable(t);
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
