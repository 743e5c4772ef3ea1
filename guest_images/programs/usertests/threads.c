/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads: tasks in one address space. And what descriptors answer without a device. */
#include "usertests.h"

enum { THREADS = 4, STACK = 8192, PAGES = 64 };
static u8 stacks[THREADS][STACK] __attribute__((aligned(16)));

static void start(int (*fn)(u64), u64 n)
{
    for (u64 i = 0; i < n; i++)
        CHECK(thread(fn, i, stacks[i], STACK) > 0);
}

static u64 seen[THREADS];

static int store(u64 i)
{
    seen[i] = mix64(i);
    return (int)i;
}

/* They see each other's stores, and each ends with a status of its own. */
static void thread_shares_memory(void)
{
    u64 ended = 0;
    start(store, THREADS);
    for (int i = 0; i < THREADS; i++) {
        u32 status;
        CHECK(wait(&status) > 0);
        CHECK(WEXITED(status));
        ended |= 1ull << WEXITSTATUS(status);
    }
    CHECK_EQ(ended, (1 << THREADS) - 1);
    for (u64 i = 0; i < THREADS; i++)
        CHECK_EQ(seen[i], mix64(i));
}

static volatile u64 *pages;
static u32 arrived;

/* Everybody touches every page first, at about the same time: each must become one page, not one for each thread. */
static int touch(u64 i)
{
    __atomic_fetch_add(&arrived, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < THREADS)
        yield();
    for (u64 p = 0; p < PAGES; p++)
        __atomic_fetch_add(&pages[512 * p + i], 1 + i, __ATOMIC_RELAXED);
    return 0;
}

static void thread_faults_at_once(void)
{
    pages = (volatile u64 *)(void *)map_pages(PAGES, RW);
    start(touch, THREADS);
    reap_good(THREADS);
    for (u64 p = 0; p < PAGES; p++)
        for (u64 i = 0; i < THREADS; i++)
            CHECK_EQ(pages[512 * p + i], 1 + i);
}

static int map_and_unmap(u64 i)
{
    for (int n = 0; n < 20; n++) {
        u64 *p = mmap(4 * PAGE_SIZE, RW);
        if (!p)
            return 1;
        for (u64 k = 0; k < 4; k++)
            p[512 * k] = i << 32 | k;
        yield();
        for (u64 k = 0; k < 4; k++)
            if (p[512 * k] != (i << 32 | k))
                return 2;
        if (munmap(p, 4 * PAGE_SIZE) != 0)
            return 3;
    }
    return 0;
}

static void thread_maps_at_once(void)
{
    start(map_and_unmap, THREADS);
    reap_good(THREADS);
}

static int fork_and_write(u64 i)
{
    static u64 word[THREADS * 512];
    for (int n = 0; n < 4; n++) {
        int pid = fork();
        if (pid == 0) {
            word[512 * i] = 99;
            exit(0);
        }
        word[512 * i]++;
        u32 status;
        if (wait(&status) != pid || status != 0)
            return 1;
    }
    return word[512 * i] != 4;
}

/* A fork by one while others store: all of them must see that their pages are shared now. */
static void thread_forks(void)
{
    start(fork_and_write, THREADS);
    reap_good(THREADS);
}

static int die(u64 address)
{
    poke(address);
    return 0;
}

static int wait_for_ever(u64 arg)
{
    (void)arg;
    for (;;)
        sleep_ns(1000 * MS);
}

static void with_a_fatal_one(u64 arg)
{
    (void)arg;
    if (thread(wait_for_ever, 0, stacks[0], STACK) < 0 || thread(die, 16, stacks[1], STACK) < 0)
        exit(1);
    wait_for_ever(0);
}

static void thread_fatal_signal_ends_all(void)
{
    u32 status = run_child(with_a_fatal_one, 0);
    CHECK_EQ(WTERMSIG(status), SIGSEGV);
}

static int leave(u64 arg) { return (int)arg; }

/* The address space lives as long as one task in it. */
static void starter_leaves(u64 arg)
{
    (void)arg;
    if (thread(leave, 0, stacks[0], STACK) < 0 || thread(map_and_unmap, 1, stacks[1], STACK) < 0)
        exit(1);
}

static void thread_outlives_starter(void)
{
    CHECK_EQ(run_child(starter_leaves, 0), 0);
    sleep_ns(50 * MS);                  /* the other one's pages are counted afterwards */
}

static void thread_bad_arguments(void)
{
    CHECK_EQ(raw(SYS_thread, USER_TOP, 0x1000, 0), -EINVAL);
    CHECK_EQ(raw(SYS_thread, 0x1000, USER_TOP, 0), -EINVAL);
}

static void file_bad_arguments(void)
{
    CHECK_EQ(open("/dev/nothing"), -ENOENT);
    CHECK_EQ(open(""), -ENOENT);
    CHECK_EQ(open((const char *)16), -EFAULT);
    for (int fd = -1; fd < 10; fd += 3) {
        CHECK_EQ(close(fd), -EBADF);
        CHECK_EQ(ioctl(fd, 0, 0), -EBADF);
        CHECK_EQ(mapfile(fd, PAGE_SIZE, 0), -EBADF);
    }
}

const struct test thread_tests[] = {
    {"thread_shares_memory", thread_shares_memory},
    {"thread_faults_at_once", thread_faults_at_once},
    {"thread_maps_at_once", thread_maps_at_once},
    {"thread_forks", thread_forks},
    {"thread_fatal_signal_ends_all", thread_fatal_signal_ends_all},
    {"thread_outlives_starter", thread_outlives_starter},
    {"thread_bad_arguments", thread_bad_arguments},
    {"file_bad_arguments", file_bad_arguments},
    {NULL, NULL},
};
