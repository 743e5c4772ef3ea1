/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SDEI self-test: calls outside of handlers. DEN 0054's chapter 5, with the numbers of Linux's include/uapi/linux/arm_sdei.h. */
#include "sdei_edge.h"

#define BAD_EVENT 0x12345

static void version(void)
{
    s64 v = CALL(VERSION);

    edge_expect("major version", v >> 48, 1);
    edge_expect("a function that is none", (s64)smccc_call(SDEI_FUNCTION(SDEI_SHARED_RESET + 1), 0, 0, 0, 0, 0).x0, SDEI_NOT_SUPPORTED);
    edge_expect("the 32-bit form of VERSION", (s64)smccc_call(0x84000020, 0, 0, 0, 0, 0).x0, SDEI_NOT_SUPPORTED);
    EXPECT(0, FEATURES, 0);
    EXPECT(0, FEATURES, 1);
    EXPECT(SDEI_INVALID_PARAMETERS, FEATURES, 2);
    EXPECT(SDEI_NOT_SUPPORTED, INTERRUPT_BIND, 40);
    EXPECT(SDEI_NOT_SUPPORTED, INTERRUPT_RELEASE, EVENT);
}

static void unregistered(void)
{
    EXPECT(0, EVENT_STATUS, EVENT);
    EXPECT(SDEI_DENIED, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_DENIED, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_DENIED, EVENT_UNREGISTER, EVENT);
    EXPECT(0, EVENT_STATUS, EVENT);
}

static void no_handler(void)
{
    EXPECT(SDEI_DENIED, EVENT_CONTEXT, 0);
    EXPECT(SDEI_DENIED, EVENT_COMPLETE, SDEI_HANDLED);
    EXPECT(SDEI_DENIED, EVENT_COMPLETE_AND_RESUME, (u64)(uptr)edge_landing);
    edge_begin(NULL);                   /* registered, enabled, but not running */
    EXPECT(SDEI_DENIED, EVENT_CONTEXT, 0);
    EXPECT(SDEI_DENIED, EVENT_COMPLETE, SDEI_HANDLED);
    EXPECT(SDEI_DENIED, EVENT_COMPLETE_AND_RESUME, (u64)(uptr)edge_landing);
    edge_end();
}

static void bad_events(void)
{
    static const u64 bad[] = {BAD_EVENT, 0x80000000, 0xffffffff, 1ull << 32, ~0ull};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_REGISTER, bad[i], (u64)(uptr)edge_entry);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_ENABLE, bad[i]);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_DISABLE, bad[i]);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_STATUS, bad[i]);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_UNREGISTER, bad[i]);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_GET_INFO, bad[i], 0);
        EXPECT(SDEI_INVALID_PARAMETERS, EVENT_SIGNAL, bad[i], edge_self());
    }
}

static void bad_arguments(void)
{
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_REGISTER, EVENT, 0);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_REGISTER, EVENT, (u64)(uptr)edge_entry, 0, 1ull << 2);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_REGISTER, EVENT, (u64)(uptr)edge_entry, 0, 1ull << 63);
    EXPECT(0, EVENT_STATUS, EVENT);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_SIGNAL, EVENT, 0xff00ffffffull);     /* no such CPU */
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_GET_INFO, EVENT, 5);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_ROUTING_SET, EVENT, 0, 0);           /* private */
}

static void information(void)
{
    EXPECT(0, EVENT_GET_INFO, EVENT, 0);                                        /* private */
    EXPECT(1, EVENT_GET_INFO, EVENT, 1);                                        /* software can signal it */
    EXPECT(0, EVENT_GET_INFO, EVENT, 2);                                        /* normal */
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_GET_INFO, EVENT, 3);
    EXPECT(SDEI_INVALID_PARAMETERS, EVENT_GET_INFO, EVENT, 4);
}

static void life(void)
{
    edge_expect("EVENT_REGISTER", edge_register(), SDEI_SUCCESS);
    EXPECT(SDEI_REGISTERED, EVENT_STATUS, EVENT);
    edge_expect("EVENT_REGISTER again", edge_register(), SDEI_DENIED);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_ENABLE, EVENT);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    edge_expect("EVENT_REGISTER when enabled", edge_register(), SDEI_DENIED);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_DISABLE, EVENT);
    EXPECT(SDEI_REGISTERED, EVENT_STATUS, EVENT);
    EXPECT(SDEI_SUCCESS, EVENT_UNREGISTER, EVENT);
    EXPECT(0, EVENT_STATUS, EVENT);
    edge_begin(NULL);
    EXPECT(SDEI_SUCCESS, EVENT_UNREGISTER, EVENT);                              /* from enabled */
    EXPECT(0, EVENT_STATUS, EVENT);
}

static void masking(void)
{
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    EXPECT(1, PE_MASK);                 /* by this call */
    EXPECT(0, PE_MASK);                 /* it was already */
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
    EXPECT(1, PE_MASK);
    EXPECT(SDEI_SUCCESS, PE_UNMASK);
}

static void resets(void)
{
    edge_begin(NULL);
    EXPECT(SDEI_SUCCESS, SHARED_RESET);
    EXPECT(SDEI_REGISTERED | SDEI_ENABLED, EVENT_STATUS, EVENT);
    EXPECT(SDEI_SUCCESS, PRIVATE_RESET);
    EXPECT(0, EVENT_STATUS, EVENT);
    EXPECT(SDEI_SUCCESS, PRIVATE_RESET);
}

const struct edge_test edge_call_tests[] = {
    {"version and features", version},
    {"an event that is not registered", unregistered},
    {"handler calls without a handler", no_handler},
    {"events that are none", bad_events},
    {"arguments that are none", bad_arguments},
    {"information about an event", information},
    {"register, enable, disable, unregister", life},
    {"mask and unmask", masking},
    {"private and shared reset", resets},
};
const int edge_call_count = ARRAY_LEN(edge_call_tests);
