/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls to the hypervisor: the SMC calling convention 1.1 (DEN 0028) through HVC #0. */
#ifndef VMEMU_SMCCC_H
#define VMEMU_SMCCC_H

#include "types.h"

#define SMCCC_VERSION 0x80000000ull
#define SMCCC_1_1 0x10001
#define SMCCC_NOT_SUPPORTED (-1)
#define SMCCC_NOT_REQUIRED (-2)

/* Vendor services of KVM: their UID (28b46fb6-2ec5-11e9-a9ca-4b564d003a74 as four words) and a bitmap of those present. */
#define VENDOR_UID 0x8600ff01ull
#define VENDOR_UID_0 0xb66fb428
#define VENDOR_UID_1 0xe911c52e
#define VENDOR_UID_2 0x564bcaa9
#define VENDOR_UID_3 0x743a004d
#define VENDOR_FEATURES 0x86000000ull

struct smccc {
    u64 x0, x1, x2, x3;
};

/* x4 to x17 come back as they were (DEN 0028, 2.6). */
static inline struct smccc smccc_call(u64 function, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;
    register u64 x4 __asm__("x4") = d;
    register u64 x5 __asm__("x5") = e;

    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : "r"(x4), "r"(x5) : "memory");
    return (struct smccc){x0, x1, x2, x3};
}

#endif
