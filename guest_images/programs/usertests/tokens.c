/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel's table of tasks that sleep for pages, driven by hand: no hypervisor takes part. A sleeper cannot be killed, so a test
 * that goes wrong here may end the run as "stalled".
 */
#include "usertests.h"

enum { FIRST = 0x1000000, MAX_ASLEEP = 12 };     /* tokens that no hypervisor of these tests gives out */

static u64 ncpu;
static struct {
    volatile u64 done, early;
} *shared;

static s64 hook(u64 op, u64 a, u64 b) { return raw(SYS_hook, op, a, b); }
static void wake(u64 token) { CHECK_EQ(hook(HOOK_TOKEN_WAKE, token, 0), 0); }

static struct apf_info info(void)
{
    struct apf_info i;
    CHECK_EQ(hook(HOOK_APF_INFO, (uptr)&i, 0), 0);
    return i;
}

static void move(u64 cpu) { CHECK_EQ(setcpus(1ull << cpu % ncpu), 0); }

static void begin(void)
{
    struct sysinfo s;
    CHECK_EQ(sysinfo(&s), 0);
    ncpu = s.boot_ncpu;
    shared = (void *)map_pages(1, RW | UPROT_SHARED);
}

/* Until so many more than before wait for tokens. */
static void until_asleep(u64 n)
{
    while (info().sleeping != n)
        sleep_ns(MS / 10);
}

static void sleeps(u64 token)
{
    CHECK_EQ(hook(HOOK_TOKEN_WAIT, token, 0), 1);
    __atomic_fetch_add(&shared->done, 1, __ATOMIC_ACQ_REL);
}

/* A wake that comes first is remembered, once; then one comes in time. */
static void token_early(void)
{
    begin();
    struct apf_info before = info();
    for (u64 t = FIRST; t < FIRST + 200; t++)
        wake(t);
    wake(FIRST + 7);
    CHECK_EQ(info().markers - before.markers, 200);
    for (u64 t = FIRST + 200; t-- > FIRST;)
        CHECK_EQ(hook(HOOK_TOKEN_WAIT, t, 0), 0);
    struct apf_info after = info();
    CHECK_EQ(after.markers, before.markers);
    CHECK_EQ(after.early - before.early, 200);
    CHECK_EQ(after.waits, before.waits);
    spawn(sleeps, FIRST + 7);
    until_asleep(before.sleeping + 1);
    wake(FIRST + 7);
    reap_good(1);
}

/* All that sleep on one token, and nobody else. The time asleep is the task's own. */
static void counts_time(u64 token)
{
    struct apf_info before = info();
    u64 start = time_ns();
    sleeps(token);
    u64 all = time_ns() - start;
    struct apf_info after = info();
    CHECK_EQ(before.own_waits, 0);
    CHECK_EQ(after.own_waits, 1);
    CHECK(after.own_ns <= all && after.own_ns > all / 2);
}

static void token_several(void)
{
    begin();
    for (u64 i = 0; i < 6; i++)
        spawn(counts_time, FIRST + i % 2);
    until_asleep(6);
    wake(FIRST + 1);
    reap_good(3);
    CHECK_EQ(info().sleeping, 3);
    wake(FIRST);
    reap_good(3);
    CHECK_EQ(info().markers, 0);
}

/* ---- against a model ---- */

static struct {
    u64 asleep[16], n;      /* asleep[cpu] of this token */
    bool marker;
} model[8];

static u64 model_asleep(void)
{
    u64 n = 0;
    for (u64 t = 0; t < ARRAY_LEN(model); t++)
        n += model[t].n;
    return n;
}

static void model_wait(u64 t, u64 cpu)
{
    if (model[t].marker) {
        move(cpu);
        CHECK_EQ(hook(HOOK_TOKEN_WAIT, FIRST + t, 0), 0);
        model[t].marker = false;
    } else if (model_asleep() < MAX_ASLEEP) {
        move(cpu);
        spawn(sleeps, FIRST + t);           /* born here, and it may not leave: told here */
        model[t].asleep[cpu]++;
        model[t].n++;
    }
}

static void model_wake(u64 t)
{
    wake(FIRST + t);
    if (model[t].n == 0)
        model[t].marker = true;
    reap_good((int)model[t].n);
    memset(&model[t].asleep, 0, sizeof model[t].asleep);
    model[t].n = 0;
}

static void model_wake_all(u64 cpu)
{
    move(cpu);
    CHECK_EQ(hook(HOOK_TOKEN_WAKE_ALL, 0, 0), 0);
    for (u64 t = 0; t < ARRAY_LEN(model); t++) {
        reap_good((int)model[t].asleep[cpu]);
        model[t].n -= model[t].asleep[cpu];
        model[t].asleep[cpu] = 0;
    }
}

static void token_model(void)
{
    begin();
    for (u64 i = 0; i < 400; i++) {
        u64 r = mix64(i), t = r % ARRAY_LEN(model), cpu = (r >> 8) % ncpu, markers = 0;
        if (r >> 20 & 1)
            model_wait(t, cpu);
        else if ((r >> 24 & 7) == 0)
            model_wake_all(cpu);
        else
            model_wake(t);
        until_asleep(model_asleep());
        for (u64 k = 0; k < ARRAY_LEN(model); k++)
            markers += model[k].marker;
        CHECK_EQ(info().markers, markers);
    }
    for (u64 t = 0; t < ARRAY_LEN(model); t++) {
        if (model[t].marker)
            model_wait(t, 0);
        else if (model[t].n)
            model_wake(t);
    }
    CHECK_EQ(info().sleeping + info().markers, 0);
}

/* ---- races ---- */

enum { RACES = 60 };                     /* all markers of all pairs at a time are less than there can be */

static u64 waiters_cpu(u64 pair) { return ncpu == 1 ? 0 : 1 + pair % (ncpu - 1); }

static void waits_for_many(u64 pair)
{
    u64 early = 0;
    move(waiters_cpu(pair));
    for (u64 i = 0; i < RACES; i++) {
        early += !hook(HOOK_TOKEN_WAIT, FIRST + pair * RACES + i, 0);
        for (volatile u64 k = mix64(i * 3 + pair) % 600; k; k--)
            ;
    }
    __atomic_fetch_add(&shared->early, early, __ATOMIC_ACQ_REL);
}

static void wakes_many(u64 pair)
{
    move(0);
    for (u64 i = 0; i < RACES; i++) {
        wake(FIRST + pair * RACES + i);
        for (volatile u64 k = mix64(i * 5 + pair) % 600; k; k--)
            ;
    }
}

/* Wakes and waits of the same tokens, each in its own order of time: every one finds its other. */
static void race(void)
{
    struct apf_info before = info();
    shared->early = 0;
    move(waiters_cpu(0));               /* CPU 0 is for those who may have to spin until a sleeper comes */
    for (u64 i = 0; i < 4; i++) {
        spawn(waits_for_many, i);
        spawn(wakes_many, i);
    }
    reap_good(8);
    struct apf_info after = info();
    CHECK_EQ(after.sleeping, 0);
    CHECK_EQ(after.markers, 0);
    CHECK_EQ(after.early - before.early, shared->early);
    CHECK_EQ(after.early - before.early + after.waits - before.waits, 4 * RACES);
}

static void token_race(void)
{
    begin();
    race();
}

/* Markers run out: who cannot leave one looks again until the sleeper is there. One CPU would look for ever. */
static void token_few_markers(void)
{
    begin();
    if (ncpu == 1)
        return;
    for (u64 markers = 0; markers < 2; markers++) {
        CHECK_EQ(hook(HOOK_MARKERS, markers, 0), 0);
        race();
    }
    CHECK(info().spins > 0);
    CHECK_EQ(hook(HOOK_MARKERS, ~0ull, 0), 0);
}

/* ---- tokens that several tasks were told, who come one after the other ---- */

static void comes_late(u64 n)
{
    move(n);
    hook(HOOK_TOKEN_WAIT, FIRST, 400000 + 200000 * n);
}

static void token_shared(void)
{
    begin();
    u64 latecomers = ncpu - 1;
    for (u64 n = 1; n <= latecomers; n++)
        spawn(comes_late, n);
    move(0);
    sleep_ns(100000);
    for (u64 end = time_ns() + 700000; time_ns() < end;)        /* some sleep by now, some are on their way */
        ;
    CHECK_EQ(hook(HOOK_TOKEN_WAKE_SHARED, FIRST, 0), 0);
    reap_good((int)latecomers);
    CHECK_EQ(info().markers, 0);
    CHECK_EQ(info().sleeping, 0);
    spawn(sleeps, FIRST);                       /* the number is new again */
    until_asleep(1);
    CHECK_EQ(hook(HOOK_TOKEN_WAKE_SHARED, FIRST, 0), 0);
    reap_good(1);
}

/* ---- where nobody may sleep ---- */

static void halts(u64 cpu)
{
    move(cpu);
    CHECK_EQ(hook(HOOK_TOKEN_HALT, FIRST, 0), 1);
    CHECK_EQ(getcpu(), cpu);
}

/* Another CPU wakes it, and the halted one goes on where it was: nothing else has run there. */
static void token_halt(void)
{
    begin();
    if (ncpu == 1)
        return;
    u64 before = info().halts;
    for (u64 i = 0; i < 6; i++) {
        u64 cpu = 1 + i % (ncpu - 1);
        CHECK_EQ(setcpus(0), 0);
        spawn(halts, cpu);
        move(0);
        until_asleep(1);
        sleep_ns(i * MS / 3);
        wake(FIRST);
        reap_good(1);
    }
    CHECK_EQ(info().halts - before, 6);
}

/* ---- CPUs that go and come back ---- */

static void stays(u64 cpu)
{
    move(cpu);
    __atomic_fetch_add(&shared->done, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(&shared->early, __ATOMIC_ACQUIRE) == 0)
        sleep_ns(MS / 20);
}

static void cpu_leaves(void)
{
    begin();
    CHECK_EQ(hook(HOOK_CPU_ONLINE, ncpu, 0), -EINVAL);
    CHECK_EQ(hook(HOOK_CPU_ONLINE, 1000, 1), -EINVAL);
    CHECK_EQ(hook(HOOK_CPU_ONLINE, 0, 1), 0);
    for (u64 i = 0; i < 2 * ncpu && ncpu > 1; i++) {
        u64 cpu = i % ncpu;
        shared->done = shared->early = 0;
        CHECK_EQ(setcpus(0), 0);
        spawn(stays, cpu);
        spawn(stays, i);
        while (shared->done < 2)
            sleep_ns(MS / 10);
        if (i & 1)
            move(cpu);                          /* or it takes the CPU away from under itself */
        CHECK_EQ(hook(HOOK_CPU_ONLINE, cpu, 0), 0);
        CHECK((u64)getcpu() != cpu);
        CHECK_EQ(hook(HOOK_CPU_ONLINE, cpu, 0), 0);
        CHECK_EQ(setcpus(1ull << cpu), -EINVAL);
        sleep_ns(MS);
        shared->early = 1;
        reap_good(2);
        CHECK_EQ(hook(HOOK_CPU_ONLINE, cpu, 1), 0);
        move(cpu);
        CHECK_EQ(getcpu(), cpu);
    }
    CHECK_EQ(setcpus(0), 0);
    for (u64 cpu = 1; cpu < ncpu; cpu++)
        CHECK_EQ(hook(HOOK_CPU_ONLINE, cpu, 0), 0);
    CHECK_EQ(hook(HOOK_CPU_ONLINE, 0, 0), -EINVAL);     /* the last */
    for (u64 cpu = 1; cpu < ncpu; cpu++)
        CHECK_EQ(hook(HOOK_CPU_ONLINE, cpu, 1), 0);
    move(ncpu - 1);
}

const struct test token_tests[] = {
    {"token_early", token_early},
    {"token_several", token_several},
    {"token_model", token_model},
    {"token_race", token_race},
    {"token_few_markers", token_few_markers},
    {"token_shared", token_shared},
    {"token_halt", token_halt},
    {"cpu_leaves", cpu_leaves},
    {0},
};
