/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * More than one CPU: all of them work, shared memory and atomics, wakeups and interrupts between CPUs, translations and code that
 * another CPU still knows. Every test also runs, and means less, on one CPU.
 */
#include "usertests.h"

#define ALOAD(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define ASTORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define AADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL)

/* What the tasks of a test share; made by begin(). */
struct shared {
    volatile u64 lock, counter, turn, flag, data, cpus, seen[16];
    u64 tasks;
};
static struct shared *shared;
static u64 ncpu;

static void begin(void)
{
    struct sysinfo info;
    CHECK_EQ(sysinfo(&info), 0);
    ncpu = info.boot_ncpu;
    CHECK(ncpu >= 1 && ncpu <= 16);
    shared = (struct shared *)map_pages(1, RW | UPROT_SHARED);
    shared->tasks = ncpu < 4 ? 4 : ncpu;
}

static void move(u64 cpu) { CHECK_EQ(setcpus(1ull << cpu % ncpu), 0); }

/* Spin until *p is v. On one CPU nothing changes while we spin. */
static void wait_for(volatile u64 *p, u64 v)
{
    while (ALOAD(p) != v) {
        if (ncpu == 1)
            yield();
    }
}

static void each_cpu(void)
{
    begin();
    CHECK(getcpu() >= 0 && (u64)getcpu() < ncpu);
    for (u64 i = 0; i < 3 * ncpu; i++) {
        move(i);
        CHECK_EQ(getcpu(), i % ncpu);
        yield();
        CHECK_EQ(getcpu(), i % ncpu);
    }
    CHECK_EQ(setcpus(1ull << ncpu), -EINVAL);
    CHECK_EQ(setcpus(1ull << 40), -EINVAL);
    CHECK_EQ(setcpus(1ull << ncpu | 1), 0);
    CHECK_EQ(getcpu(), 0);
    CHECK_EQ(setcpus(0), 0);
}

/* Nobody goes on before all have come: as many as there are CPUs, so all run at a time. */
static void works(u64 arg)
{
    (void)arg;
    AADD(&shared->counter, 1);
    for (u64 end = time_ns() + 30 * MS; time_ns() < end;)
        __atomic_fetch_or(&shared->cpus, 1ull << getcpu(), __ATOMIC_ACQ_REL);
    while (ALOAD(&shared->counter) < ncpu)
        ;
}

static void all_cpus_work(void)
{
    begin();
    u64 start = time_ns();
    for (u64 i = 0; i < ncpu; i++)
        spawn(works, i);
    reap_good((int)ncpu);
    CHECK_EQ(shared->cpus, (1ull << ncpu) - 1);
    CHECK(ncpu == 1 || time_ns() - start < 30 * MS * ncpu);
}

enum { ROUNDS = 2000 };

static void adds(u64 n)
{
    for (u64 i = 0; i < ROUNDS; i++)
        AADD(&shared->counter, n);
}

static void atomic_adds(void)
{
    u64 sum = 0;
    begin();
    for (u64 i = 1; i <= shared->tasks; i++) {
        spawn(adds, i);
        sum += i * ROUNDS;
    }
    reap_good((int)shared->tasks);
    CHECK_EQ(shared->counter, sum);
}

static void locked_adds(u64 arg)
{
    (void)arg;
    for (u64 i = 0; i < ROUNDS; i++) {
        while (__atomic_exchange_n(&shared->lock, 1, __ATOMIC_ACQUIRE)) {
            if (ncpu == 1)
                yield();
        }
        shared->counter++;          /* two accesses: only the lock makes them one */
        shared->data += shared->counter;
        ASTORE(&shared->lock, 0);
    }
}

static void spin_locks(void)
{
    begin();
    for (u64 i = 0; i < shared->tasks; i++)
        spawn(locked_adds, i);
    reap_good((int)shared->tasks);
    u64 n = shared->tasks * ROUNDS;
    CHECK_EQ(shared->counter, n);
    CHECK_EQ(shared->data, n * (n + 1) / 2);
}

static void pongs(u64 me)
{
    move(me);
    for (u64 i = 0; i < 300; i++) {
        wait_for(&shared->turn, me);
        CHECK_EQ(shared->data, 2 * i + me);
        shared->data++;
        ASTORE(&shared->turn, !me);
    }
}

static void ping_pong(void)
{
    begin();
    spawn(pongs, 0);
    spawn(pongs, 1);
    reap_good(2);
    CHECK_EQ(shared->data, 600);
}

/* Whoever sees a later time of another CPU must not be told an earlier one. */
static void tells_time(u64 me)
{
    move(me);
    for (u64 i = 0; i < 400 / ncpu; i++) {
        wait_for(&shared->turn, me);
        u64 now = time_ns();
        CHECK(now >= shared->data);
        shared->data = now;
        ASTORE(&shared->turn, (me + 1) % ncpu);
    }
}

static void one_time(void)
{
    u64 last = 0;
    begin();
    for (u64 i = 0; i < 300; i++) {
        move(i);
        u64 now = time_ns();
        CHECK(now >= last);
        last = now;
    }
    CHECK_EQ(setcpus(0), 0);        /* or all children would be born on this CPU */
    for (u64 i = 0; i < ncpu; i++)
        spawn(tells_time, i);
    reap_good((int)ncpu);
}

/* ---- wakeups ---- */

static void tells_and_ends(u64 cpu)
{
    move(cpu);
    ASTORE(&shared->data, time_ns());
}

/* A sleeper on an idle CPU is told by the CPU that wakes it, not by the next tick. */
static void idle_wakeup(void)
{
    begin();
    for (u64 i = 0; i < 40; i++) {
        move(i);
        spawn(tells_and_ends, i + 1);
        reap_good(1);
        CHECK(time_ns() - shared->data < 2 * MS);
    }
}

static void spins_for_ever(u64 cpu)
{
    move(cpu);
    setprio(1);
    ASTORE(&shared->flag, 1);
    for (;;)
        ;
}

/* A spinner is interrupted for a more important task of its CPU that another CPU wakes, and when another CPU kills it. */
static void busy_wakeup(void)
{
    begin();
    setprio(6);
    for (u64 i = 0; i < 8; i++) {
        shared->flag = 0;
        move(i + 1);
        int spinner = spawn(spins_for_ever, i);
        while (!ALOAD(&shared->flag))
            sleep_ns(MS);
        move(i);
        int other = spawn(tells_and_ends, i + 1);
        CHECK_EQ(wait(NULL), other);
        CHECK(time_ns() - shared->data < 5 * MS);
        move(i + 1);
        u64 start = time_ns();
        CHECK_EQ(kill(spinner, SIGKILL), 0);
        CHECK_EQ(reap(spinner), SIGKILL);
        CHECK(time_ns() - start < 5 * MS);
    }
}

static void wanders(u64 n)
{
    u8 *p = map_pages(2, RW);
    for (u64 i = 0; i < 6; i++) {
        p[0] = p[PAGE_SIZE] = (u8)(n + i);
        move(mix64(n * 8 + i));
        CHECK_EQ(p[0] + p[PAGE_SIZE], 2 * (u8)(n + i));
    }
    exit((int)(n & 127));
}

/* Address spaces come and go on all CPUs; tables and frames are used again at once. */
static void short_lives(void)
{
    begin();
    u64 codes = 0;
    for (u64 n = 0; n < 96; n++) {
        spawn(wanders, n);
        if (n % 8 != 7)
            continue;
        for (u64 i = 0; i < 8; i++) {
            u32 status;
            CHECK(wait(&status) > 0);
            CHECK(WEXITED(status));
            codes += WEXITSTATUS(status);
        }
    }
    CHECK_EQ(codes, 95 * 96 / 2);
}

/* ---- what another CPU still knows ---- */

/* The same address, another page: a CPU that we come back to must not use the old one. */
static void stale_unmap(void)
{
    begin();
    for (u64 i = 0; i < 4 * ncpu; i++) {
        u64 pages = i % 4 == 3 ? 40 : 3;
        move(i);
        u8 *other = map_pages(pages, RW), *p = map_pages(pages, RW);
        for (u64 n = 0; n < pages; n++)
            p[n * PAGE_SIZE] = 1;
        move(i + 1 + i / ncpu);
        CHECK_EQ(munmap(p, pages * PAGE_SIZE), 0);
        for (u64 n = 0; n < pages; n++)
            other[n * PAGE_SIZE] = 4;           /* takes the frames, so that p gets others */
        u8 *q = map_pages(pages, RW);
        CHECK(q == p);
        for (u64 n = 0; n < pages; n++) {
            CHECK_EQ(q[n * PAGE_SIZE], 0);
            q[n * PAGE_SIZE] = 2;
        }
        move(i);
        for (u64 n = 0; n < pages; n++) {
            CHECK_EQ(p[n * PAGE_SIZE], 2);
            p[n * PAGE_SIZE] = 3;
        }
        move(i + 1);
        for (u64 n = 0; n < pages; n++)
            CHECK_EQ(p[n * PAGE_SIZE] + other[n * PAGE_SIZE], 3 + 4);
        CHECK_EQ(munmap(p, pages * PAGE_SIZE), 0);
        move(i);
        expect_fault(SIGSEGV, (uptr)p, ACCESS_READ, peek, (uptr)p);
        CHECK_EQ(munmap(other, pages * PAGE_SIZE), 0);
    }
}

/* After fork a CPU that could write before must not write the page that the child has, too. */
static void stale_fork(void)
{
    begin();
    volatile u8 *p = map_pages(1, RW);
    for (u64 i = 0; i < 2 * ncpu; i++) {
        shared->flag = 0;
        move(i);
        *p = 7;
        move(i + 1);
        int pid = fork();
        if (pid == 0) {
            move(i + 2);
            wait_for(&shared->flag, 1);
            exit(*p);
        }
        move(i);
        *p = 9;
        ASTORE(&shared->flag, 1);
        CHECK_EQ(reap(pid), 7 << 8);
        CHECK_EQ(*p, 9);
    }
}

static void stale_heap(void)
{
    begin();
    u64 heap = (u64)brk(0);
    for (u64 i = 0; i < 2 * ncpu; i++) {
        move(i);
        CHECK(brk(heap + 4 * PAGE_SIZE) > 0);
        volatile u8 *last = (u8 *)(uptr)(heap + 4 * PAGE_SIZE - 1);
        *last = 5;
        move(i + 1);
        CHECK(brk(heap) > 0);
        CHECK(brk(heap + 4 * PAGE_SIZE) > 0);
        move(i);
        CHECK_EQ(*last, 0);
        CHECK(brk(heap) > 0);
    }
}

/* Every other one of these has the first frame at the other address. */
static void leaves_traces(u64 n)
{
    volatile u8 *p = map_pages(2, RW);
    if (n % 2)
        p[PAGE_SIZE] = 200;
    p[0] = (u8)n;
    move(1);
    CHECK_EQ(p[0], n);
    move(0);
}

/* A task ends here, the next one gets its page table: the CPU that it has left must not take one for the other. */
static void stale_exit(void)
{
    begin();
    move(0);
    for (u64 n = 0; n < 20; n++)
        CHECK_EQ(run_child(leaves_traces, n), 0);
}

/* Two tasks take turns at asking all others to forget, while the CPUs they ask do the same. */
static void maps_and_unmaps(u64 me)
{
    for (u64 i = 0; i < 30; i++) {
        move(me + i);
        volatile u8 *p = map_pages(1, RW);
        *p = (u8)me;
        move(me + i + 1);
        CHECK_EQ(*p, (u8)me);
        CHECK_EQ(munmap((void *)p, PAGE_SIZE), 0);
    }
}

static void flush_storm(void)
{
    begin();
    for (u64 i = 0; i < shared->tasks; i++)
        spawn(maps_and_unmaps, i);
    reap_good((int)shared->tasks);
}

/* ---- code ---- */

static u8 *code;

/* Call what the other CPU wrote. The system call before it synchronizes this CPU's fetches (SDM 3, 8.1.3; sync_code elsewhere). */
static void runs_code(u64 cpu)
{
    move(cpu);
    for (u64 i = 1; i <= 120; i++) {
        wait_for(&shared->flag, 2 * i - 1);
        getcpu();
        sync_code(code, 16);
        CHECK_EQ(((int (*)(void))(void *)code)(), i % 128);
        ASTORE(&shared->flag, 2 * i);
    }
}

/* Code in shared memory is written on one CPU and run on another, and sometimes run by both. */
static void code_elsewhere(void)
{
    begin();
    code = map_pages(1, RWX | UPROT_SHARED);
    u64 others = ncpu == 1 ? 1 : ncpu > 4 ? 3 : ncpu - 1;
    for (u64 cpu = 1; cpu <= others; cpu++) {
        shared->flag = 0;
        CHECK_EQ(setcpus(0), 0);
        int pid = spawn(runs_code, cpu);
        move(0);
        for (u64 i = 1; i <= 120; i++) {
            sync_code(code, make_constant_function(code, (int)(i % 128)));
            if (i % 5 == 0)
                CHECK_EQ(((int (*)(void))(void *)code)(), i % 128);
            ASTORE(&shared->flag, 2 * i - 1);
            wait_for(&shared->flag, 2 * i);
        }
        CHECK_EQ(reap(pid), 0);
    }
}

const struct test smp_tests[] = {
    {"each_cpu", each_cpu},
    {"all_cpus_work", all_cpus_work},
    {"atomic_adds", atomic_adds},
    {"spin_locks", spin_locks},
    {"ping_pong", ping_pong},
    {"one_time", one_time},
    {"idle_wakeup", idle_wakeup},
    {"busy_wakeup", busy_wakeup},
    {"short_lives", short_lives},
    {"stale_unmap", stale_unmap},
    {"stale_fork", stale_fork},
    {"stale_heap", stale_heap},
    {"stale_exit", stale_exit},
    {"flush_storm", flush_storm},
    {"code_elsewhere", code_elsewhere},
    {0},
};
