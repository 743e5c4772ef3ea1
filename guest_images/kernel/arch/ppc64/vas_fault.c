/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What becomes of a translation fault of the engine. The kernel does not page in what the request names, and does not send it
 * again: it writes a status block that says so, and the program touches its pages and pastes once more. Writing that block may
 * page in the block itself; where it cannot be written, the program gets SIGSEGV.
 */
#include "vas.h"

enum { WEAK_NS = 20000 };

enum opener { GONE, EXITING, THERE };

/* The thread that opened the window, or, when that has ended, its process. */
static enum opener find_opener(const struct vas_window *w)
{
    const struct task *thread = NULL, *leader = NULL;
    lock(&sched_lock);
    for (const struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t->state == TASK_FREE)
            continue;
        if (t->pid == w->pid && (t->state != TASK_ZOMBIE || t->pid == t->tgid))
            thread = t;                 /* a thread that is no leader is gone when it ends */
        if (t->pid == w->tgid)
            leader = t;
    }
    const struct task *t = thread ? thread : leader;
    enum opener found = !t ? GONE : t->exiting ? EXITING : THERE;
    unlock(&sched_lock);
    return found;
}

/*
 * In two steps: whoever sees V sees all of it. False: not writable. Programs poll the first byte, without any lock.
 */
static bool write_csb(const struct vas_window *w, u64 va, struct nx_csb *csb)
{
    nx_u8 valid = NX_CSB_V;
    if (bug(BUG_VAS_CSB_AT_ONCE))
        csb->flags = NX_CSB_V;
    if (bug(BUG_VAS_CSB_AT_ONCE) && copy_to_user(w->mm, va, csb, 4) == 0)
        vas_nap(WEAK_NS);               /* as long as the rest may take on a machine that orders stores weakly */
    if (copy_to_user(w->mm, va, csb, sizeof *csb) != 0)
        return false;
    __asm__ volatile("sync" ::: "memory");
    return copy_to_user(w->mm, va, &valid, sizeof valid) == 0;
}

void vas_tell_fault(const struct vas_window *w, const struct nx_crb *crb)
{
    u64 va = bug(BUG_VAS_CSB_UNMASKED) ? crb->csb : NX_CSB_ADDRESS(crb->csb);
    struct nx_csb csb = {
        .cc = bug(BUG_VAS_CC_5) ? NX_CC_TRANSLATION_V8 : NX_CC_TRANSLATION, .ce = NX_CE_TERMINATED, .address = crb->stamp.address,
    };
    switch (find_opener(w)) {
    case GONE:
        kprintf("vas: window %u: nobody is left of process %d\n", w->id, w->tgid);
        return;
    case EXITING:
        return;
    case THERE:
        break;
    }
    if (!write_csb(w, va, &csb))
        signal_send(w->tgid, SIGSEGV, va);
}
