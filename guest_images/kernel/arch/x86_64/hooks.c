/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What apf-edge does to the machine: MSRs that may refuse, the local APIC, and the page-ready slot. */
#include "hooks.h"
#include "kvm_apf.h"

static s64 read_msr(struct task *t, u64 msr, u64 va)
{
    u64 value;
    if (rdmsr_safe((u32)msr, &value) != 0)
        return -EINVAL;
    return copy_to_user(t->mm, va, &value, sizeof value);
}

/* Registered anew while the local APIC is disabled by software: what the hypervisor has put into the slot then. */
static s64 register_without_lapic(void)
{
    u64 en = rdmsr(MSR_APF_EN);
    lapic_disable();
    wrmsr(MSR_APF_EN, 0);
    wrmsr(MSR_APF_EN, en);
    for (u64 end = arch_time_ns() + 200000; arch_time_ns() < end;)
        arch_relax();
    s64 result = (s64)apf_words();
    lapic_setup_cpu();
    arch_timer_set(0);                  /* it may have been due meanwhile */
    return result;
}

s64 arch_hook(struct task *t, u64 op, u64 a, u64 b)
{
    s64 result = 0;
    if (op == HOOK_RDMSR)
        return read_msr(t, a, b);
    u64 irq = irq_save();               /* it is about this CPU */
    switch (op) {
    case HOOK_WRMSR: result = wrmsr_safe((u32)a, b) != 0 ? -EINVAL : 0; break;
    case HOOK_APF_NO_LAPIC: result = register_without_lapic(); break;
    case HOOK_APF_HOLD: apf_hold(a); break;
    case HOOK_APF_TAKE: result = apf_take_held(); break;
    case HOOK_APF_WORDS: result = (s64)apf_words(); break;
    case HOOK_APF_AREA: result = a < NCPU ? (s64)apf_area_gpa((int)a) : -EINVAL; break;
    default: result = -ENOSYS;
    }
    irq_restore(irq);
    return result;
}
