/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Self-test of SDEI and the async PF service from where they are used: a kernel makes the calls, legal and illegal, in every state,
 * and looks at what it gets. The program `sdei-edge` runs it, a test at a time, with interrupts off and without async page faults.
 */
#include "sdei_edge.h"
#include "apf.h"
#include "apf_abi.h"
#include "arm64.h"
#include "hooks.h"

int edge_taken;
struct sdei_end edge_how;

static edge_body *body;
static const char *test;
static int failures;
static u8 stacks[NCPU][PAGE_SIZE] __attribute__((aligned(4096)));

void edge_expect(const char *what, s64 got, s64 want)
{
    if (got == want)
        return;
    kprintf("sdei-edge: FAIL %s: %s is %lld (%llx), not %lld\n", test, what, got, (u64)got, want);
    failures++;
}

u64 edge_self(void) { return read_sysreg(mpidr_el1) & 0xff00ffffffull; }

static struct sdei_end handler(const struct sdei_from *from, void *data)
{
    (void)data;
    __atomic_fetch_add(&edge_taken, 1, __ATOMIC_RELAXED);
    if (body)
        body(from);
    return edge_how;
}

s64 edge_register(void)
{
    struct sdei_slot *slot = (struct sdei_slot *)(stacks[arch_cpu()] + PAGE_SIZE) - 1;

    *slot = (struct sdei_slot){handler, NULL, EVENT, 0};
    return CALL(EVENT_REGISTER, EVENT, (u64)(uptr)edge_entry, (u64)(uptr)slot);
}

void edge_begin(edge_body *what)
{
    body = what;
    edge_taken = 0;
    edge_how = sdei_return(SDEI_HANDLED);
    edge_expect("EVENT_REGISTER", edge_register(), SDEI_SUCCESS);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
}

void edge_end(void)
{
    CALL(EVENT_UNREGISTER, EVENT);
    EXPECT(0, EVENT_STATUS, EVENT);
}

static s64 run(const struct edge_test *t)
{
    apf_cpu_offline();
    test = t->name;
    failures = 0;
    CALL(PE_UNMASK);                    /* without SDEI no call does anything */
    CALL(EVENT_UNREGISTER, EVENT);
    t->run();
    CALL(EVENT_UNREGISTER, EVENT);
    apf_cpu_online();
    if (!failures)
        kprintf("sdei-edge: PASS %s\n", test);
    return failures;
}

/* The n-th test of those that make sense on this machine. */
static s64 run_test(u64 n)
{
    const struct {
        const struct edge_test *tests;
        u64 count;
    } tables[] = {
        {edge_call_tests, sdei_present() ? (u64)edge_call_count : 0},
        {edge_handler_tests, sdei_present() ? (u64)edge_handler_count : 0},
        {edge_service_tests, service_present() ? (u64)edge_service_count : 0},
    };
    bool any = false;

    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        if (n < tables[i].count)
            return run(&tables[i].tests[n]);
        n -= tables[i].count;
        any = any || tables[i].count;
    }
    return any ? -EINVAL : -ENOSYS;
}

/* Interrupts off: it is about this CPU. */
static s64 take(void)
{
    if (!sdei_present())
        return -ENOSYS;
    test = "signals to other CPUs";
    failures = 0;
    edge_begin(NULL);
    CALL(PE_UNMASK);
    return failures;
}

s64 arch_hook(struct task *t, u64 op, u64 a, u64 b)
{
    u64 irq = irq_save();
    s64 result;

    (void)t, (void)b;
    switch (op) {
    case HOOK_SDEI_TEST: result = run_test(a); break;
    case HOOK_SDEI_TAKE: result = take(); break;
    case HOOK_SDEI_SIGNAL: result = a < NCPU && cpus[a].online ? CALL(EVENT_SIGNAL, EVENT, cpus[a].hwid) : -EINVAL; break;
    case HOOK_SDEI_TAKEN: result = __atomic_load_n(&edge_taken, __ATOMIC_RELAXED); break;
    case HOOK_SDEI_RELEASE: result = CALL(EVENT_UNREGISTER, EVENT); break;
    default: result = -ENOSYS;
    }
    irq_restore(irq);
    return result;
}
