/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One timer per CPU serves time slices and sleeping tasks. It is set only when somebody waits for it. */
#include "task.h"

void timer_arm(u64 when)
{
    struct cpu *c = mycpu();
    if (when >= c->armed)       /* the earlier interrupt will arm the rest */
        return;
    u64 now = arch_time_ns();
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
    u64 now = arch_time_ns();
    c->armed = FOREVER;
    lock(&sched_lock);
    u64 due = timer_expire(now);
    unlock(&sched_lock);
    if (now >= c->slice_end) {
        c->need_resched = true;     /* run() or idle() sets the next slice */
        return;
    }
    timer_arm(c->slice_end < due ? c->slice_end : due);
}
