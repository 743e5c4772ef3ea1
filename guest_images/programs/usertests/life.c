/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tasks: exit, wait, kill, many of them. */
#include "usertests.h"

static void exit_codes(void)
{
    static const int codes[] = {0, 1, 42, 127, 128, 255, 256, -1, 0x1ff};
    for (u32 i = 0; i < ARRAY_LEN(codes); i++) {
        int pid = fork();
        if (pid == 0)
            exit(codes[i]);
        u32 status = reap(pid);
        CHECK(WEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), codes[i] & 0xff);
    }
}

static void wait_errors(void)
{
    CHECK_EQ(wait(NULL), -ECHILD);
    int pid = fork();
    if (pid == 0) {
        CHECK_EQ(wait(NULL), -ECHILD);      /* its parent's children are not its own */
        exit(3);
    }
    CHECK_EQ(reap(pid), 3 << 8);
    CHECK_EQ(wait(NULL), -ECHILD);
}

/* Children that ended long ago and one that ends while wait sleeps. */
static void wait_early_and_late(void)
{
    int first = fork();
    if (first == 0)
        exit(1);
    sleep_ns(20 * MS);
    CHECK_EQ(reap(first), 1 << 8);
    int second = fork();
    if (second == 0) {
        sleep_ns(20 * MS);
        exit(2);
    }
    CHECK_EQ(reap(second), 2 << 8);
}

static void spin(u64 arg)
{
    (void)arg;
    for (;;)
        __asm__ volatile("" ::: "memory");
}

static void sleep_long(u64 arg) { sleep_ns(arg); }

static void wait_for_child(u64 arg)
{
    int pid = spawn(sleep_long, arg);
    wait(NULL);
    kill(pid, SIGKILL);
}

static void read_forever(u64 arg)
{
    char c;
    (void)arg;
    while (read(0, &c, 1) >= 0)
        ;
}

/* Killed while it spins, sleeps (for ever, too), waits for input. */
static void killed_children(void)
{
    static void (*const jobs[])(u64) = {spin, sleep_long, sleep_long, sleep_long, read_forever};
    static const u64 args[] = {0, 3600ull * 1000 * MS, ~0ull, 1ull << 63, 0};
    for (u32 i = 0; i < ARRAY_LEN(jobs); i++) {
        int pid = spawn(jobs[i], args[i]);
        sleep_ns(30 * MS);
        CHECK_EQ(kill(pid, i & 1 ? SIGTERM : SIGKILL), 0);
        u32 status = reap(pid);
        CHECK(!WEXITED(status));
        CHECK_EQ(WTERMSIG(status), i & 1 ? SIGTERM : SIGKILL);
    }
}

/* Before it ran at all, and while it waits for a child of its own. */
static void killed_early_and_waiting(void)
{
    int pid = spawn(spin, 0);
    CHECK_EQ(kill(pid, SIGKILL), 0);
    CHECK_EQ(WTERMSIG(reap(pid)), SIGKILL);
    pid = spawn(wait_for_child, 100 * MS);
    sleep_ns(30 * MS);
    CHECK_EQ(kill(pid, SIGTERM), 0);
    CHECK_EQ(WTERMSIG(reap(pid)), SIGTERM);
}

static void kill_self(u64 arg)
{
    kill(getpid(), (int)arg);
    exit(1);
}

static void kill_errors(void)
{
    CHECK_EQ(kill(0, SIGKILL), -ESRCH);
    CHECK_EQ(kill(-1, SIGKILL), -ESRCH);
    CHECK_EQ(kill(1 << 30, SIGKILL), -ESRCH);
    CHECK_EQ(kill(getpid(), 0), -EINVAL);
    CHECK_EQ(kill(getpid(), SIGSEGV), -EINVAL);
    CHECK_EQ(kill(getpid(), -1), -EINVAL);
    CHECK_EQ(run_child(kill_self, SIGKILL), SIGKILL);
    CHECK_EQ(run_child(kill_self, SIGTERM), SIGTERM);
    int pid = fork();
    if (pid == 0)
        exit(0);
    sleep_ns(20 * MS);
    CHECK_EQ(kill(pid, SIGKILL), -ESRCH);       /* a zombie */
    CHECK_EQ(reap(pid), 0);
    CHECK_EQ(kill(pid, SIGKILL), -ESRCH);
    CHECK_EQ(raw(SYS_kill, (u64)getpid() | 1ull << 32, SIGKILL, 0), -ESRCH);
    CHECK_EQ(raw(SYS_kill, (u64)getpid(), SIGKILL | 1ull << 32, 0), -EINVAL);
}

/* A task whose parent ended goes on; the frame of the tests sees to it that it ends and gives everything back. */
static void orphans(void)
{
    int pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            spawn(sleep_long, (u64)(10 + 10 * i) * MS);
        exit(0);
    }
    CHECK_EQ(reap(pid), 0);
    CHECK_EQ(wait(NULL), -ECHILD);
}

static u64 chain(u64 seed, int n)
{
    while (n-- > 0)
        seed = mix64(seed + 1);
    return seed;
}

static void compute(u64 n)
{
    u64 volatile page[64];
    for (u32 i = 0; i < 64; i++)
        page[i] = mix64(n << 8 | i);
    yield();
    for (u32 i = 0; i < 64; i++)
        CHECK_EQ(page[i], mix64(n << 8 | i));
    exit((int)(chain(n, 2000) % 251));
}

/* Twenty at once, each with its own registers, stack and result. */
static void many_tasks(void)
{
    enum { N = 20 };
    int pid[N];
    for (u64 n = 0; n < N; n++)
        pid[n] = spawn(compute, n);
    for (int i = 0; i < N; i++) {
        u32 status;
        int ended = wait(&status), n = 0;
        while (n < N && pid[n] != ended)
            n++;
        CHECK(n < N);
        CHECK(WEXITED(status));
        CHECK_EQ(WEXITSTATUS(status), chain((u64)n, 2000) % 251);
        pid[n] = 0;
    }
}

static void sleep_for_ever(void)
{
    sleep_ns(~0ull);
    exit(0);
}

/* Children may die by themselves for want of page tables, so not each of them can be killed. */
static int fork_until_error(int *error)
{
    int n = 0, pid, first = 0, last = 0;
    while ((pid = fork()) >= 0) {
        if (pid == 0)
            sleep_for_ever();
        if (first == 0)
            first = pid;
        last = pid;
        n++;
    }
    *error = pid;
    for (pid = first; pid <= last; pid++)
        kill(pid, SIGKILL);
    for (int i = 0; i < n; i++)
        CHECK(wait(NULL) > 0);
    CHECK_EQ(wait(NULL), -ECHILD);
    return n;
}

/* As many as there can be; then an error, and the next time as many again. */
static void too_many_tasks(void)
{
    share_one_cpu();        /* how many die by themselves depends on who runs */
    int error = 0, n = fork_until_error(&error);
    CHECK(n >= 10);
    CHECK(error == -EAGAIN || error == -ENOMEM);
    CHECK_EQ(fork_until_error(&error), n);
    CHECK_EQ(fork_until_error(&error), n);
}

/* Many short lives: nothing is used up. */
static void fork_and_exit(void)
{
    for (int i = 0; i < 300; i++) {
        int pid = fork();
        if (pid == 0)
            exit(i);
        CHECK_EQ(reap(pid), (u32)(i & 0xff) << 8);
    }
}

const struct test task_tests[] = {
    {"exit_codes", exit_codes},
    {"wait_errors", wait_errors},
    {"wait_early_and_late", wait_early_and_late},
    {"killed_children", killed_children},
    {"killed_early_and_waiting", killed_early_and_waiting},
    {"kill_errors", kill_errors},
    {"orphans", orphans},
    {"many_tasks", many_tasks},
    {"too_many_tasks", too_many_tasks},
    {"fork_and_exit", fork_and_exit},
    {0},
};
