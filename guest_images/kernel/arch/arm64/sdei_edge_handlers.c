/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SDEI self-test: delivery, calls inside of a handler, and the ways out of it. */
#include "sdei_edge.h"

extern u64 edge_resumed[6];             /* sdei_edge_entry.S */
#define PSTATE_NV 0x90000000ull
#define PSTATE_DAIF 0x3c0ull
#define EL1H 5ull

static void delivered(int times) { edge_expect("handler entered", edge_taken, times); }

static void at_once(void)
{
    edge_begin(NULL);
    SIGNAL();
    delivered(1);
    SIGNAL();
    delivered(2);
    edge_how = sdei_return(SDEI_FAILED);
    SIGNAL();
    delivered(3);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    edge_end();
}

/* A latched signal is one, however often it was sent. */
static void pending_masked(void)
{
    edge_begin(NULL);
    EXPECT(1, PE_MASK);
    SIGNAL();
    SIGNAL();
    delivered(0);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    delivered(1);
    edge_end();
}

static void pending_disabled(void)
{
    edge_begin(NULL);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    SIGNAL();
    delivered(0);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
    delivered(1);
    edge_end();
}

/* Pending at unregistration: gone, as TF-A does it. */
static void pending_unregistered(void)
{
    edge_begin(NULL);
    EXPECT(1, PE_MASK);
    SIGNAL();
    edge_end();
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    edge_begin(NULL);
    delivered(0);
    edge_end();
}

static void states_body(const struct sdei_from *from)
{
    (void)from;
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED | SDEI_RUNNING, EVENT_STATUS, EVENT);
    edge_expect("EVENT_REGISTER", edge_register(), SDEI_DENIED);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_REGISTERED | SDEI_RUNNING, EVENT_STATUS, EVENT);
    edge_expect("EVENT_REGISTER when disabled", edge_register(), SDEI_DENIED);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED | SDEI_RUNNING, EVENT_STATUS, EVENT);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_ROUTING_SET, EVENT, 0, 0);
}

static void states(void)
{
    edge_begin(states_body);
    SIGNAL();
    delivered(1);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    edge_end();
}

static void leave_disabled(const struct sdei_from *from)
{
    (void)from;
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
}

static void disabled_inside(void)
{
    edge_begin(leave_disabled);
    SIGNAL();
    EXPECT(SDEI_REGISTERED, EVENT_STATUS, EVENT);
    SIGNAL();
    delivered(1);
    edge_end();
}

static void unregister_body(const struct sdei_from *from)
{
    (void)from;
    EXPECT(SDEI_PENDING, EVENT_UNREGISTER, EVENT);
    EXPECT(SDEI_RUNNING, EVENT_STATUS, EVENT);
    EXPECT(SDEI_PENDING, EVENT_UNREGISTER, EVENT);
    EXPECT(SDEI_DENIED, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_DENIED, EVENT_DISABLE, EVENT);
    edge_expect("EVENT_REGISTER", edge_register(), SDEI_DENIED);
    edge_expect("EVENT_CONTEXT(4)", CALL(EVENT_CONTEXT, 4), 4 * 0x1111);
    EXPECT(SDEI_RUNNING, EVENT_STATUS, EVENT);
}

static void fill(u64 x[18])
{
    for (u64 i = 0; i < 18; i++)
        x[i] = i * 0x1111;
    x[0] = SDEI_FUNCTION(SDEI_EVENT_SIGNAL);
    x[1] = EVENT;
    x[2] = edge_self();
}

static void unregistered_inside(void)
{
    u64 x[18];

    fill(x);
    edge_begin(unregister_body);
    edge_probe(x);
    delivered(1);
    EXPECT(0, EVENT_STATUS, EVENT);
}

static void reset_body(const struct sdei_from *from)
{
    (void)from;
    EXPECT(SDEI_DENIED, PRIVATE_RESET);
    EXPECT(SDEI_RUNNING, EVENT_STATUS, EVENT);
}

static void reset_inside(void)
{
    edge_begin(reset_body);
    SIGNAL();
    delivered(1);
    EXPECT(0, EVENT_STATUS, EVENT);
}

static u64 context[18];
static struct sdei_from from_probe;

static void context_body(const struct sdei_from *from)
{
    from_probe = *from;
    for (u64 i = 0; i < 18; i++)
        context[i] = (u64)CALL(EVENT_CONTEXT, i);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_CONTEXT, 18);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_CONTEXT, 1ull << 32);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_CONTEXT, ~0ull);
}

/* Everything that the interrupted code had: in the handler, through CONTEXT, and again afterwards. x0 to x3 are the call's results. */
static void registers(void)
{
    u64 x[18], sent[18], flags;

    fill(x);
    memcpy(sent, x, sizeof sent);
    edge_begin(context_body);
    flags = edge_probe(x);
    delivered(1);
    edge_expect("x0 after the call", (s64)x[0], SDEI_SUCCESS);
    edge_expect("x0 by EVENT_CONTEXT", (s64)context[0], SDEI_SUCCESS);
    edge_expect("condition flags", (s64)flags, (s64)PSTATE_NV);
    edge_expect("x2 at entry", (s64)(edge_seen[2] - (u64)(uptr)edge_probe_back), 0);
    edge_expect("x3 at entry", (s64)edge_seen[3], (s64)(PSTATE_NV | PSTATE_DAIF | EL1H));
    for (int i = 4; i < 18; i++) {
        edge_expect("a register at entry", (s64)edge_seen[i], (s64)sent[i]);
        edge_expect("a register by EVENT_CONTEXT", (s64)context[i], (s64)sent[i]);
        edge_expect("a register after the handler", (s64)x[i], (s64)sent[i]);
    }
    edge_end();
}

/* COMPLETE_AND_RESUME is an exception return's other half: ELR and SPSR say where the interrupted code goes on. */
static void resume(void)
{
    u64 x[18], sent[18], flags;

    fill(x);
    memcpy(sent, x, sizeof sent);
    memset(edge_resumed, 0, sizeof edge_resumed);
    edge_begin(NULL);
    edge_how = (struct sdei_end){SDEI_FUNCTION(SDEI_EVENT_COMPLETE_AND_RESUME), (u64)(uptr)edge_landing};
    flags = edge_probe(x);
    delivered(1);
    edge_expect("ELR_EL1", (s64)(edge_resumed[0] - (u64)(uptr)edge_probe_back), 0);
    edge_expect("SPSR_EL1", (s64)edge_resumed[1], (s64)(PSTATE_NV | PSTATE_DAIF | EL1H));
    edge_expect("DAIF", (s64)edge_resumed[2], (s64)PSTATE_DAIF);
    edge_expect("SPSel", (s64)edge_resumed[3], 1);
    edge_expect("condition flags", (s64)flags, (s64)PSTATE_NV);
    edge_expect("x0 after the call", (s64)x[0], SDEI_SUCCESS);
    for (int i = 4; i < 18; i++)
        edge_expect("a register afterwards", (s64)x[i], (s64)sent[i]);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    edge_end();
}

static int deepest, depth;

static void again_body(const struct sdei_from *from)
{
    (void)from;
    if (++depth > deepest)
        deepest = depth;
    if (edge_taken == 1)
        SIGNAL();
    depth--;
}

static void no_nesting(void)
{
    deepest = depth = 0;
    edge_begin(again_body);
    SIGNAL();
    delivered(2);
    edge_expect("handlers at a time", deepest, 1);
    edge_end();
}

static void mask_body(const struct sdei_from *from)
{
    (void)from;
    EXPECT(1, PE_MASK);
    EXPECT(0, PE_MASK);
    SIGNAL();
}

static void masked_inside(void)
{
    edge_begin(mask_body);
    SIGNAL();
    delivered(1);
    edge_how = sdei_return(SDEI_HANDLED);
    EXPECT(0, PE_MASK);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    delivered(1);
    edge_end();
}

const struct edge_test edge_handler_tests[] = {
    {"a signal is delivered at once", at_once},
    {"pending while masked", pending_masked},
    {"pending while disabled", pending_disabled},
    {"pending at unregistration", pending_unregistered},
    {"states inside of a handler", states},
    {"disable inside of a handler", disabled_inside},
    {"unregister inside of a handler", unregistered_inside},
    {"private reset inside of a handler", reset_inside},
    {"registers in, by context and out", registers},
    {"complete and resume", resume},
    {"a normal event does not interrupt another", no_nesting},
    {"mask inside of a handler", masked_inside},
};
const int edge_handler_count = ARRAY_LEN(edge_handler_tests);
