/* SPDX-License-Identifier: GPL-2.0-or-later */
/* x86-64 constants; plain numbers, also for .S files. */
#ifndef VMEMU_X86_64_PARAM_H
#define VMEMU_X86_64_PARAM_H

#define KBASE 0xffff800000000000
#define RAM_BASE 0
#define USER_TOP 0x0000400000000000
#define LINEAR_MAX 0xc0000000           /* device windows lie in the fourth gigabyte, which the linear map covers too */
#define NCPU 16
#define TLB_BROADCAST 0                 /* INVLPG and CR3 are this CPU's own */
#define ISA_NAME "x86_64"

/* Segment selectors. SYSRET wants user data directly below user code, SYSCALL kernel data directly above kernel code. */
#define SEL_KCODE 0x08
#define SEL_KDATA 0x10
#define SEL_UDATA 0x18
#define SEL_UCODE 0x20
#define SEL_TSS 0x28

/* Vectors: 0-31 exceptions (SDM 3, table 6-1), then ours. */
#define VEC_NMI 2
#define VEC_DF 8
#define VEC_GP 13
#define VEC_PF 14
#define VEC_MC 18
#define VEC_TIMER 0x30
#define VEC_IPI 0x31
#define VEC_APF 0xf3                    /* as in Linux (HYPERVISOR_CALLBACK_VECTOR) */
#define VEC_SPURIOUS 0xff
#define VEC_SYSCALL 0x100               /* trapframe.vector of a system call */

/* struct percpu, as entry.S sees it through GS */
#define PERCPU_KSTACK 8
#define PERCPU_USER_RSP 16

/*
 * Another CPU starts in real mode in this page, with the words that follow the code (start.S): 32 bits of its page table, where it
 * goes on, its stack and its struct local. Nothing else uses the page before there are tasks.
 */
#define TRAMPOLINE 0x7000
#define TRAMPOLINE_ROOT 0xfe0
#define TRAMPOLINE_ENTRY 0xfe8
#define TRAMPOLINE_STACK 0xff0
#define TRAMPOLINE_LOCAL 0xff8

#endif
