/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What entry.S leaves on the kernel stack: the CPU's own frame (SDM 3, 6.14.2) at the top, our registers below. */
#ifndef VMEMU_X86_64_TRAPFRAME_H
#define VMEMU_X86_64_TRAPFRAME_H

#include "param.h"
#include "types.h"

struct trapframe {
    u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
    u64 vector, error;
    u64 rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trapframe) == 176, "entry.S and the stack alignment rely on it");

static inline u64 tf_nr(const struct trapframe *tf) { return tf->rax; }
static inline void tf_set_ret(struct trapframe *tf, u64 v) { tf->rax = v; }
static inline u64 tf_pc(const struct trapframe *tf) { return tf->rip; }
static inline void tf_set_pc(struct trapframe *tf, u64 v) { tf->rip = v; }
static inline u64 tf_sp(const struct trapframe *tf) { return tf->rsp; }
static inline void tf_set_sp(struct trapframe *tf, u64 v) { tf->rsp = v; }
static inline int tf_from_user(const struct trapframe *tf) { return (tf->cs & 3) == 3; }

static inline u64 tf_arg(const struct trapframe *tf, int i)
{
    const u64 arg[] = {tf->rdi, tf->rsi, tf->rdx, tf->r10, tf->r8};
    return arg[i];
}

static inline void tf_set_arg(struct trapframe *tf, int i, u64 v)
{
    u64 *const arg[] = {&tf->rdi, &tf->rsi, &tf->rdx, &tf->rcx};
    *arg[i] = v;
}

#endif
