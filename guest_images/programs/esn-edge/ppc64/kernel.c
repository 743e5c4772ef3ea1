/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel's front-end makes of notifications. */
#include "edge.h"

enum { CHILDREN = 6 };

static struct apf_info info(void)
{
    struct apf_info i = {0};
    hook(HOOK_APF_INFO, (uptr)&i, 0);
    return i;
}

static void test_sleep(void)
{
    test_begin("a task sleeps until its page is there");
    push_out();
    u64 before = info().own_waits;
    for (u64 i = 0; i < 8; i++)
        check(*cold_page(i) == cold_word(i), "what was in the page");
    check(info().own_waits > before, "more sleeps than before");
    test_end();
}

static void test_system_call(void)
{
    test_begin("the kernel sleeps for a page that a system call needs");
    push_out();
    u64 before = info().own_waits;
    check_equal(sysinfo((struct sysinfo *)(uptr)(cold_page(20) + 8)), 0, "a system call that writes to the page");
    check(*cold_page(20) == cold_word(20), "what was in the page");
    check(info().own_waits > before, "more sleeps than before");
    test_end();
}

static void test_atomic(void)
{
    test_begin("the kernel waits where it must not sleep");
    push_out();
    u64 sleeps = info().own_waits, halts = info().halts;
    check_equal(hook(HOOK_ATOMIC_READ, (uptr)cold_page(30) + 7, 0), (u8)cold_word(30), "the byte");
    check(info().halts > halts, "more halts than before");
    check(info().own_waits == sleeps || info().halts > halts, "as many sleeps as before");
    test_end();
}

/* A word that all see; children wait for it without wanting the CPU much. */
static volatile u64 *go;

static void wait_for_go(void)
{
    setcpus(0);
    while (!*go)
        sleep_ns(200000);
}

static void reap(void)
{
    for (int i = 0; i < CHILDREN; i++) {
        u32 status = 1;
        wait(&status);
        check_equal(status, 0, "a child's status");
    }
}

/* All children touch the same page at the same time: one number for all of them. */
static void test_shared(void)
{
    test_begin("everybody who waits for a page is woken");
    volatile u64 *page = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    page[0] = 77;
    for (int round = 0; round < 2; round++) {
        *go = 0;
        for (int i = 0; i < CHILDREN; i++) {
            if (fork() == 0) {
                wait_for_go();
                exit(page[0] != 77);
            }
        }
        push_out();
        *go = 1;
        reap();
    }
    munmap((void *)(uptr)page, PAGE_SIZE);
    test_end();
}

/*
 * Children touch a page each at the same time, again and again: their numbers come close together, and the last one of a round may
 * come while the kernel is busy with the others. Nobody else's number would make the kernel look again.
 */
static void test_burst(void)
{
    enum { ROUNDS = COLD_PAGES / CHILDREN };
    test_begin("the last number of a burst counts, too");
    volatile u64 *done = go + 1;
    *go = *done = 0;
    for (u64 i = 0; i < CHILDREN; i++) {
        if (fork() != 0)
            continue;
        wait_for_go();
        for (u64 round = 0; round < ROUNDS; round++) {
            while (*go <= round)
                yield();
            if (*cold_page(round * CHILDREN + i) != cold_word(round * CHILDREN + i))
                exit(1);
            __atomic_fetch_add(done, 1, __ATOMIC_RELAXED);
        }
        exit(0);
    }
    push_out();
    for (u64 round = 1; round <= ROUNDS; round++) {
        *go = round;
        for (u64 end = time_ns() + 50000000; *done < round * CHILDREN && time_ns() < end;)
            sleep_ns(50000);
        if (*done < round * CHILDREN) {
            printf("esn-edge: FAIL a number of a burst is lost: %llu of %llu pages have come\n", *done, round * CHILDREN);
            exit(1);                    /* its child sleeps for ever */
        }
    }
    reap();
    test_end();
}

/* A function that fills a page of the program: on demand from its file, and again when it was thrown away. */
__attribute__((noinline, section(".text.cold"), aligned(4096))) static u64 cold_code(u64 x)
{
    __asm__ volatile(".rept 1024\n addi %0, %0, 1\n .endr" : "+r"(x));
    return x;
}

static void test_refill(void)
{
    test_begin("what was thrown away is filled again");
    uptr code = (uptr)cold_code + 2048;
    check_equal((s64)cold_code(5), 1029, "the function's result");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(EXPENDABLE), gpa((void *)code) & ~(PAGE_SIZE - 1), 0, 0), H_SUCCESS, "H_PAGE_INIT");
    push_out();
    check_equal((s64)cold_code(6), 1030, "the function's result after it was thrown away");
    check_equal(hypercall(H_PAGE_INIT, PAGE_STATE(ACTIVE), gpa((void *)code) & ~(PAGE_SIZE - 1), 0, 0), H_SUCCESS, "H_PAGE_INIT");
    test_end();
}

/*
 * Junk in the slot that is filled next: the ring overflows, and numbers are lost while several tasks sleep for pages. No interrupt tells
 * of it, so the kernel looks when a CPU is about to idle; here one wakes now and then.
 */
static void test_overflow(void)
{
    test_begin("the kernel survives an overflow");
    u64 area = (u64)hook(HOOK_SNS, 0, 0), before = info().broadcasts;
    *go = 0;
    for (u64 i = 0; i < CHILDREN; i++) {
        if (fork() == 0) {
            wait_for_go();
            for (u64 k = i * 20; k < i * 20 + 20; k++) {
                if (*cold_page(k) != cold_word(k))
                    exit(1);
            }
            exit(0);
        }
    }
    push_out();
    for (u64 i = 2; i < PAGE_SIZE; i++)
        hook(HOOK_POKE, area + i, 0x55);
    *go = 1;
    for (int i = 0; i < 20; i++)
        sleep_ns(500000);
    reap();
    check(info().broadcasts > before, "a wake-all after the overflow");
    test_end();
}

/* A CPU that has left is not notified; one that is back is. */
static void test_out_of_service(void)
{
    struct sysinfo machine;
    sysinfo(&machine);
    if (machine.boot_ncpu < 2)
        return;
    test_begin("a CPU out of service is left alone");
    u64 vpa = (u64)hook(HOOK_VPA, 1, 0) + VPA_CYCLES;
    check_equal(hook(HOOK_PEEK, vpa, 0), EXPROPRIATION, "byte 0xb9 of a CPU in service");
    check_equal(hook(HOOK_CPU_ONLINE, 1, 0), 0, "taking it out of service");
    check_equal(hook(HOOK_PEEK, vpa, 0), 0, "its byte 0xb9 then");
    check_equal(hook(HOOK_CPU_ONLINE, 1, 1), 0, "putting it back");
    check_equal(hook(HOOK_PEEK, vpa, 0), EXPROPRIATION, "its byte 0xb9 then");
    test_end();
}

void test_kernel(void)
{
    go = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    test_sleep();
    test_system_call();
    test_atomic();
    test_shared();
    test_burst();
    test_refill();
    test_overflow();
    test_out_of_service();
    test_begin("nobody sleeps at the end");
    check_equal((s64)info().sleeping, 0, "tasks that sleep for a page");
    test_end();
}
