/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's half of KVM's asynchronous page faults. "kvm" is the protocol since Linux 5.8: away is a page fault with a reason in
 * the shared area, here an interrupt with a token there. "kvm-2010" is the first one: both are page faults, also in the kernel.
 */
#include "apf.h"
#include "kvm_apf.h"
#include "task.h"

/*
 * Everything that is touched between a page fault and the moment the reason is cleared is pinned: this area and the kernel's image
 * with the descriptor tables, TSS and stacks. One area more, for the bug that uses the next one's first word.
 */
static struct apf_area areas[NCPU + 1];

static bool legacy;                     /* kvm-2010 */
static u64 en_flags;
static bool held[NCPU];                 /* the interrupt's handler leaves everything as it is: test hook */

enum { NOT_YOURS = 0xa5 };              /* in an area that is not registered, but was */

static struct apf_area *area(void) { return &areas[arch_cpu()]; }

/* Whether this CPU takes notifications: 64 bytes from where the area starts in the kernels that had this wrong. */
static bool enabled(void) { return bug(BUG_APF_ENABLED_AT_64) ? area()[1].reason : mycpu()->apf; }

static u32 features(void)
{
    u32 r[4];
    cpuid(1, 0, r);
    if (!(r[2] & 1u << 31))             /* no hypervisor: the leaves mean nothing */
        return 0;
    cpuid(CPUID_KVM, 0, r);
    if (r[1] != 0x4b4d564b || r[2] != 0x564b4d56 || r[3] != 0x4d)       /* KVMKVMKVM */
        return 0;
    cpuid(CPUID_KVM + 1, 0, r);
    return r[0];
}

const char *arch_apf_init(const char *wanted)
{
    u32 have = features();
    if (!(have & KVM_ASYNC_PF))
        return NULL;
    if (!wanted)
        wanted = have & KVM_ASYNC_PF_INT ? "kvm" : "kvm-2010";
    u64 send_always = bug(BUG_APF_DOC_BITS) ? 4 : EN_SEND_ALWAYS;       /* msr.txt of Linux 3.11: "bit 2" */
    if (strcmp(wanted, "kvm-2010") == 0) {
        legacy = true;                  /* a newer hypervisor takes the registration, and delivers nothing */
        en_flags = EN_ENABLED | send_always;
        return "kvm-2010";
    }
    if (strcmp(wanted, "kvm") != 0 || !(have & KVM_ASYNC_PF_INT))
        return NULL;
    en_flags = EN_ENABLED | EN_INT | (have & KVM_ASYNC_PF_VMEXIT ? EN_VMEXIT : 0);
    return "kvm";
}

void arch_apf_online(void)
{
    struct apf_area *a = area();
    if (a->reserved[0] == NOT_YOURS && (a->reason || a->token))
        panic("arch_apf_online: the hypervisor has used an area that was taken back: reason %x token %x", a->reason, a->token);
    a->reserved[0] = 0;
    if (bug(BUG_APF_ENABLED_AT_64))
        a[1].reason = 1;
    if (!legacy)
        wrmsr(MSR_APF_INT, VEC_APF);    /* first: the wake-all that EN causes needs it */
    wrmsr(MSR_APF_EN, kva_to_pa(a) | en_flags);
}

void arch_apf_offline(void)
{
    if (!bug(BUG_APF_NO_TEARDOWN))
        wrmsr(MSR_APF_EN, 0);
    *area() = (struct apf_area){.reserved = {NOT_YOURS}};       /* and has to stay like this */
}

/* ---- notifications ---- */

static void here(u32 token)
{
    if (token == TOKEN_ALL && !bug(BUG_APF_NO_BROADCAST))
        token_wake_all();
    else
        token_wake(token);
}

static void away(struct trapframe *tf, u32 token)
{
    if (!(tf->rflags & RFLAGS_IF))
        panic("apf: told of %x with interrupts off, at %llx", token, tf->rip);
    if (!legacy && !tf_from_user(tf))
        panic("apf: told of %x in the kernel, at %llx", token, tf->rip);
    token_wait(token);                  /* the wake that came first is as good: try again */
}

bool apf_page_fault(struct trapframe *tf, u64 cr2)
{
    if (!enabled())
        return false;
    if (bug(BUG_APF_LATE_REASON) && tf_from_user(tf)) {
        u8 insn;
        irq_enable();
        copy_from_user(current()->mm, &insn, tf->rip, sizeof insn);
        irq_disable();
    }
    u32 reason = area()->reason;
    area()->reason = 0;                 /* the hypervisor writes the next one without a look */
    switch (reason) {
    case 0: return false;
    case REASON_AWAY:
        away(tf, (u32)cr2);
        return true;
    case REASON_HERE:
        if (legacy) {
            here((u32)cr2);
            return true;
        }
        __attribute__((fallthrough));
    default: panic("apf: page fault for reason %x, at %llx", reason, tf->rip);
    }
}

static void take_ready(struct apf_area *a)
{
    u32 token = bug(BUG_APF_DOC_BITS) ? a->token >> 8 : a->token;       /* "bytes 5-7", as a draft of msr.rst said */
    if (token)                          /* none: another area was registered while the interrupt was on its way */
        here(token);
    a->token = 0;
    if (!bug(BUG_APF_NO_ACK))
        wrmsr(MSR_APF_ACK, 1);
}

void apf_interrupt(struct trapframe *tf)
{
    if (!bug(BUG_APF_NO_EOI))
        lapic_eoi();
    if (enabled() && !held[arch_cpu()])
        take_ready(area());
    trap_irq(tf);
}

/* ---- test hooks ---- */

void apf_hold(bool on) { held[arch_cpu()] = on; }

s64 apf_take_held(void)
{
    if (!enabled())
        return -EINVAL;
    take_ready(area());
    return 0;
}

u64 apf_words(void) { return area()->reason | (u64)area()->token << 32; }

u64 apf_area_gpa(int cpu) { return kva_to_pa(&areas[cpu]); }
