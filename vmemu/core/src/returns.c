/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A traced machine also says when an exception handler returns (IRET, ERET, rfid). The engine runs these instructions itself, so
 * they get an address hook, on pages translated while a ring is there. Each ends its block whether hooked or not: blocks, counts and
 * cycles are those of an untraced run.
 */
#include "core.h"

#define HOOK_RETURN 15                                  /* for hook_code_at() */

static void on_return(uc_engine *uc, u64 addr, u32 size, struct vcpu *v)
{
    u8 copy[4];
    const u8 *code;

    (void)uc;
    if (size && size <= sizeof copy && mmu_code(v, addr, size, copy, &code) && v->m->arch->is_return(code, size))
        event(v->m, v, EV_RETURN, 0, 0, 0);
}

static void sense_returns(struct vcpu *v, u64 va, const u8 *page)
{
    const struct arch *a = v->m->arch;
    u32 step = a->uc_arch == UC_ARCH_X86 ? 1 : 4;

    for (u32 at = 0; at < PAGE_SIZE; at += step)
        if (unlikely(a->is_return(page + at, PAGE_SIZE - at)))
            hook_code_at(v, va + at, HOOK_RETURN, (void *)on_return);
}

void sense(struct vcpu *v, u64 va, const u8 *page)
{
    v->m->arch->sense(v, va, page);
    if (unlikely(v->m->ring.ev != NULL))
        sense_returns(v, va, page);
}
