/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A lock whose holder may sleep. For tasks only, with no spinlock held; who waits sleeps, uninterruptibly. */
#ifndef VMEMU_MUTEX_H
#define VMEMU_MUTEX_H

#include "kernel.h"

struct mutex {
    struct spinlock lock;
    bool held;
    int waiting;
};
#define MUTEX(text) {SPINLOCK(text), false, 0}

void mutex_lock(struct mutex *m);
void mutex_unlock(struct mutex *m);

#endif
