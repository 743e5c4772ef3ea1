/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's asynchronous page faults: registers and the shared area (Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst). */
#ifndef VMEMU_X86_64_KVM_APF_H
#define VMEMU_X86_64_KVM_APF_H

#include "trapframe.h"

#define CPUID_KVM 0x40000000u           /* signature; leaf + 1: features in EAX */
#define KVM_ASYNC_PF (1u << 4)
#define KVM_ASYNC_PF_VMEXIT (1u << 10)
#define KVM_ASYNC_PF_INT (1u << 14)

#define MSR_APF_EN 0x4b564d02u
#define MSR_APF_INT 0x4b564d06u
#define MSR_APF_ACK 0x4b564d07u
#define EN_ENABLED 1ull
#define EN_SEND_ALWAYS 2ull             /* not only from user mode */
#define EN_VMEXIT 4ull
#define EN_INT 8ull                     /* "here" comes as an interrupt */

#define REASON_AWAY 1u
#define REASON_HERE 2u                  /* until Linux 5.8 */
#define TOKEN_ALL 0xffffffffu

/* One per CPU; 64 bytes and nothing behind them: whether it is in use is the kernel's business (struct cpu.apf). */
struct apf_area {
    volatile u32 reason;
    volatile u32 token;                 /* of what is here; 0: read */
    u8 reserved[56];
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct apf_area) == 64, "msr.rst");

/* A page fault, before anything else is done about it. True: it was a notification. */
bool apf_page_fault(struct trapframe *tf, u64 cr2);
void apf_interrupt(struct trapframe *tf);               /* VEC_APF */

/* Test hooks (uapi.h): leave the slot as it is when the interrupt comes; do then what the interrupt would have done. */
void apf_hold(bool on);
s64 apf_take_held(void);
u64 apf_area_gpa(int cpu);
u64 apf_words(void);                                    /* this CPU's reason, and its token in the upper half */

#endif
