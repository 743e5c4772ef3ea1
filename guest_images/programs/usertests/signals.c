/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Signal handlers: entered with the exact fault, left through sigreturn, and hostile frames. */
#include "usertests.h"
#include "platform.h"

static volatile u64 seen_addr, seen_access, faults;

static void bad_sigactions(void)
{
    static const u64 wrong[] = {0, 1, SIGKILL, SIGTERM, NSIG, 64, 1ull << 32 | SIGSEGV, ~0ull};
    for (u32 i = 0; i < ARRAY_LEN(wrong); i++)
        CHECK_EQ(raw(SYS_sigaction, wrong[i], 0, 0), -EINVAL);
    CHECK_EQ(raw(SYS_sigaction, SIGSEGV, USER_TOP, 0), -EINVAL);
    CHECK_EQ(raw(SYS_sigaction, SIGSEGV, KERNEL_ADDRESS, 0), -EINVAL);
    CHECK_EQ(raw(SYS_sigaction, SIGSEGV, 0x10000000, ~0ull), -EINVAL);
    CHECK_EQ(signal(SIGSEGV, NULL), 0);
}

static void bad_sigreturns(void)
{
    u64 frame[128] __attribute__((aligned(16))) = {0};
    CHECK_EQ(raw(SYS_sigreturn, 0, 0, 0), -EFAULT);
    CHECK_EQ(raw(SYS_sigreturn, (uptr)frame + 8, 0, 0), -EFAULT);
    CHECK_EQ(raw(SYS_sigreturn, (uptr)frame, 0, 0), -EINVAL);
    memset(frame, 0xff, sizeof frame);
    CHECK_EQ(raw(SYS_sigreturn, (uptr)frame, 0, 0), -EINVAL);
    CHECK_EQ(raw(SYS_sigreturn, KERNEL_ADDRESS, 0, 0), -EFAULT);
}

/* The handler makes the address valid; the access then happens as if nothing had been. */
static void grow_heap(int sig, u64 addr, int access)
{
    CHECK_EQ(sig, SIGSEGV);
    seen_addr = addr;
    seen_access = (u64)access;
    faults++;
    CHECK_EQ(brk((addr | 4095) + 1), (addr | 4095) + 1);
}

static void handler_repairs(void)
{
    CHECK_EQ(signal(SIGSEGV, grow_heap), 0);
    u64 heap = (u64)brk(0);
    for (u64 i = 0; i < 8; i++) {
        volatile u32 *word = (volatile u32 *)(uptr)(heap + i * PAGE_SIZE + i * 508);
        if (i & 1)
            *word = (u32)i + 1000;
        else
            CHECK_EQ(*word, 0);
        CHECK_EQ(seen_addr, (uptr)word);
        CHECK_EQ(seen_access, i & 1);
        CHECK_EQ(faults, i + 1);
        if (i & 1)
            CHECK_EQ(*word, i + 1000);
    }
}

/* Whatever the compiler keeps in registers is unharmed by faults and handlers in between. */
static void registers_survive(void)
{
    CHECK_EQ(signal(SIGSEGV, grow_heap), 0);
    u64 heap = (u64)brk(0), a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = 9, j = 10;
    for (u64 n = 0; n < 16; n++) {
        OPAQUE(a); OPAQUE(b); OPAQUE(c); OPAQUE(d); OPAQUE(e); OPAQUE(f); OPAQUE(g); OPAQUE(h); OPAQUE(i); OPAQUE(j);
        poke(heap + n * PAGE_SIZE + n);
        a = mix64(a); b += a; c ^= b; d += c; e ^= d; f += e; g ^= f; h += g; i ^= h; j += i;
    }
    u64 with = j;
    a = 1, b = 2, c = 3, d = 4, e = 5, f = 6, g = 7, h = 8, i = 9, j = 10;
    for (u64 n = 0; n < 16; n++) {
        OPAQUE(a);
        a = mix64(a); b += a; c ^= b; d += c; e ^= d; f += e; g ^= f; h += g; i ^= h; j += i;
    }
    CHECK_EQ(faults, 16);
    CHECK_EQ(with, j);
}

static volatile int depth;

static void on_illegal(int sig, u64 addr, int access)
{
    (void)addr, (void)access;
    CHECK_EQ(sig, SIGILL);
    CHECK_EQ(depth, 1);
    depth = 2;
    exit(55);
}

static void on_segv(int sig, u64 addr, int access)
{
    (void)addr, (void)access;
    CHECK_EQ(sig, SIGSEGV);
    depth = 1;
    illegal_instruction();
}

static void two_handlers(u64 arg)
{
    CHECK_EQ(signal(SIGSEGV, on_segv), 0);
    CHECK_EQ(signal(SIGILL, on_illegal), 0);
    poke(arg);
}

static void fault_again(int sig, u64 addr, int access)
{
    (void)sig, (void)access;
    poke(addr);
    exit(1);
}

static void one_handler(u64 arg)
{
    CHECK_EQ(signal(SIGSEGV, fault_again), 0);
    poke(arg);
}

/* Another signal may interrupt a handler; the same one ends the task, not the kernel. */
static void nested_signals(void)
{
    CHECK_EQ(run_child(two_handlers, 8), 55 << 8);
    CHECK_EQ(run_child(one_handler, 8), SIGSEGV);
}

static void handlers_are_inherited(void)
{
    CHECK_EQ(signal(SIGSEGV, grow_heap), 0);
    u64 heap = (u64)brk(0);
    int pid = fork();
    if (pid == 0) {
        poke(heap + 5);
        exit(faults == 1 ? 21 : 22);
    }
    CHECK_EQ(reap(pid), 21 << 8);
    CHECK_EQ(faults, 0);
    CHECK_EQ(signal(SIGSEGV, NULL), 0);
    CHECK_EQ(run_child(poke, heap + 5), SIGSEGV);
}

static void jump_to_entry(u64 entry)
{
    CHECK_EQ(raw(SYS_sigaction, SIGSEGV, entry, 0), 0);
    poke(8);
}

/* A handler that is not code: the fault at its entry ends the task. */
static void handler_nowhere(void)
{
    CHECK_EQ(run_child(jump_to_entry, 0x1000), SIGSEGV);
    CHECK_EQ(run_child(jump_to_entry, USER_TOP - 4), SIGSEGV);
}

/* ---- frames made to hurt the kernel that loads them ---- */

enum { MAGIC = 0x53494746, FRAME_WORDS = 48 };      /* more words than any architecture's frame has */
static u64 spoil_word, spoil_value;
static int rounds;

static void spoil_frame(int sig, u64 addr, int access)
{
    u64 here = 0;
    (void)sig, (void)addr, (void)access;
    if (rounds++ > 0)
        exit(0);                                    /* came back from the first, to fault again */
    OPAQUE(here);
    u8 *at = (u8 *)((uptr)&here & ~15ull);
    for (int i = 0; i < 512 && *(u32 *)at != MAGIC; i++)
        at += 16;
    CHECK_EQ(*(u32 *)at, MAGIC);
    u64 *words = (u64 *)at;
    if (spoil_word < FRAME_WORDS) {
        words[spoil_word] = spoil_value;
    } else {
        for (int i = 2; i < FRAME_WORDS && (uptr)(words + i) < 0x3fff0000 - 1300; i++)
            words[i] = spoil_value;
    }
}

static void take_signal(u64 value)
{
    u64 room[2 * FRAME_WORDS];                      /* the spoiled words are nobody's */
    spoil_value = value;
    OPAQUE(value);
    __asm__ volatile("" ::"r"(room) : "memory");
    signal(SIGSEGV, spoil_frame);
    signal(SIGILL, spoil_frame);
    poke(8);
    exit(1);
}

/* Only the task may suffer: it ends, by itself or by a signal, and the kernel goes on. */
static void hostile_frames(void)
{
    static const u64 values[] = {1, ~0ull, KERNEL_ADDRESS, NON_CANONICAL, USER_TOP};
    for (u32 v = 0; v < ARRAY_LEN(values); v++) {
        for (spoil_word = 2; spoil_word <= FRAME_WORDS; spoil_word++) {
            u32 status = run_child(take_signal, values[v]);
            CHECK(status == 0 || WTERMSIG(status) == SIGSEGV || WTERMSIG(status) == SIGILL);
        }
    }
}

const struct test signal_tests[] = {
    {"bad_sigactions", bad_sigactions},
    {"bad_sigreturns", bad_sigreturns},
    {"handler_repairs", handler_repairs},
    {"registers_survive", registers_survive},
    {"nested_signals", nested_signals},
    {"handlers_are_inherited", handlers_are_inherited},
    {"handler_nowhere", handler_nowhere},
    {"hostile_frames", hostile_frames},
    {0},
};
