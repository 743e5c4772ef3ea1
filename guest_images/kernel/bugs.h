/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Known bugs of real kernels, kept as switches: `if (bug(BUG_x))` takes the wrong path on purpose. All are off by default. */
#ifndef VMEMU_BUGS_H
#define VMEMU_BUGS_H

#include "types.h"

/* X(identifier, "name on the command line", "what goes wrong") */
#define BUG_SWITCHES(X) \
    X(BUG_FORK_NO_FLUSH, "fork-no-flush", "fork leaves writable translations of shared pages in the TLB") \
    X(BUG_APF_NO_MARKER, "apf-no-marker", "a wake that comes before its sleeper is forgotten: the task sleeps for ever") \
    X(BUG_APF_WAKE_ONE, "apf-wake-one", "a wake reaches one sleeper of its token: the others sleep for ever") \
    X(BUG_APF_ALLOC_LOCKED, "apf-alloc-locked", "a marker is waited for with the bucket locked: both CPUs spin for ever when none is left") \
    X(BUG_APF_NO_SECOND_LOOK, "apf-no-second-look", "a marker is left although the sleeper came while it was fetched: he sleeps for ever") \
    X(BUG_APF_DROP_MARKERS, "apf-drop-markers", "wake-all drops markers and never frees them: they run out, and who comes later sleeps for ever") \
    X(BUG_APF_SLEEP_ATOMIC, "apf-sleep-atomic", "a notification puts kernel code to sleep where it must not: panic in sched")

#define BUG_ENUM(id, name, text) id,
enum bug { BUG_SWITCHES(BUG_ENUM) N_BUGS };
#undef BUG_ENUM

extern bool bug_switch[N_BUGS];
static inline bool bug(enum bug id) { return __builtin_expect(bug_switch[id], 0); }

/* Switch on every bug of a comma-separated list of len bytes. Panics on an unknown name: a lab run must not test nothing. */
void bugs_enable(const char *names, size_t len);

#endif
