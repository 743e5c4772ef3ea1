/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Much memory: patterns that stay right while the host pages, errors when there is none left, and all of it given back. */
#include "usertests.h"

enum { WORDS = PAGE_SIZE / sizeof(u64) };

static u64 smaller(u64 a, u64 b) { return a < b ? a : b; }

/* Two words a page, different for each page and seed. */
static void mark(u8 *p, u64 pages, u64 seed)
{
    for (u64 i = 0; i < pages; i++) {
        u64 *w = (u64 *)(p + i * PAGE_SIZE), v = mix64(seed << 32 | i);
        w[v % WORDS] = v;
        w[~v % WORDS] = ~v;
    }
}

static void verify(const u8 *p, u64 pages, u64 seed)
{
    for (u64 i = 0; i < pages; i++) {
        const u64 *w = (const u64 *)(p + i * PAGE_SIZE);
        u64 v = mix64(seed << 32 | i);
        CHECK_EQ(w[v % WORDS], v);
        CHECK_EQ(w[~v % WORDS], ~v);
    }
}

/* More than a small resident limit holds, forwards and backwards. */
static void memory_pattern(void)
{
    u64 pages = smaller(free_pages() / 2, 4096);
    u8 *p = map_pages(pages, RW);
    mark(p, pages, 1);
    verify(p, pages, 1);
    for (u64 i = pages; i-- > 0;) {
        u64 *w = (u64 *)(p + i * PAGE_SIZE), v = mix64(1ull << 32 | i);
        CHECK_EQ(w[v % WORDS], v);
        w[v % WORDS] = 0;
        w[~v % WORDS] = 0;
    }
    for (u64 i = 0; i < pages; i++) {
        const u64 *w = (const u64 *)(p + i * PAGE_SIZE);
        for (int k = 0; k < WORDS; k += 37)
            CHECK_EQ(w[k], 0);
    }
}

/* In an order that no read-ahead guesses. */
static void scattered_pattern(void)
{
    u64 pages = smaller(free_pages() / 2, 2048);
    u8 *p = map_pages(pages, RW);
    mark(p, pages, 2);
    for (u64 i = 0; i < 2 * pages; i++) {
        u64 page = mix64(i) % pages, v = mix64(2ull << 32 | page);
        CHECK_EQ(((u64 *)(p + page * PAGE_SIZE))[v % WORDS], v);
    }
    verify(p, pages, 2);
}

static void busy_child(u64 n)
{
    u64 pages = 256;
    u8 *p = map_pages(pages, RW);
    for (u64 round = 0; round < 3; round++) {
        mark(p, pages, n * 8 + round);
        yield();
        verify(p, pages, n * 8 + round);
        memset(p, 0, PAGE_SIZE);
        memset(p + (pages - 1) * PAGE_SIZE, 0, PAGE_SIZE);
    }
}

static void pressure_in_tasks(void)
{
    for (u64 n = 1; n <= 4; n++)
        spawn(busy_child, n);
    reap_good(4);
}

/* Copies on write while pages come and go. */
static void pressure_after_fork(void)
{
    u64 pages = smaller(free_pages() / 4, 1024);
    u8 *p = map_pages(pages, RW);
    mark(p, pages, 3);
    int pid = fork();
    if (pid == 0) {
        verify(p, pages, 3);
        for (u64 i = 0; i < pages; i++)
            memset(p + i * PAGE_SIZE, 0xcc, 64);
        exit(0);
    }
    verify(p, pages, 3);
    CHECK_EQ(reap(pid), 0);
    verify(p, pages, 3);
}

static void map_everything(u64 arg)
{
    u64 free = free_pages();
    (void)arg;
    u8 *p = mmap(free * PAGE_SIZE, RW);
    CHECK(p != NULL);
    CHECK_EQ(free_pages(), 0);
    CHECK(mmap(PAGE_SIZE, RW) == NULL);
    CHECK_EQ(raw(SYS_mmap, PAGE_SIZE, RW, 0), -ENOMEM);
    CHECK_EQ(brk((u64)brk(0) + PAGE_SIZE), -ENOMEM);
    CHECK_EQ(fork(), -ENOMEM);
    CHECK_EQ(fork(), -ENOMEM);
    CHECK_EQ(wait(NULL), -ECHILD);
    CHECK_EQ(munmap(p, free * PAGE_SIZE), 0);
    CHECK_EQ(free_pages(), free);
    CHECK_EQ(run_child(peek, (uptr)&free), 0);
}

/* Too little memory is an error of the call that asks for it, at once, and never a surprise later. */
static void out_of_memory(void)
{
    u64 free = free_pages();
    CHECK_EQ(run_child(map_everything, 0), 0);
    CHECK(mmap((free + 1) * PAGE_SIZE, RW) == NULL);
    CHECK_EQ(free_pages(), free);
}

static void touch_everything(u64 pages)
{
    u8 *p = map_pages(pages, RW);
    for (u64 i = 0; i < pages; i++)
        *(u64 *)(p + i * PAGE_SIZE) = i;
    for (u64 i = 0; i < pages; i += 61)
        CHECK_EQ(*(u64 *)(p + i * PAGE_SIZE), i);
}

/* What was promised is there; when the task ends, all of it comes back, so that it works again. */
static void all_memory_used(void)
{
    u64 free = free_pages();
    for (int round = 0; round < 2; round++) {
        /* a child of its own needs a few hundred pages for stack and program */
        CHECK_EQ(run_child(touch_everything, smaller(free - 400, 12000)), 0);
        CHECK_EQ(free_pages(), free);
    }
}

/* fork in a task that has no room for a second copy of itself. */
static void fork_without_memory(void)
{
    u64 free = free_pages(), pages = free / 2 + 64;
    u8 *p = map_pages(pages, RW);
    mark(p, 512, 4);
    for (int i = 0; i < 5; i++)
        CHECK_EQ(fork(), -ENOMEM);
    verify(p, 512, 4);
    mark(p, 512, 5);            /* still writable */
    verify(p, 512, 5);
    CHECK_EQ(munmap(p, pages * PAGE_SIZE), 0);
    CHECK_EQ(free_pages(), free);
}

const struct test pressure_tests[] = {
    {"memory_pattern", memory_pattern},
    {"scattered_pattern", scattered_pattern},
    {"pressure_in_tasks", pressure_in_tasks},
    {"pressure_after_fork", pressure_after_fork},
    {"out_of_memory", out_of_memory},
    {"all_memory_used", all_memory_used},
    {"fork_without_memory", fork_without_memory},
    {0},
};
