/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Known bugs of real kernels, kept as switches: `if (bug(BUG_x))` takes the wrong path on purpose. All are off by default. */
#ifndef VMEMU_BUGS_H
#define VMEMU_BUGS_H

#include "types.h"

/* X(identifier, "name on the command line", "what goes wrong") */
#define BUG_SWITCHES(X) \
    X(BUG_FORK_NO_FLUSH, "fork-no-flush", "fork leaves writable translations of shared pages in the TLB")

#define BUG_ENUM(id, name, text) id,
enum bug { BUG_SWITCHES(BUG_ENUM) N_BUGS };
#undef BUG_ENUM

extern bool bug_switch[N_BUGS];
static inline bool bug(enum bug id) { return __builtin_expect(bug_switch[id], 0); }

/* Switch on every bug of a comma-separated list of len bytes. Panics on an unknown name: a lab run must not test nothing. */
void bugs_enable(const char *names, size_t len);

#endif
