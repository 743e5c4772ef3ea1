/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Code written at run time, with the barriers that the architecture wants (sync_code). */
#include "usertests.h"

static int call(void *code) { return ((int (*)(void))code)(); }

static void write_code(void *at, int value) { sync_code(at, make_constant_function(at, value)); }

static void written_code(void)
{
    u8 *p = map_pages(2, RWX);
    for (int value = 0; value < 128; value++) {
        write_code(p, value);
        CHECK_EQ(call(p), value);
    }
    for (u64 at = 0; at < PAGE_SIZE; at += 64)
        write_code(p + at, (int)(at / 64));
    for (u64 at = 0; at < PAGE_SIZE; at += 64)
        CHECK_EQ(call(p + at), at / 64);
}

/* A function that begins in one page and ends in the next, while either changes. */
static void code_over_a_border(void)
{
    u8 *p = map_pages(2, RWX), *at = p + PAGE_SIZE - 4;
    for (int value = 0; value < 20; value++) {
        write_code(at, value);
        CHECK_EQ(call(at), value);
        p[0] = (u8)value;
        p[PAGE_SIZE + 100] = (u8)value;
        CHECK_EQ(call(at), value);
    }
}

static void jump_to(u64 at) { call((void *)(uptr)at); }

/* The second half of the function is in no page. */
static void code_ends_nowhere(void)
{
    u8 *p = map_pages(1, RWX), image[16];
    u64 end = (uptr)p + PAGE_SIZE;
    make_constant_function(image, 5);
    memcpy(p + PAGE_SIZE - 4, image, 4);
    sync_code(p + PAGE_SIZE - 4, 4);
    expect_fault(SIGSEGV, end, ACCESS_EXEC, jump_to, end - 4);
}

/* After fork each task has code of its own. */
static void code_after_fork(void)
{
    u8 *p = map_pages(1, RWX);
    write_code(p, 1);
    CHECK_EQ(call(p), 1);
    int pid = fork();
    if (pid == 0) {
        CHECK_EQ(call(p), 1);
        write_code(p, 2);
        for (int i = 0; i < 5; i++) {
            yield();
            CHECK_EQ(call(p), 2);
        }
        exit(0);
    }
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(call(p), i ? 3 : 1);
        write_code(p, 3);
        yield();
        CHECK_EQ(call(p), 3);
    }
    CHECK_EQ(reap(pid), 0);
}

static void other_code(u64 value)
{
    u8 *p = map_pages(1, RWX);          /* the same address in every child */
    write_code(p, (int)value);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(call(p), value);
        yield();
    }
}

/* Different code at one address, in tasks that take turns. */
static void code_in_turns(void)
{
    for (u64 i = 0; i < 5; i++)
        spawn(other_code, 20 + i);
    reap_good(5);
}

/* A page that was code comes back as something else. */
static void code_unmapped(void)
{
    for (int round = 0; round < 4; round++) {
        u8 *p = map_pages(1, RWX);
        CHECK_EQ(p[0], 0);
        write_code(p, 30 + round);
        CHECK_EQ(call(p), 30 + round);
        CHECK_EQ(munmap(p, PAGE_SIZE), 0);
        expect_fault(SIGSEGV, (uptr)p, ACCESS_EXEC, jump_to, (uptr)p);
    }
}

/* Code in more pages than a small machine keeps resident. */
static void much_code(void)
{
    u64 pages = free_pages() / 4;
    if (pages > 512)
        pages = 512;
    u8 *p = map_pages(pages, RWX);
    for (u64 i = 0; i < pages; i++)
        write_code(p + i * PAGE_SIZE + i % 64 * 32, (int)(mix64(i) & 127));
    for (int round = 0; round < 2; round++) {
        for (u64 i = 0; i < pages; i++)
            CHECK_EQ(call(p + i * PAGE_SIZE + i % 64 * 32), mix64(i) & 127);
    }
}

const struct test code_tests[] = {
    {"written_code", written_code},
    {"code_over_a_border", code_over_a_border},
    {"code_ends_nowhere", code_ends_nowhere},
    {"code_after_fork", code_after_fork},
    {"code_in_turns", code_in_turns},
    {"code_unmapped", code_unmapped},
    {"much_code", much_code},
    {0},
};
