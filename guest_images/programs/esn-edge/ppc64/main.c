/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * esn-edge [pressure=PAGES]: expropriation/subvention notifications at the edges. The kernel lends its hypercalls. Without a front-end
 * (apf=off on the kernel's command line) this program registers areas of its own and plays the kernel; with one it tests that.
 * A line for each test, then the sum. pressure: pages to use until others are away; more than may be resident.
 */
#include "edge.h"

u64 answer[3];
volatile u64 *cold;

static const char *current_test;
static u32 tests, failures, test_failures;
static volatile u64 *pressure;
static u64 pressure_pages;

void test_begin(const char *name)
{
    current_test = name;
    test_failures = 0;
}

void test_end(void)
{
    tests++;
    failures += test_failures != 0;
    printf("esn-edge: %s %s\n", test_failures ? "FAIL" : "PASS", current_test);
}

void check(bool good, const char *what)
{
    if (!good && ++test_failures < 5)
        printf("esn-edge: %s: not %s\n", current_test, what);
}

void check_equal(s64 got, s64 wanted, const char *what)
{
    if (got != wanted && ++test_failures < 5)
        printf("esn-edge: %s: %s is %lld, not %lld\n", current_test, what, got, wanted);
}

s64 hook(u64 op, u64 a, u64 b) { return syscall5(SYS_hook, op, a, b, 0, 0); }

s64 hypercall(u64 token, u64 a, u64 b, u64 c, u64 d)
{
    struct hypercall call = {.token = token, .in = {a, b, c, d}};
    if (hook(HOOK_HCALL, (uptr)&call, 0) != 0) {
        printf("esn-edge: FAIL no hypercalls on this machine\n");
        exit(1);
    }
    memcpy(answer, call.out, sizeof answer);
    return call.status;
}

u64 gpa(const volatile void *p) { return (u64)hook(HOOK_GPA, (uptr)p, 0); }

bool memory_init(u64 pages)
{
    pressure_pages = pages;
    pressure = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    cold = mmap(COLD_PAGES * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    for (u64 i = 0; cold && i < COLD_PAGES; i++)
        *cold_page(i) = cold_word(i);
    return pressure && cold;
}

void push_out(void)
{
    for (int round = 0; round < 2; round++) {
        for (u64 i = 0; i < pressure_pages; i++)
            pressure[i * (PAGE_SIZE / 8)] = i + 1;
    }
}

int main(int argc, char **argv)
{
    struct apf_info info = {0};
    if (hook(HOOK_APF_INFO, (uptr)&info, 0) != 0 || !memory_init(arg_u64(argc, argv, "pressure", 320))) {
        printf("esn-edge: FAIL no memory, or no such kernel\n");
        return 1;
    }
    setcpus(1);
    if (strcmp(info.name, "off") == 0) {
        test_calls();
        test_ring();
    } else {
        test_kernel();
    }
    printf("esn-edge: %s (%u of %u tests failed)\n", failures ? "FAIL" : "PASS", failures, tests);
    return failures != 0;
}
