/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Notifications with an area of 256 bytes that belongs to this program, on one CPU. The kernel has no front-end: it takes a notified
 * fault for a stale translation, so the access is tried until the page is there, and interrupts are only counted.
 */
#include "edge.h"

enum { BYTES = 256, SLOTS = (BYTES - 2) / 2 };

static struct {
    volatile u8 trigger, state;
    volatile u16 slot[(PAGE_SIZE - 2) / 2];
} area __attribute__((aligned(4096)));

static u64 vpa;                         /* the kernel's, of this CPU */
static u64 next_cold;                   /* cold pages are used one after the other */
static u32 fill;                        /* slot that the next number goes to */
static u32 posted;                      /* numbers in the ring since it was empty */

static u8 vpa_byte(u64 offset) { return (u8)hook(HOOK_PEEK, vpa + offset, 0); }
static u16 told(void) { return (u16)(vpa_byte(VPA_NUMBER) << 8 | vpa_byte(VPA_NUMBER + 1)); }
static void accept(bool on) { hook(HOOK_POKE, vpa + VPA_CYCLES, on ? EXPROPRIATION : 0); }
static void forget(void)
{
    for (u64 i = VPA_FLAGS; i < VPA_NUMBER + 2; i++)
        hook(HOOK_POKE, vpa + i, 0xee);
}

/* Load from a page that is away, with notifications. The number that was told, or 0xeeee. */
static u16 fault(void)
{
    if (next_cold % COLD_PAGES == 0)
        push_out();
    u64 page = next_cold++ % COLD_PAGES;
    volatile u64 *p = cold_page(page);  /* nothing else may be away between the two calls */
    forget();
    (void)area.trigger;
    accept(true);
    u64 word = *p;
    accept(false);
    check(word == cold_word(page), "what was in the page");
    return told();
}

static void clear(void)
{
    for (int i = 0; i < SLOTS; i++)
        area.slot[i] = 0;
    posted = 0;
}

static void start(void)
{
    memset((void *)&area, 0, sizeof area);
    fill = posted = 0;
    next_cold = 0;
    check_equal(hypercall(H_REG_SNS, gpa(&area), BYTES, 0, 0), H_SUCCESS, "H_REG_SNS");
}

static void stop(void) { check_equal(hypercall(H_REG_SNS, NO_AREA, 0, 0, 0), H_SUCCESS, "H_REG_SNS(-1)"); }

/* One more fault, whose number must come next in the ring: right after those of pages of our own that were away, too. */
static u16 fault_and_post(void)
{
    u16 number = fault();
    check(number != 0 && number != 0xeeee, "a number in the VPA");
    check_equal(vpa_byte(VPA_FLAGS), RESTORED, "the flags in the VPA");
    u16 found;
    do {
        found = area.slot[fill];
        fill = (fill + 1) % SLOTS;
        posted++;
    } while (found != number && found != 0 && posted < SLOTS);
    check_equal(found, number, "the last number in the ring");
    return number;
}

static void test_numbers(void)
{
    u16 seen[8];
    test_begin("a number is told and posted, in order");
    start();
    for (u64 i = 0; i < ARRAY_LEN(seen); i++) {
        seen[i] = fault_and_post();
        for (u64 k = 0; k < i; k++)
            check(seen[k] != seen[i], "another number for another page");
    }
    for (u32 i = fill; i < SLOTS; i++)
        check_equal(area.slot[i], 0, "a slot that nothing was posted to");
    check_equal(area.state, 0, "the platform's control byte");
    stop();
    test_end();
}

static s64 strays(void) { return hook(HOOK_STRAY, 0, 0); }

static void expect_interrupts(s64 wanted, const char *what)
{
    s64 before = strays();
    fault_and_post();
    check_equal(strays() - before, wanted, what);
}

static void test_trigger(void)
{
    test_begin("one interrupt for each flip of the trigger");
    start();
    check_equal(hook(HOOK_ROUTE, SOURCE, 0), 0, "routing the source");
    hypercall(H_VIO_SIGNAL, UNIT, 1, 0, 0);
    expect_interrupts(0, "interrupts without a flip");
    area.trigger ^= TRIGGER;
    expect_interrupts(1, "interrupts after a flip");
    expect_interrupts(0, "interrupts after that");
    area.trigger ^= TRIGGER;
    expect_interrupts(1, "interrupts after the second flip");
    area.trigger ^= TRIGGER;
    area.trigger ^= TRIGGER;
    expect_interrupts(0, "interrupts after two flips");
    area.trigger ^= 0x7f;
    expect_interrupts(0, "interrupts after flips of reserved bits");
    area.trigger ^= TRIGGER;
    hypercall(H_VIO_SIGNAL, UNIT, 0, 0, 0);
    expect_interrupts(0, "interrupts while they are off");
    hypercall(H_VIO_SIGNAL, UNIT, 1, 0, 0);
    expect_interrupts(0, "interrupts when they are on again, the flip being used up");
    stop();
    area.trigger = TRIGGER;
    check_equal(hypercall(H_REG_SNS, gpa(&area), BYTES, 0, 0), H_SUCCESS, "H_REG_SNS with the trigger set");
    clear();
    fill = 0;
    expect_interrupts(0, "interrupts after registering with the trigger set");
    area.trigger ^= TRIGGER;
    expect_interrupts(1, "interrupts after its flip");
    hypercall(H_VIO_SIGNAL, UNIT, 0, 0, 0);
    stop();
    test_end();
}

static void test_not_told(void)
{
    test_begin("nobody is told who does not want to");
    start();
    push_out();
    forget();
    check(*cold_page(5) == cold_word(5), "what was in the page");
    check_equal(told(), 0xeeee, "the number in the VPA without byte 0xb9");
    stop();
    push_out();
    accept(true);
    check(*cold_page(6) == cold_word(6), "what was in the page");
    accept(false);
    check_equal(told(), 0xeeee, "the number in the VPA without an area");
    for (int i = 0; i < SLOTS; i++)
        check_equal(area.slot[i], 0, "a slot of the ring");
    test_end();
}

static void test_full(void)
{
    test_begin("a full ring makes faults wait, and does not overflow");
    start();
    while (posted < SLOTS)
        fault_and_post();
    for (int i = 0; i < 3; i++)
        check_equal(fault(), 0xeeee, "the number in the VPA with a full ring");
    check_equal(area.state, 0, "the platform's control byte");
    clear();
    for (int i = 0; i < 5; i++)
        fault_and_post();
    stop();
    test_end();
}

static void test_overflow(void)
{
    test_begin("a slot that is not free: overflow, until registered anew");
    start();
    fault_and_post();
    u32 next = fill;
    area.slot[next] = 0xbeef;           /* not the platform's, and where it fills next */
    fault();
    check_equal(area.state & OVERFLOW, OVERFLOW, "overflow");
    check_equal(area.slot[next], 0xbeef, "the slot that was in use");
    clear();
    area.state = 0;                     /* which is not for us to say */
    fault();
    for (int i = 0; i < SLOTS; i++)
        check_equal(area.slot[i], 0, "a slot after the overflow");
    stop();
    start();
    fault_and_post();
    check_equal(area.state, 0, "the platform's control byte after registering anew");
    stop();
    test_end();
}

static void test_thrown_away(void)
{
    test_begin("an unused page is thrown away: number 0, and zeros");
    start();
    u64 page = gpa(cold_page(7));
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(UNUSED), page, 0, 0), H_SUCCESS, "H_PAGE_INIT");
    push_out();
    forget();
    volatile u64 *p = cold_page(7);
    accept(true);
    u64 word = *p;
    accept(false);
    check_equal((s64)word, 0, "what is in the page");
    check_equal(told(), 0, "the number in the VPA");
    check_equal(vpa_byte(VPA_FLAGS), 0, "the flags in the VPA");
    check_equal(area.slot[0], 0, "the first slot");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(ACTIVE), page, 0, 0), H_SUCCESS, "H_PAGE_INIT");
    *cold_page(7) = cold_word(7);
    stop();
    test_end();
}

void test_ring(void)
{
    vpa = (u64)hook(HOOK_VPA, 0, 0);
    area.trigger = 0;
    test_numbers();
    test_trigger();
    test_not_told();
    test_full();
    test_overflow();
    test_thrown_away();
}
