/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lives of address spaces. */
#include "task.h"

static struct mm mms[NTASK];
static struct spinlock mms_lock = SPINLOCK("mms");

struct mm *mm_new(void)
{
    struct mm *mm = NULL;
    lock(&mms_lock);
    for (struct mm *m = mms; m < mms + NTASK && !mm; m++) {
        if (m->refs == 0)
            mm = m;
    }
    if (mm)
        mm->refs = 1;
    unlock(&mms_lock);
    u64 root = mm ? arch_pt_new() : 0;
    if (!root) {
        if (mm)
            mm->refs = 0;
        return NULL;
    }
    *mm = (struct mm){.users = 1, .refs = 1, .root = root, .lock = MUTEX("mm")};
    return mm;
}

void mm_get(struct mm *mm) { __atomic_fetch_add(&mm->users, 1, __ATOMIC_RELAXED); }
void mm_grab(struct mm *mm) { __atomic_fetch_add(&mm->refs, 1, __ATOMIC_RELAXED); }

void mm_put(struct mm *mm)
{
    if (__atomic_sub_fetch(&mm->users, 1, __ATOMIC_ACQ_REL))
        return;
    mm_unload(mm->root);
    vm_clear(mm);
    mm_drop(mm);
}

void mm_drop(struct mm *mm)
{
    lock(&mms_lock);
    bool last = mm->refs == 1;
    if (!last)
        __atomic_fetch_sub(&mm->refs, 1, __ATOMIC_RELAXED);
    unlock(&mms_lock);
    if (!last)
        return;
    arch_pt_free(mm->root);
    __atomic_store_n(&mm->refs, 0, __ATOMIC_RELEASE);   /* free: only now may mm_new take it */
}
