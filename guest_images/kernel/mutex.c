/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "mutex.h"
#include "task.h"

void mutex_lock(struct mutex *m)
{
    lock(&m->lock);
    m->waiting++;
    while (m->held)
        sleep_on(m, &m->lock, FOREVER, false);
    m->waiting--;
    m->held = true;
    unlock(&m->lock);
}

void mutex_unlock(struct mutex *m)
{
    lock(&m->lock);
    if (!m->held)
        panic("mutex_unlock: %s is not held", m->lock.name);
    m->held = false;
    bool wanted = m->waiting;
    unlock(&m->lock);
    if (wanted)
        wakeup(m);
}
