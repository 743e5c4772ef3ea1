/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "hooks.h"
#include "apf.h"

__attribute__((weak)) s64 arch_hook(struct task *t, u64 op, u64 a, u64 b)
{
    (void)t, (void)op, (void)a, (void)b;
    return -ENOSYS;
}

/* As if told of the token ns before: interrupts are off from then on. */
static s64 wait_late(u64 token, u64 ns)
{
    for (u64 end = time_ns() + ns; ns && time_ns() < end;)
        tlb_serve();                    /* no other CPU shall wait for this one */
    return token_wait(token);
}

static s64 wait_atomic(u64 token)
{
    mycpu()->atomic++;
    bool slept = token_wait(token);
    mycpu()->atomic--;
    return slept;
}

static s64 tokens(u64 op, u64 token, u64 ns)
{
    s64 result = 0;
    u64 irq = irq_save();
    switch (op) {
    case HOOK_TOKEN_WAIT: result = wait_late(token, ns); break;
    case HOOK_TOKEN_HALT: result = wait_atomic(token); break;
    case HOOK_TOKEN_WAKE: token_wake(token); break;
    case HOOK_TOKEN_WAKE_SHARED: token_wake_shared(token); break;
    case HOOK_TOKEN_WAKE_ALL: token_wake_all(); break;
    }
    irq_restore(irq);
    return result;
}

static s64 apf_info(struct task *t, u64 va)
{
    const struct apf_counters *c = &apf_counters;
    struct apf_info info = {c->sleeping, c->markers, c->waits, c->wakes, c->early, c->halts, c->broadcasts, c->spins, c->asleep_ns,
                            t->apf_waits, t->apf_ns, 0, ""};
    u64 irq = irq_save();
    info.active = mycpu()->apf;
    irq_restore(irq);
    memcpy(info.name, apf_name, strlen(apf_name) + 1);
    return copy_to_user(t->mm, va, &info, sizeof info);
}

/* Like other system calls; or like code that runs with interrupts on but may not be left for another task. */
static s64 read_byte(struct task *t, u64 va, bool may_sleep)
{
    u8 byte;
    u64 irq = irq_save();
    struct cpu *c = mycpu();
    c->atomic += !may_sleep;
    irq_restore(irq);
    int error = copy_from_user(t->mm, &byte, va, 1);
    if (may_sleep)
        return error ? error : byte;    /* maybe on another CPU by now */
    irq = irq_save();
    c->atomic--;
    irq_restore(irq);
    return error ? error : byte;
}

s64 hook(struct task *t, u64 op, u64 a, u64 b)
{
    switch (op) {
    case HOOK_TOKEN_WAIT:
    case HOOK_TOKEN_HALT:
    case HOOK_TOKEN_WAKE:
    case HOOK_TOKEN_WAKE_SHARED:
    case HOOK_TOKEN_WAKE_ALL: return tokens(op, a, b);
    case HOOK_MARKERS: token_limit_markers(a); return 0;
    case HOOK_APF_INFO: return apf_info(t, a);
    case HOOK_ATOMIC_READ: return read_byte(t, a, b);
    case HOOK_CPU_ONLINE: return cpu_set_online(a, b);
    default: return arch_hook(t, op, a, b);
    }
}
