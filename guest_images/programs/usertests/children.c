/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Checks, children and expected faults. */
#include "usertests.h"

static const char *base_name(const char *path)
{
    const char *name = path;
    for (; *path; path++) {
        if (*path == '/')
            name = path + 1;
    }
    return name;
}

void check_failed(const char *file, int line, const char *what)
{
    printf("  %s:%d: not so: %s\n", base_name(file), line, what);
    exit(1);
}

void equal_failed(const char *file, int line, const char *what, s64 got, s64 wanted)
{
    printf("  %s:%d: %s is %lld (0x%llx), not %lld (0x%llx)\n", base_name(file), line, what, got, (u64)got, wanted, (u64)wanted);
    exit(1);
}

int spawn(void (*f)(u64 arg), u64 arg)
{
    int pid = fork();
    if (pid == 0) {
        f(arg);
        exit(0);
    }
    CHECK(pid > 0);
    return pid;
}

u32 reap(int pid)
{
    u32 status = ~0u;
    CHECK_EQ(wait(&status), pid);
    return status;
}

void reap_good(int n)
{
    for (int i = 0; i < n; i++) {
        u32 status = ~0u;
        CHECK(wait(&status) > 0);
        CHECK_EQ(status, 0);
    }
}

u32 run_child(void (*f)(u64 arg), u64 arg) { return reap(spawn(f, arg)); }

/* ---- expected faults ---- */

enum { AS_EXPECTED = 77, OTHER_FAULT = 78, NO_FAULT = 79 };

static struct {
    int sig, access;
    u64 low, high;
    void (*f)(u64 arg);
} expected;

static void on_fault(int sig, u64 addr, int access)
{
    if (sig == expected.sig && addr >= expected.low && addr <= expected.high &&
        (expected.access < 0 || access == expected.access))
        exit(AS_EXPECTED);
    printf("  signal %d at %llx, access %d; expected %d in %llx..%llx, access %d\n", sig, addr, access, expected.sig, expected.low,
           expected.high, expected.access);
    exit(OTHER_FAULT);
}

static void faulting_child(u64 arg)
{
    CHECK_EQ(signal(SIGSEGV, on_fault), 0);
    CHECK_EQ(signal(SIGBUS, on_fault), 0);
    CHECK_EQ(signal(SIGILL, on_fault), 0);
    expected.f(arg);
    printf("  no signal %d in %llx..%llx, access %d\n", expected.sig, expected.low, expected.high, expected.access);
    exit(NO_FAULT);
}

void expect_fault_in(int sig, u64 low, u64 high, int access, void (*f)(u64 arg), u64 arg)
{
    expected.sig = sig;
    expected.access = access;
    expected.low = low;
    expected.high = high;
    expected.f = f;
    CHECK_EQ(run_child(faulting_child, arg), AS_EXPECTED << 8);
}

void expect_fault(int sig, u64 addr, int access, void (*f)(u64 arg), u64 arg)
{
    expect_fault_in(sig, addr, addr, access, f, arg);
}

/* ---- small helpers ---- */

u64 free_pages(void)
{
    struct sysinfo info = {0};
    CHECK_EQ(sysinfo(&info), 0);
    return info.free_pages;
}

u8 *map_pages(u64 n, int prot)
{
    u8 *p = mmap(n * PAGE_SIZE, prot);
    CHECK(p != NULL);
    return p;
}

void spin_until(u64 time)
{
    while (time_ns() < time)
        ;
}
