/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sdei-edge: SDEI and the async PF service as a kernel sees them. The tests proper are the kernel's (arch/arm64/sdei_edge*.c), one PASS or
 * FAIL line each; this program runs them on every CPU, sends signals from each CPU to each, tries to call from user mode, and takes CPUs
 * out of service while they have been told of pages that are away.
 */
#include "user.h"

static u64 failures;

static s64 hook(u64 op, u64 a, u64 b) { return syscall5(SYS_hook, op, a, b, 0, 0); }

static void result(const char *name, bool good)
{
    printf("sdei-edge: %s %s\n", good ? "PASS" : "FAIL", name);
    failures += !good;
}

/* HVC is undefined in user mode, so a task cannot reach the hypervisor behind the kernel's back. */
static bool user_cannot_call(void)
{
    u32 status = 0;
    int pid = fork();
    if (pid == 0) {
        register u64 x0 __asm__("x0") = 0xc4000020;     /* SDEI_VERSION */
        __asm__ volatile("hvc #0" : "+r"(x0)::"x1", "x2", "x3", "memory");
        exit(0);
    }
    return pid > 0 && wait(&status) == pid && WTERMSIG(status) == SIGILL;
}

/* Each CPU takes the event and signals all; the handlers of all of them count together. */
static bool signals(u64 ncpu)
{
    bool good = hook(HOOK_SDEI_RELEASE, 0, 0) == 0;
    for (u64 cpu = 0; cpu < ncpu; cpu++)
        good = setcpus(1ull << cpu) == 0 && hook(HOOK_SDEI_TAKE, 0, 0) == 0 && good;
    s64 before = hook(HOOK_SDEI_TAKEN, 0, 0);
    for (u64 from = 0; from < ncpu; from++) {
        setcpus(1ull << from);
        for (u64 to = 0; to < ncpu; to++) {
            good = hook(HOOK_SDEI_SIGNAL, to, 0) == 0 && good;
            for (u64 end = time_ns() + 10000000; hook(HOOK_SDEI_TAKEN, 0, 0) == before && time_ns() < end;)
                ;
            good = hook(HOOK_SDEI_TAKEN, 0, 0) == ++before && good;
        }
    }
    for (u64 cpu = 0; cpu < ncpu; cpu++)
        good = setcpus(1ull << cpu) == 0 && hook(HOOK_SDEI_RELEASE, 0, 0) == 0 && good;
    setcpus(0);
    return good;
}

enum { PAGES = 480, SWEEPS = 2, WORDS = 512 };

/* Write pages and find them again, on whichever CPU. */
static void sweep(u64 task)
{
    u64 *memory = mmap(PAGES * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    for (u64 n = 0; memory && n < SWEEPS * PAGES; n++) {
        u64 *p = memory + n % PAGES * WORDS;
        if (n >= PAGES && *p != mix64(task << 32 | (n - PAGES)))
            exit(2);
        *p = mix64(task << 32 | n);
    }
    exit(memory ? 0 : 1);
}

/* Tasks wait for pages while the CPUs that were told leave and come back: all of them go on. Means much with little memory only. */
static bool leaving(u64 ncpu)
{
    struct apf_info info;
    u64 tasks = ncpu + 1;
    bool good = true;
    u32 status;
    for (u64 task = 0; task < tasks; task++) {
        if (fork() == 0)
            sweep(task);
    }
    for (u64 n = 0; n < 20 * (ncpu - 1); n++) {
        u64 cpu = 1 + n % (ncpu - 1);
        good = hook(HOOK_CPU_ONLINE, cpu, 0) == 0 && good;
        sleep_ns(100000);
        good = hook(HOOK_CPU_ONLINE, cpu, 1) == 0 && good;
        sleep_ns(200000);
    }
    for (u64 task = 0; task < tasks; task++)
        good = wait(&status) > 0 && status == 0 && good;
    return hook(HOOK_APF_INFO, (uptr)&info, 0) == 0 && info.sleeping == 0 && info.markers == 0 && good;
}

/* All tests of the kernel on this CPU; false: it has none. */
static bool run_all(void)
{
    s64 failed = 0;
    for (u64 n = 0; (failed = hook(HOOK_SDEI_TEST, n, 0)) >= 0; n++)
        failures += (u64)failed;
    return failed == -EINVAL;
}

int main(int argc, char **argv)
{
    struct sysinfo info;
    bool present = sysinfo(&info) == 0;
    (void)argc, (void)argv;
    for (u64 cpu = 0; present && cpu < info.boot_ncpu; cpu++)
        present = setcpus(1ull << cpu) == 0 && run_all();
    if (!present) {
        printf("sdei-edge: FAIL neither SDEI nor async page faults on this machine\n");
        return 1;
    }
    if (hook(HOOK_SDEI_TAKE, 0, 0) != -ENOSYS)
        result("signals from every CPU to every CPU", signals(info.boot_ncpu));
    result("no calls from user mode", user_cannot_call());
    result("CPUs leave while tasks wait for pages", leaving(info.boot_ncpu));
    printf("sdei-edge: %llu failures\n", failures);
    return failures != 0;
}
