/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPACR_EL1.FPEN: Unicorn 2.1.4 never traps FP and SIMD (its fp_exception_el() returns 0), so a kernel that forgets to enable them
 * would run here and nowhere else. While they are off, FP instructions on pages that are fetched get a hook. A page met while they
 * were on has none: turning FP off again is not enforced on it.
 *
 * Everything else is trapped by exceptions or by the register table (sysreg_arm64.c), not by address.
 */
#include <string.h>

#include "arm64.h"

#define EC_FP (7u << ESR_EC_SHIFT)
#define FP_ISS 0x01e00000u                              /* CV, COND = always */
#define HOOK_FP 1

/* Encoding groups "loads and stores, V = 1" and "SIMD and FP": bits 27 and 26 (C4.1). */
static bool is_fp(u32 insn) { return (insn >> 26 & 3) == 3; }

static bool fp_traps(struct vcpu *v)
{
    u32 fpen = (u32)ENV(v, u64, E_CPACR_EL1) >> 20 & 3;

    return !(fpen & 1) || (fpen == 1 && arm64_el(v) == 0);
}

static void on_fp(uc_engine *uc, u64 addr, u32 size, struct vcpu *v)
{
    u8 copy[8];
    const u8 *code;
    u32 insn;

    (void)uc;
    if (size != 4 || !fp_traps(v) || !mmu_code(v, addr, 4, copy, &code))
        return;
    memcpy(&insn, code, 4);
    if (!is_fp(insn))                                   /* other code at this address than when the hook was made */
        return;
    v->pend = (struct pending){ .kind = PEND_EXCEPTION, .vector = VECTOR_SYNC, .aux = EC_FP | ESR_IL | FP_ISS };
    vcpu_trap_here(v);
}

void arm64_sense(struct vcpu *v, u64 va, const u8 *page)
{
    u32 insn;

    if (((u32)ENV(v, u64, E_CPACR_EL1) >> 20 & 3) == 3)
        return;
    for (u32 at = 0; at < PAGE_SIZE; at += 4) {
        memcpy(&insn, page + at, 4);
        if (is_fp(insn))
            hook_code_at(v, va + at, HOOK_FP, (void *)on_fp);
    }
}
