/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One timer per CPU serves time slices and sleeping tasks. It is set only when somebody waits for it. */
#include "task.h"

u64 time_ns(void)
{
    static u64 latest;
    u64 now = arch_time_ns(), seen = __atomic_load_n(&latest, __ATOMIC_ACQUIRE);
    while (now > seen) {
        if (__atomic_compare_exchange_n(&latest, &seen, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return now;
    }
    return seen;
}

/* Will another CPU's timer come by then? It looks at all sleepers and arms the next one. */
static bool covered(const struct cpu *me, u64 due)
{
    for (const struct cpu *c = cpus; c < cpus + NCPU; c++) {
        if (c != me && c->armed <= due)
            return true;
    }
    return false;
}

void timer_arm(u64 due)
{
    struct cpu *c = mycpu();
    u64 when = c->slice_end;
    if (due < when && !covered(c, due))
        when = due;
    if (when >= c->armed)       /* the earlier interrupt will arm the rest */
        return;
    u64 now = time_ns();
    c->armed = when;
    arch_timer_set(when > now ? when - now : 0);
}

u64 timer_expire(u64 now)
{
    u64 next = FOREVER;
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t->state != TASK_SLEEPING || t->wake_at == FOREVER)
            continue;
        if (t->wake_at <= now) {
            t->timed_out = true;
            wake_task(t);
        } else if (t->wake_at < next) {
            next = t->wake_at;
        }
    }
    return next;
}

void trap_timer(struct trapframe *tf)
{
    (void)tf;
    struct cpu *c = mycpu();
    u64 now = time_ns();
    lock(&sched_lock);
    c->armed = FOREVER;
    u64 due = timer_expire(now);
    if (now >= c->slice_end)
        c->need_resched = true;     /* the scheduler sets the timer again */
    else
        timer_arm(due);
    unlock(&sched_lock);
}
