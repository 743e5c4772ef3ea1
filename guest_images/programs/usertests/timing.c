/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Time, sleep, time slices, priorities. */
#include "usertests.h"

static void monotonic_time(void)
{
    u64 start = time_ns(), last = start;
    for (int i = 0; i < 2000; i++) {
        u64 now = time_ns();
        CHECK(now >= last);
        last = now;
    }
    CHECK(last > start);
}

/* Not too early, and not absurdly late. */
static void sleep_times(void)
{
    static const u64 times[] = {0, 1, 1000, MS, 5 * MS, 25 * MS, 300 * MS, 5000 * MS};    /* the last: more than 32 bits */
    for (u32 i = 0; i < ARRAY_LEN(times); i++) {
        u64 start = time_ns();
        sleep_ns(times[i]);
        u64 passed = time_ns() - start;
        CHECK(passed >= times[i]);
        CHECK(passed < times[i] + 500 * MS);
    }
}

/* Times about as long as the kernel needs to fall asleep: the timer must not come too early for it to notice. */
static void short_sleeps(void)
{
    for (u64 ns = 0; ns < 12000; ns += 29) {
        u64 start = time_ns();
        sleep_ns(ns);
        u64 passed = time_ns() - start;
        CHECK(passed >= ns);
        CHECK(passed < 500 * MS);
    }
}

static void sleep_until(u64 time)
{
    u64 now = time_ns();
    if (now < time)
        sleep_ns(time - now);
}

/* Sleepers wake in the order of their times, whatever the order of their births. */
static void sleep_order(void)
{
    static const u64 rank[] = {3, 1, 4, 2, 5};
    int pid[ARRAY_LEN(rank) + 1];
    u64 start = time_ns() + 100 * MS;
    for (u32 i = 0; i < ARRAY_LEN(rank); i++)
        pid[rank[i]] = spawn(sleep_until, start + rank[i] * 60 * MS);
    for (u32 i = 1; i <= ARRAY_LEN(rank); i++)
        CHECK_EQ(wait(NULL), pid[i]);
    CHECK(time_ns() >= start + 300 * MS);
}

/* Spin without a system call for a number of rounds that takes longer than a slice. */
static u64 spin_rounds(u64 n)
{
    u64 x = n;
    for (u64 i = 0; i < n; i++) {
        x += i;
        OPAQUE(x);
    }
    return x;
}

static void spin_for_ever(u64 arg)
{
    for (;;)
        spin_rounds(arg);
}

/* A task that never calls the kernel does not keep others from running. */
static void preemption(void)
{
    share_one_cpu();
    int spinner = spawn(spin_for_ever, 1000);
    u64 start = time_ns();
    for (int i = 0; i < 3; i++) {
        yield();
        sleep_ns(MS);
    }
    CHECK(time_ns() - start < 1000 * MS);
    CHECK_EQ(kill(spinner, SIGKILL), 0);
    CHECK_EQ(reap(spinner), SIGKILL);
}

/* Time in which others ran shows as gaps: at least `wanted` of them until the end. */
static void count_gaps(u64 end)
{
    u32 gaps = 0;
    u64 last = time_ns(), now = last;
    for (; now < end; last = now) {
        now = time_ns();
        gaps += now - last > 5 * MS;
    }
    CHECK(gaps >= 2);
}

/* Three equal spinners share the CPU: each is interrupted and gets it back. */
static void time_slices(void)
{
    share_one_cpu();
    u64 end = time_ns() + 120 * MS;
    for (int i = 0; i < 3; i++)
        spawn(count_gaps, end);
    reap_good(3);
}

static void set_priority(int prio) { CHECK_EQ(setprio(prio), 0); }

static u64 meeting;     /* when both start to compete */

static void low_child(u64 end)
{
    set_priority(1);
    sleep_until(meeting);
    CHECK(time_ns() >= end);        /* it did not run as long as the other wanted to */
}

static void high_child(u64 end)
{
    set_priority(5);
    sleep_until(meeting);
    spin_until(end);
}

static void priorities(void)
{
    share_one_cpu();
    CHECK_EQ(setprio(PRIO_MAX + 1), -EINVAL);
    CHECK_EQ(setprio(-1), -EINVAL);
    set_priority(PRIO_MAX);
    meeting = time_ns() + 200 * MS;
    spawn(low_child, meeting + 50 * MS);
    spawn(high_child, meeting + 50 * MS);
    reap_good(2);
}

static void late_child(u64 time)
{
    sleep_until(time);
    CHECK(time_ns() < time + 5 * MS);   /* half a slice */
}

/* A sleeper of higher priority interrupts a slice. */
static void urgent_wakeup(void)
{
    share_one_cpu();
    set_priority(6);
    u64 time = time_ns() + 103 * MS;
    int child = spawn(late_child, time);
    set_priority(2);
    sleep_until(time - 20 * MS);
    spin_until(time + 20 * MS);
    CHECK_EQ(reap(child), 0);
}

static void runs_at_once(u64 arg)
{
    (void)arg;
    exit(9);
}

/* Whoever lowers its priority below a waiting task's gives way at once. */
static void lowered_priority(void)
{
    share_one_cpu();
    set_priority(5);
    int child = spawn(runs_at_once, 0);
    set_priority(1);
    CHECK_EQ(kill(child, SIGTERM), -ESRCH);     /* it has ended by now */
    CHECK_EQ(reap(child), 9 << 8);
}

/* A yield lets an equal run, not a lower one. */
static void yield_to_equals(void)
{
    share_one_cpu();
    int child = spawn(runs_at_once, 0);
    yield();
    CHECK_EQ(kill(child, SIGTERM), -ESRCH);
    CHECK_EQ(reap(child), 9 << 8);
}

const struct test time_tests[] = {
    {"monotonic_time", monotonic_time},
    {"sleep_times", sleep_times},
    {"short_sleeps", short_sleeps},
    {"sleep_order", sleep_order},
    {"preemption", preemption},
    {"time_slices", time_slices},
    {"priorities", priorities},
    {"urgent_wakeup", urgent_wakeup},
    {"lowered_priority", lowered_priority},
    {"yield_to_equals", yield_to_equals},
    {0},
};
