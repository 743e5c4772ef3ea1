/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers of interrupted code, as vectors.S saves them. */
#ifndef VMEMU_TRAPFRAME_H
#define VMEMU_TRAPFRAME_H

#include "types.h"

struct trapframe {
    u64 x[31];
    u64 sp;             /* SP_EL0: the user's, also while the kernel is interrupted */
    u64 pc;             /* ELR_EL1 */
    u64 pstate;         /* SPSR_EL1 */
};

static inline u64 tf_nr(const struct trapframe *tf) { return tf->x[8]; }
static inline u64 tf_arg(const struct trapframe *tf, int i) { return tf->x[i]; }
static inline void tf_set_ret(struct trapframe *tf, u64 v) { tf->x[0] = v; }
static inline u64 tf_pc(const struct trapframe *tf) { return tf->pc; }
static inline void tf_set_pc(struct trapframe *tf, u64 v) { tf->pc = v; }
static inline u64 tf_sp(const struct trapframe *tf) { return tf->sp; }
static inline void tf_set_sp(struct trapframe *tf, u64 v) { tf->sp = v; }
static inline void tf_set_arg(struct trapframe *tf, int i, u64 v) { tf->x[i] = v; }
static inline int tf_from_user(const struct trapframe *tf) { return (tf->pstate & 0xf) == 0; }

#endif
