/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * vas-edge: what a program can do to the NX engine's driver, and must not get away with. only=N: one group. storm=N: so many faults
 * instead, batch=N of them in flight at a time.
 */
#include "edge.h"

static int failures, checks;

void check(const char *name, bool ok)
{
    checks++;
    failures += !ok;
    printf("%s  %s\n", ok ? "PASS" : "FAIL", name);
}

void setup(struct bench *b)
{
    *b = (struct bench){.nx = {.chunk = BENCH_BYTES}};
    int error = nx_open(&b->nx);
    if (error) {
        printf("vas-edge: no window (%d)\n", error);
        exit(1);
    }
    b->block = mmap(sizeof *b->block, UPROT_READ | UPROT_WRITE);
    b->source = mmap(BENCH_BYTES, UPROT_READ | UPROT_WRITE);
    b->target = mmap(BENCH_BYTES, UPROT_READ | UPROT_WRITE);
    if (!b->block || !b->source || !b->target) {
        printf("vas-edge: no memory\n");
        exit(1);
    }
    for (u64 i = 0; i < BENCH_BYTES; i++)
        b->source[i] = (u8)(i % 251 < 128 ? 'a' + i % 7 : mix64(i));
    memset(b->target, 0, BENCH_BYTES);
    memset(b->block, 0, sizeof *b->block);
}

void teardown(struct bench *b)
{
    nx_close(&b->nx);
    release(b);
}

void release(struct bench *b)
{
    munmap(b->block, sizeof *b->block);
    munmap(b->source, BENCH_BYTES);
    munmap(b->target, BENCH_BYTES);
}

void request(struct bench *b, u32 function, u64 source_bytes, u64 target_bytes)
{
    nx_touch(b->target, BENCH_BYTES, true);             /* after a fork it is not ours alone, and read-only */
    memset(b->block, 0, sizeof *b->block);
    b->block->crb = (struct nx_crb){
        .ccw = function, .csb = (uptr)&b->block->csb, .source = {.bytes = (u32)source_bytes, .address = (uptr)b->source},
        .target = {.bytes = (u32)target_bytes, .address = (uptr)b->target},
    };
}

int submit(struct bench *b)
{
    while (!nx_paste(&b->nx, &b->block->crb))
        yield();
    return answered(b->block, 20000000) ? b->block->csb.cc : -EAGAIN;
}

bool answered(const struct nx_block *block, u64 ns)
{
    const volatile struct nx_csb *csb = &block->csb;
    u64 nap = 1000, end = time_ns() + ns;
    for (; !(csb->flags & NX_CSB_V) && time_ns() < end; nap += nap / 2)
        sleep_ns(nap);
    return csb->flags & NX_CSB_V;
}

u8 *absent(u64 bytes)
{
    u8 *p = mmap(bytes, UPROT_READ | UPROT_WRITE);
    if (!p) {
        printf("vas-edge: no memory\n");
        exit(1);
    }
    return p;
}

int child_status(int pid)
{
    u32 status;
    for (int got; (got = wait(&status)) != pid;) {
        if (got < 0)
            return -1;
    }
    return (int)status;
}

int block_cr0(const void *crb, void *address)
{
    register const void *from __asm__("r9") = crb;
    register void *to __asm__("r10") = address;
    u64 cr;
    __asm__ volatile("sync\n .long 0x7c20060c | 9 << 11\n .long 0x7c20070d | 10 << 11\n mfcr %0"
                     : "=&r"(cr) : "r"(from), "r"(to) : "cr0", "memory");
    return (int)(cr >> 28);
}

void go(void) { printf("vas-edge: go\n"); }

static void test_one(u64 which)
{
    if (which == ONE_SWITCH)
        one_switch();
    else if (which == ONE_CLOSE)
        one_close();
    else
        one_of_faults(which);
}

int main(int argc, char **argv)
{
    static void (*const groups[])(void) = {test_device, test_paste, test_requests, test_faults, test_owners};
    u64 only = arg_u64(argc, argv, "only", ARRAY_LEN(groups)), storm = arg_u64(argc, argv, "storm", 0), one = arg_u64(argc, argv, "one", 0);
    if (storm)
        test_storm(storm, arg_u64(argc, argv, "batch", 1));
    if (one)
        test_one(one);
    for (u64 i = 0; !storm && !one && i < ARRAY_LEN(groups); i++) {
        if (only == ARRAY_LEN(groups) || only == i)
            groups[i]();
    }
    printf("vas-edge: %s (%d checks, %d failures)\n", failures ? "FAIL" : "PASS", checks, failures);
    return failures != 0;
}
