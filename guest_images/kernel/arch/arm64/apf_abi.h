/* SPDX-License-Identifier: GPL-2.0-or-later */
/* KVM's "async PF" service for arm64 as proposed in 2021 (v4 of the series): calls, control word, shared buffer. */
#ifndef VMEMU_APF_ABI_H
#define VMEMU_APF_ABI_H

#include "smccc.h"

#define SERVICE 0x86000002ull           /* vendor function 2 */
#define SERVICE_FEATURE (1u << 2)
enum { GET_VERSION, GET_SLOTS, GET_SDEI, GET_IRQ, ENABLE, IRQ_ACK, SERVICE_FUNCTIONS };
#define CONTROL_ENABLED 1ull            /* the buffer's address is in bits 63:6 */
#define CONTROL_SEND_ALWAYS 2ull        /* "not present" in the kernel, too */

enum { REASON_NONE, REASON_NOT_PRESENT, REASON_READY };
#define TOKEN_ALL 0xffffffffu

/* What the hypervisor writes to: 8 bytes; the guest keeps the rest. */
struct buffer {
    volatile u32 reason, token;
    u8 reserved[56];
    u32 enabled;
} __attribute__((aligned(64)));

/* x1 = function, x2 and x3 = halves of the argument; x0 = result, x1 = what a GET asks for. */
static inline struct smccc service(u64 function, u64 argument)
{
    return smccc_call(SERVICE, function, argument & 0xffffffff, argument >> 32, 0, 0);
}

bool service_present(void);             /* apf.c */

#endif
