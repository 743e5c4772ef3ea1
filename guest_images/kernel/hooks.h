/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The system call for tests (uapi.h, HOOK_*): into parts of the kernel that no program reaches otherwise. */
#ifndef VMEMU_HOOKS_H
#define VMEMU_HOOKS_H

#include "task.h"

s64 hook(struct task *t, u64 op, u64 a, u64 b);

/* The architecture's own, from 32; optional. Interrupts on. */
s64 arch_hook(struct task *t, u64 op, u64 a, u64 b);

#endif
