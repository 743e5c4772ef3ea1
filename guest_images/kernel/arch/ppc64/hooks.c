/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What esn-edge does to the machine: hypercalls, and a look at the kernel's areas. */
#include "hooks.h"
#include "esn.h"
#include "vpa.h"

static s64 hypercall(struct task *t, u64 va)
{
    struct hypercall call;
    if (copy_from_user(t->mm, &call, va, sizeof call) != 0)
        return -EFAULT;
    u64 irq = irq_save();               /* it is about this CPU */
    call.status = hcall(call.token, call.in[0], call.in[1], call.in[2], call.in[3], call.out);
    irq_restore(irq);
    return copy_to_user(t->mm, va, &call, sizeof call);
}

static s64 gpa_of(struct task *t, u64 va)
{
    u8 byte;
    if (copy_from_user(t->mm, &byte, va, 1) != 0)      /* there is a frame then */
        return -EFAULT;
    return (s64)(arch_lookup(t->mm->root, PAGE_DOWN(va), NULL) | (va & PAGE_MASK));
}

static s64 peek(u64 gpa) { return gpa < mem_size ? *(volatile u8 *)pa_to_kva(gpa) : -EINVAL; }

static s64 poke(u64 gpa, u64 byte)
{
    if (gpa >= mem_size)
        return -EINVAL;
    *(volatile u8 *)pa_to_kva(gpa) = (u8)byte;
    return 0;
}

static s64 route(u64 source)
{
    u64 irq = irq_save();
    bool done = xics_route((u32)source, paca()->hwid);
    irq_restore(irq);
    return done ? 0 : -EINVAL;
}

s64 arch_hook(struct task *t, u64 op, u64 a, u64 b)
{
    switch (op) {
    case HOOK_HCALL: return hypercall(t, a);
    case HOOK_GPA: return gpa_of(t, a);
    case HOOK_PEEK: return peek(a);
    case HOOK_POKE: return poke(a, b);
    case HOOK_VPA: return a < NCPU ? (s64)kva_to_pa(&vpas[a]) : -EINVAL;
    case HOOK_SNS: return (s64)esn_area();
    case HOOK_ROUTE: return route(a);
    case HOOK_STRAY: return (s64)xics_strays;
    default: return -ENOSYS;
    }
}
