/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address spaces: demand zero, heap, mappings, what fork shares and what it does not. */
#include "usertests.h"

static u8 zeros[3 * PAGE_SIZE];
static u64 initialised[600] = {1, 2, 3, [599] = 599};
static volatile int shared_word = 1;

static bool all_zero(const u8 *p, u64 n)
{
    for (u64 i = 0; i < n; i++) {
        if (p[i] != 0)
            return false;
    }
    return true;
}

static void program_data(void)
{
    CHECK(all_zero(zeros, sizeof zeros));
    CHECK_EQ(initialised[0], 1);
    CHECK_EQ(initialised[2], 3);
    CHECK_EQ(initialised[598], 0);
    CHECK_EQ(initialised[599], 599);
    memset(zeros, 0xff, sizeof zeros);
    CHECK_EQ(initialised[599], 599);
}

/* Pages that others have used come back as zeros, by the heap and by mmap. */
static void demand_zero(void)
{
    for (int round = 0; round < 3; round++) {
        u8 *p = map_pages(16, RW);
        CHECK(all_zero(p, 16 * PAGE_SIZE));
        memset(p, 0xa5 + round, 16 * PAGE_SIZE);
        CHECK_EQ(munmap(p, 16 * PAGE_SIZE), 0);
        u64 heap = (u64)brk(0);
        CHECK_EQ(brk(heap + 16 * PAGE_SIZE), heap + 16 * PAGE_SIZE);
        CHECK(all_zero((u8 *)(uptr)heap, 16 * PAGE_SIZE));
        memset((u8 *)(uptr)heap, 0x5a, 16 * PAGE_SIZE);
        CHECK_EQ(brk(heap), heap);
    }
}

static void brk_limits(void)
{
    u64 heap = (u64)brk(0);
    CHECK_EQ(brk(heap - 1), -EINVAL);
    CHECK_EQ(brk(1), -EINVAL);
    CHECK_EQ(brk(0x30000001), -EINVAL);         /* where the heap has to stop */
    CHECK_EQ(brk(USER_TOP), -EINVAL);
    CHECK_EQ(brk(~0ull), -EINVAL);
    CHECK_EQ(brk(0), heap);
    for (u64 n = 1; n < 3 * PAGE_SIZE; n += 1023) {     /* any number of bytes */
        CHECK_EQ(brk(heap + n), heap + n);
        poke(heap + n - 1);
    }
    CHECK_EQ(brk(heap), heap);
    expect_fault(SIGSEGV, heap, ACCESS_READ, peek, heap);
}

/* The part of the heap that was given back is gone, what stays keeps its contents. */
static void brk_shrinks(void)
{
    u64 heap = (u64)brk(0), free = free_pages();
    CHECK_EQ(brk(heap + 8 * PAGE_SIZE), heap + 8 * PAGE_SIZE);
    CHECK_EQ(free_pages(), free - 8);
    memset((u8 *)(uptr)heap, 7, 8 * PAGE_SIZE);
    CHECK_EQ(brk(heap + 3 * PAGE_SIZE - 5), heap + 3 * PAGE_SIZE - 5);
    CHECK_EQ(free_pages(), free - 3);
    expect_fault(SIGSEGV, heap + 3 * PAGE_SIZE, ACCESS_WRITE, poke, heap + 3 * PAGE_SIZE);
    CHECK_EQ(brk(heap + 8 * PAGE_SIZE), heap + 8 * PAGE_SIZE);
    CHECK_EQ(((u8 *)(uptr)heap)[3 * PAGE_SIZE - 1], 7);
    CHECK(all_zero((u8 *)(uptr)heap + 3 * PAGE_SIZE, 5 * PAGE_SIZE));
    CHECK_EQ(brk(heap), heap);
    CHECK_EQ(free_pages(), free);
}

static void mmap_errors(void)
{
    u64 free = free_pages();
    CHECK_EQ(raw(SYS_mmap, 0, RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, PAGE_SIZE, 0, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, PAGE_SIZE, UPROT_WRITE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, PAGE_SIZE, 16 | RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, PAGE_SIZE, 0x100 | RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, ~0ull, RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, ~0ull - PAGE_SIZE + 2, RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, 1ull << 63, RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, 1ull << 41, RW, 0), -EINVAL);
    CHECK_EQ(raw(SYS_mmap, 1ull << 39, RW, 0), -ENOMEM);
    u8 *p = map_pages(2, RW);
    CHECK_EQ(raw(SYS_munmap, (uptr)p + 1, 2 * PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)p + PAGE_SIZE, PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)p, PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)p, 3 * PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)p, 0, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)p, ~0ull, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, (uptr)mmap_errors & ~4095ull, PAGE_SIZE, 0), -EINVAL);     /* the program's own text */
    CHECK_EQ(raw(SYS_munmap, 0, PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(raw(SYS_munmap, ~4095ull, PAGE_SIZE, 0), -EINVAL);
    CHECK_EQ(munmap(p, 2 * PAGE_SIZE - 1), 0);
    CHECK_EQ(munmap(p, 2 * PAGE_SIZE), -EINVAL);
    CHECK_EQ(free_pages(), free);
}

/* After munmap the old translation must be gone, also when the address is used again. */
static void munmap_and_again(void)
{
    u8 *p = map_pages(2, RW);
    memset(p, 1, 2 * PAGE_SIZE);
    CHECK_EQ(munmap(p, 2 * PAGE_SIZE), 0);
    expect_fault(SIGSEGV, (uptr)p + 1, ACCESS_READ, peek, (uptr)p + 1);
    u8 *q = map_pages(2, UPROT_READ);
    CHECK(all_zero(q, 2 * PAGE_SIZE));
    expect_fault(SIGSEGV, (uptr)q + PAGE_SIZE, ACCESS_WRITE, poke, (uptr)q + PAGE_SIZE);
    CHECK_EQ(munmap(q, 2 * PAGE_SIZE), 0);
}

static void many_mappings(void)
{
    enum { MAX = 40 };
    u8 *p[MAX];
    int n = 0;
    u64 free = free_pages();
    while (n < MAX && (p[n] = mmap(PAGE_SIZE, RW)) != NULL) {
        for (int i = 0; i < n; i++)
            CHECK(p[i] != p[n]);
        *p[n] = (u8)(n + 1);
        n++;
    }
    CHECK(n >= 4);
    CHECK_EQ(free_pages(), free - (u64)n);
    for (int i = 0; i < n; i += 2)
        CHECK_EQ(munmap(p[i], PAGE_SIZE), 0);
    u8 *more = map_pages(1, RW);
    CHECK_EQ(*more, 0);
    for (int i = 1; i < n; i += 2) {
        CHECK_EQ(*p[i], i + 1);
        CHECK_EQ(munmap(p[i], PAGE_SIZE), 0);
    }
    CHECK_EQ(munmap(more, PAGE_SIZE), 0);
    CHECK_EQ(free_pages(), free);
}

/* Both write right after the fork; neither may see the other. The parent's stores hit translations from before the fork. */
static void fork_isolation(void)
{
    u8 *p = map_pages(4, RW);
    for (int i = 0; i < 4; i++)
        memset(p + (u64)i * PAGE_SIZE, i, PAGE_SIZE);
    for (int round = 0; round < 4; round++) {
        shared_word = 100 + round;
        p[PAGE_SIZE] = (u8)round;
        int pid = fork();
        if (pid == 0) {
            yield();
            CHECK_EQ(shared_word, 100 + round);
            CHECK_EQ(p[PAGE_SIZE], round);
            CHECK_EQ(p[3 * PAGE_SIZE], 3);
            shared_word = 300;
            memset(p, 0xee, 4 * PAGE_SIZE);
            yield();
            CHECK_EQ(shared_word, 300);
            CHECK_EQ(p[PAGE_SIZE], 0xee);
            exit(0);
        }
        shared_word = 200 + round;
        p[PAGE_SIZE] = 0x77;
        yield();
        CHECK_EQ(shared_word, 200 + round);
        CHECK_EQ(reap(pid), 0);
        CHECK_EQ(shared_word, 200 + round);
        CHECK_EQ(p[PAGE_SIZE], 0x77);
        CHECK_EQ(p[0], 0);
        CHECK_EQ(p[3 * PAGE_SIZE], 3);
    }
}

/* A page shared by three generations, each of which writes at another time. */
static void fork_generations(void)
{
    u8 *p = map_pages(1, RW);
    *p = 1;
    int child = fork();
    if (child == 0) {
        int grandchild = fork();
        if (grandchild == 0) {
            CHECK_EQ(*p, 1);
            *p = 3;
            yield();
            CHECK_EQ(*p, 3);
            exit(0);
        }
        *p = 2;
        CHECK_EQ(reap(grandchild), 0);
        CHECK_EQ(*p, 2);
        exit(0);
    }
    CHECK_EQ(reap(child), 0);
    CHECK_EQ(*p, 1);
    *p = 4;                     /* the last user: no copy, but writable again */
    CHECK_EQ(*p, 4);
}

/* The child has what the parent promised itself: fork counts all of it. */
static void fork_counts_memory(void)
{
    u8 *p = map_pages(64, RW);
    u64 free = free_pages();
    int pid = fork();
    if (pid == 0) {
        u64 mine = free - free_pages();
        CHECK(mine >= 64 && mine < 1024);
        memset(p, 9, 64 * PAGE_SIZE);
        exit(0);
    }
    CHECK_EQ(reap(pid), 0);
    CHECK_EQ(free_pages(), free);
}

/* Words over a page border, where both, the second or the first page is touched for the first time. */
static void straddling_words(void)
{
    for (u64 i = 1; i < 8; i++) {
        u8 *p = map_pages(3, RW);
        volatile u64 *word = (volatile u64 *)(uptr)(p + PAGE_SIZE - i);
        if (i & 1)
            p[0] = 1;
        if (i & 2)
            p[PAGE_SIZE] = 0;
        CHECK_EQ(*word, 0);
        *word = 0x0123456789abcdefull + i;
        CHECK_EQ(*word, 0x0123456789abcdefull + i);
        u64 copy;
        memcpy(&copy, p + PAGE_SIZE - i, sizeof copy);
        CHECK_EQ(copy, 0x0123456789abcdefull + i);
        CHECK_EQ(p[PAGE_SIZE - i - 1], 0);
        CHECK_EQ(munmap(p, 3 * PAGE_SIZE), 0);
    }
}

const struct test memory_tests[] = {
    {"program_data", program_data},
    {"demand_zero", demand_zero},
    {"brk_limits", brk_limits},
    {"brk_shrinks", brk_shrinks},
    {"mmap_errors", mmap_errors},
    {"munmap_and_again", munmap_and_again},
    {"many_mappings", many_mappings},
    {"fork_isolation", fork_isolation},
    {"fork_generations", fork_generations},
    {"fork_counts_memory", fork_counts_memory},
    {"straddling_words", straddling_words},
    {0},
};
