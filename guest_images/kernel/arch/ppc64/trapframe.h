/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers of an interrupted context, as vectors.S saves them (offsets: asm.h). */
#ifndef VMEMU_PPC64_TRAPFRAME_H
#define VMEMU_PPC64_TRAPFRAME_H

#include "types.h"

struct trapframe {
    u64 gpr[32];
    u64 nip, msr;                       /* SRR0, SRR1 */
    u64 ctr, lr, xer, cr;
    u64 trap;                           /* vector offset */
    u64 dar, dsisr;
    u64 pad;
};
_Static_assert(sizeof(struct trapframe) == 336, "asm.h has the offsets");

static inline u64 tf_nr(const struct trapframe *tf) { return tf->gpr[0]; }
static inline u64 tf_arg(const struct trapframe *tf, int i) { return tf->gpr[3 + i]; }
static inline void tf_set_ret(struct trapframe *tf, u64 v) { tf->gpr[3] = v; }
static inline u64 tf_pc(const struct trapframe *tf) { return tf->nip; }
static inline void tf_set_pc(struct trapframe *tf, u64 v) { tf->nip = tf->gpr[12] = v; }    /* ELFv2 2.3.2.1: global entry */
static inline u64 tf_sp(const struct trapframe *tf) { return tf->gpr[1]; }
static inline void tf_set_sp(struct trapframe *tf, u64 v) { tf->gpr[1] = v; }
static inline void tf_set_arg(struct trapframe *tf, int i, u64 v) { tf->gpr[3 + i] = v; }
static inline int tf_from_user(const struct trapframe *tf) { return (tf->msr & 0x4000) != 0; }

#endif
