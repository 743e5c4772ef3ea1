/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Self-test of the async PF service's calls. This CPU takes no notifications meanwhile, and its PPI is disabled. */
#include "apf_abi.h"
#include "sdei_edge.h"

static struct buffer buffers[2];

#define SERVE(want, function, argument) \
    edge_expect(#function "(" #argument ")", (s64)service(function, argument).x0, want)

static u64 enable_at(const struct buffer *b) { return kva_to_pa(b) | CONTROL_ENABLED; }

static void numbers(void)
{
    struct smccc r = service(GET_VERSION, 0);

    edge_expect("version", (s64)r.x1, 0x10000);
    edge_expect("slots", (s64)service(GET_SLOTS, 0).x1, 64);
    SERVE(SMCCC_NOT_SUPPORTED, SERVICE_FUNCTIONS, 0);
    SERVE(SMCCC_NOT_SUPPORTED, 0xffffffff, 0);
    r = service(1ull << 32 | GET_VERSION, 0);               /* a 32-bit call: the upper half does not count */
    edge_expect("dirty VERSION", (s64)r.x0, 0);
    edge_expect("version of a dirty call", (s64)r.x1, 0x10000);
}

static void bad_addresses(void)
{
    SERVE(SMCCC_NOT_REQUIRED, ENABLE, 0);                    /* is off */
    SERVE(SMCCC_NOT_SUPPORTED, ENABLE, 1ull << 47 | CONTROL_ENABLED);
    SERVE(SMCCC_NOT_SUPPORTED, ENABLE, (mem_base + mem_size) | CONTROL_ENABLED);
    SERVE(SMCCC_NOT_SUPPORTED, ENABLE, UART_BASE | CONTROL_ENABLED);
    SERVE(SMCCC_NOT_SUPPORTED, ENABLE, ~0ull);
    SERVE(SMCCC_NOT_REQUIRED, ENABLE, 0);                    /* failures change nothing */
}

/* The first "ready" after each ENABLE wakes all; the buffer is the guest's once it is off. */
static void on_and_off(void)
{
    struct buffer *b = &buffers[0], *other = &buffers[1];

    for (u64 flags = 0; flags <= CONTROL_SEND_ALWAYS; flags += CONTROL_SEND_ALWAYS) {
        memset(buffers, 0, sizeof buffers);
        SERVE(0, ENABLE, enable_at(b) | flags);
        edge_expect("reason", b->reason, REASON_READY);
        edge_expect("token", b->token, TOKEN_ALL);
        SERVE(SMCCC_NOT_REQUIRED, ENABLE, enable_at(b) | flags);
        SERVE(SMCCC_NOT_REQUIRED, ENABLE, enable_at(other));
        edge_expect("reason elsewhere", other->reason, REASON_NONE);
        SERVE(0, ENABLE, 0);
        SERVE(SMCCC_NOT_REQUIRED, ENABLE, 0);
        edge_expect("reason after the end", b->reason, REASON_READY);
    }
}

static void acknowledging(void)
{
    struct buffer *b = &buffers[0];

    SERVE(0, IRQ_ACK, 0);                                    /* also without anything to acknowledge */
    memset(buffers, 0, sizeof buffers);
    SERVE(0, ENABLE, enable_at(b));
    SERVE(0, IRQ_ACK, 0);                                    /* before the buffer is cleared: nothing new comes */
    SERVE(0, IRQ_ACK, 0);
    edge_expect("token", b->token, TOKEN_ALL);
    b->token = 0;
    b->reason = REASON_NONE;
    SERVE(0, IRQ_ACK, 0);
    edge_expect("reason after all", b->reason, REASON_NONE);
    SERVE(0, ENABLE, 0);
}

const struct edge_test edge_service_tests[] = {
    {"numbers of the async PF service", numbers},
    {"buffers where no memory is", bad_addresses},
    {"ENABLE on and off", on_and_off},
    {"IRQ_ACK", acknowledging},
};
const int edge_service_count = ARRAY_LEN(edge_service_tests);
