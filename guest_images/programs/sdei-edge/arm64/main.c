/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * sdei-edge: SDEI's calls and states as a kernel sees them. The tests proper are the kernel's (arch/arm64/sdei_edge*.c), one PASS or
 * FAIL line each; this program runs them on every CPU, sends signals from each CPU to each, and tries to call from user mode.
 */
#include "user.h"

static u64 failures;

static s64 hook(u64 op, u64 argument) { return syscall5(SYS_hook, op, argument, 0, 0, 0); }

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
    bool good = true;
    for (u64 cpu = 0; cpu < ncpu; cpu++)
        good = setcpus(1ull << cpu) == 0 && hook(HOOK_SDEI_TAKE, 0) == 0 && good;
    s64 before = hook(HOOK_SDEI_TAKEN, 0);
    for (u64 from = 0; from < ncpu; from++) {
        setcpus(1ull << from);
        for (u64 to = 0; to < ncpu; to++) {
            good = hook(HOOK_SDEI_SIGNAL, to) == 0 && good;
            for (u64 end = time_ns() + 10000000; hook(HOOK_SDEI_TAKEN, 0) == before && time_ns() < end;)
                ;
            good = hook(HOOK_SDEI_TAKEN, 0) == ++before && good;
        }
    }
    for (u64 cpu = 0; cpu < ncpu; cpu++)
        good = setcpus(1ull << cpu) == 0 && hook(HOOK_SDEI_RELEASE, 0) == 0 && good;
    setcpus(0);
    return good;
}

/* All tests of the kernel on this CPU; false: it has none. */
static bool run_all(void)
{
    s64 failed = 0;
    for (u64 n = 0; (failed = hook(HOOK_SDEI_TEST, n)) >= 0; n++)
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
        printf("sdei-edge: FAIL no SDEI on this machine\n");
        return 1;
    }
    result("signals from every CPU to every CPU", signals(info.boot_ncpu));
    result("no calls from user mode", user_cannot_call());
    printf("sdei-edge: %llu failures\n", failures);
    return failures != 0;
}
