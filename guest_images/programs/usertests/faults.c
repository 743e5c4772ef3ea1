/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a program must not do, and that it is told exactly where it did. */
#include "usertests.h"
#include "platform.h"

static const u64 constant = 1;

static void null_pointer(void)
{
    expect_fault(SIGSEGV, 0, ACCESS_READ, peek, 0);
    expect_fault(SIGSEGV, 0, ACCESS_WRITE, poke, 0);
    expect_fault(SIGSEGV, 0, ACCESS_EXEC, jump, 0);
    expect_fault(SIGSEGV, 8, ACCESS_WRITE, poke, 8);
    expect_fault(SIGSEGV, 4095, ACCESS_READ, peek, 4095);
}

static void unmapped(void)
{
    static const u64 places[] = {0x0ffff123, 0x2ffff457, 0x3fff0000, 0x40000001, 0x1ffffffffffd, 0x212345678901, USER_TOP - 3};
    for (u32 i = 0; i < ARRAY_LEN(places); i++) {
        expect_fault(SIGSEGV, places[i], ACCESS_READ, peek, places[i]);
        expect_fault(SIGSEGV, places[i], ACCESS_WRITE, poke, places[i]);
        expect_fault(SIGSEGV, places[i] & ~3ull, ACCESS_EXEC, jump, places[i] & ~3ull);
    }
}

static void kernel_memory(void)
{
    expect_fault(SIGSEGV, KERNEL_ADDRESS, ACCESS_READ, peek, KERNEL_ADDRESS);
    expect_fault(SIGSEGV, KERNEL_ADDRESS + 5, ACCESS_WRITE, poke, KERNEL_ADDRESS + 5);
    expect_fault(SIGSEGV, KERNEL_ADDRESS + 64, ACCESS_EXEC, jump, KERNEL_ADDRESS + 64);
}

static void exit_with_signal(int sig, u64 addr, int access)
{
    (void)addr, (void)access;
    exit(sig);
}

static void (*attempt)(u64 addr);

static void attempt_handled(u64 addr)
{
    CHECK_EQ(signal(SIGSEGV, exit_with_signal), 0);
    CHECK_EQ(signal(SIGILL, exit_with_signal), 0);
    attempt(addr);
}

/* No two architectures say the same about addresses that cannot exist; it has to be a signal. */
static void impossible_addresses(void)
{
    static const u64 places[] = {NON_CANONICAL, NON_CANONICAL | 0x120, 1ull << 63, ~7ull, 0x7ffffffffffffffcull};
    static void (*const attempts[])(u64) = {peek, poke, jump};
    for (u32 i = 0; i < ARRAY_LEN(places) * ARRAY_LEN(attempts); i++) {
        attempt = attempts[i % ARRAY_LEN(attempts)];
        u32 status = run_child(attempt_handled, places[i / ARRAY_LEN(attempts)]);
        CHECK(status == SIGSEGV << 8 || status == SIGILL << 8);
    }
}

static void default_action(void)
{
    CHECK_EQ(run_child(poke, 24), SIGSEGV);
    CHECK_EQ(run_child(jump, KERNEL_ADDRESS), SIGSEGV);
    CHECK_EQ(run_child((void (*)(u64))(void *)illegal_instruction, 0), SIGILL);
}

static void read_only(void)
{
    u64 text = (uptr)&constant;
    CHECK_EQ(constant, 1);
    expect_fault(SIGSEGV, text, ACCESS_WRITE, poke, text);
    text = 0x10000000;
    peek(text);
    expect_fault(SIGSEGV, text + 3, ACCESS_WRITE, poke, text + 3);
    expect_fault(SIGSEGV, text + PAGE_SIZE - 1, ACCESS_WRITE, poke, text + PAGE_SIZE - 1);
    u8 *p = map_pages(2, UPROT_READ);
    expect_fault(SIGSEGV, (uptr)p, ACCESS_WRITE, poke, (uptr)p);                    /* not there yet */
    CHECK_EQ(p[PAGE_SIZE], 0);
    expect_fault(SIGSEGV, (uptr)p + PAGE_SIZE, ACCESS_WRITE, poke, (uptr)p + PAGE_SIZE);
}

/* Data, heap, stack and plain mappings are not code. */
static void not_executable(void)
{
    static u64 data[16];
    u64 stack[16], heap = (u64)brk(0);
    u8 *p = map_pages(2, RW);
    CHECK_EQ(brk(heap + PAGE_SIZE), heap + PAGE_SIZE);
    make_constant_function(data, 1);
    make_constant_function(stack, 1);
    make_constant_function((void *)(uptr)heap, 1);
    make_constant_function(p, 1);
    expect_fault(SIGSEGV, (uptr)data, ACCESS_EXEC, jump, (uptr)data);
    expect_fault(SIGSEGV, (uptr)stack, ACCESS_EXEC, jump, (uptr)stack);
    expect_fault(SIGSEGV, heap, ACCESS_EXEC, jump, heap);
    expect_fault(SIGSEGV, (uptr)p, ACCESS_EXEC, jump, (uptr)p);
    expect_fault(SIGSEGV, (uptr)p + PAGE_SIZE, ACCESS_EXEC, jump, (uptr)p + PAGE_SIZE);     /* not there yet */
    expect_fault(SIGSEGV, (uptr)&constant & ~7ull, ACCESS_EXEC, jump, (uptr)&constant & ~7ull);
}

static void peek_word(u64 addr) { (void)*(volatile u64 *)(uptr)addr; }
static void poke_word(u64 addr) { *(volatile u64 *)(uptr)addr = ~0ull; }

/* A word whose end lies in no page: the address told is the word's or the first missing byte. */
static void straddling_faults(void)
{
    for (u64 i = 1; i < 8; i++) {
        u8 *p = map_pages(1, RW);
        u64 end = (uptr)p + PAGE_SIZE;
        p[0] = 1;
        expect_fault_in(SIGSEGV, end - i, end, ACCESS_READ, peek_word, end - i);
        expect_fault_in(SIGSEGV, end - i, end, ACCESS_WRITE, poke_word, end - i);
        expect_fault(SIGSEGV, end, ACCESS_READ, peek_word, end);
        CHECK_EQ(p[PAGE_SIZE - 9], 0);
        CHECK_EQ(munmap(p, PAGE_SIZE), 0);
    }
}

static void call_privileged(u64 i) { privileged[i](); }

/* Refused with SIGILL at the instruction, which lies in its small function. */
static void privileged_instructions(void)
{
    for (u64 i = 0; privileged[i]; i++) {
        u64 at = (uptr)privileged[i];
        expect_fault_in(SIGILL, at, at + 32, ACCESS_EXEC, call_privileged, i);
    }
}

static void try_to_stop(u64 arg)
{
    (void)arg;
    stop_machine();
}

/* The machine's own calls are the kernel's: refused in one way or another. */
static void machine_calls(void)
{
    u32 status = run_child(try_to_stop, 0);
    CHECK(status == 0 || status == SIGILL || status == SIGSEGV);
}

/* Use at least `bytes` of stack, touching every page. */
static __attribute__((noinline)) u64 deep(u64 bytes)
{
    volatile u8 room[1024];
    room[0] = (u8)bytes;
    room[1023] = 1;
    u64 below = bytes > sizeof room ? deep(bytes - sizeof room) : 0;
    __asm__ volatile("" ::"r"(room) : "memory");        /* still in use: no loop can stand for this */
    return below + room[0] + room[1023];
}

static void use_stack(u64 bytes) { CHECK(deep(bytes) > 0); }

static void exit_handler(int sig, u64 addr, int access)
{
    (void)sig, (void)addr, (void)access;
    exit(1);
}

static void overflow(u64 arg)
{
    signal(SIGSEGV, arg ? exit_handler : NULL);
    deep(1 << 20);
}

/* The stack grows as far as it was promised. At its end there may be too little room for a handler, and then the task ends. */
static void stack_limits(void)
{
    CHECK_EQ(run_child(use_stack, 200 << 10), 0);
    CHECK_EQ(run_child(overflow, 0), SIGSEGV);
    u32 status = run_child(overflow, 1);
    CHECK(status == SIGSEGV || status == 1 << 8);
}

const struct test fault_tests[] = {
    {"null_pointer", null_pointer},
    {"unmapped", unmapped},
    {"kernel_memory", kernel_memory},
    {"impossible_addresses", impossible_addresses},
    {"default_action", default_action},
    {"read_only", read_only},
    {"not_executable", not_executable},
    {"straddling_faults", straddling_faults},
    {"privileged_instructions", privileged_instructions},
    {"machine_calls", machine_calls},
    {"stack_limits", stack_limits},
    {0},
};
