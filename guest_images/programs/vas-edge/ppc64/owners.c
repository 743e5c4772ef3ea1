/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who opened the window, who pastes, and who is gone. */
#include "edge.h"

static struct bench shared;

static int open_shared(u64 arg)
{
    (void)arg;
    setup(&shared);
    return 0;
}

static u8 stacks[3][16384] __attribute__((aligned(16)));

/* The thread that opened it has ended: the process stands in for it. */
static void test_opener_gone(void)
{
    int tid = thread(open_shared, 0, stacks[0], sizeof stacks[0]);
    check("H11 a thread opens the window and ends", tid > 0 && child_status(tid) == 0);
    u8 *page = absent(PAGE_SIZE);
    request(&shared, NX_WRAP, 64, 64);
    shared.block->crb.source.address = (uptr)page;
    check("H11 its fault is told to the process", submit(&shared) == NX_CC_TRANSLATION);
    *page = 1;
    shared.block->csb = (struct nx_csb){0};
    check("H11 and others go on pasting", submit(&shared) == NX_CC_OK);
    munmap(page, PAGE_SIZE);
}

/* Two threads, one window, faults in both: each has its own status block. */
static int paste_many(u64 seed)
{
    struct nx_block *block = (struct nx_block *)(void *)absent(sizeof *block);
    struct nx nx = shared.nx;
    int wrong = 0;
    for (int i = 0; i < 20; i++) {
        u8 *source = absent(3 * PAGE_SIZE), *target = absent(3 * PAGE_SIZE);
        source[0] = (u8)seed;
        struct nx_job job = {.function = NX_WRAP, .source = source, .source_bytes = 3 * PAGE_SIZE, .target = target, .target_bytes = 3 * PAGE_SIZE};
        wrong += nx_run(&nx, block, &job) != NX_CC_OK || target[0] != (u8)seed;
        munmap(source, 3 * PAGE_SIZE);
        munmap(target, 3 * PAGE_SIZE);
    }
    munmap(block, sizeof *block);
    return wrong || nx.stats.faults == 0;
}

static void test_threads(void)
{
    int first = thread(paste_many, 1, stacks[1], sizeof stacks[1]), second = thread(paste_many, 2, stacks[2], sizeof stacks[2]);
    bool ok = first > 0 && second > 0;
    u32 status;
    for (int i = 0; i < 2; i++)
        ok = wait(&status) > 0 && status == 0 && ok;
    check("threads paste to one window", ok);
}

/* A child's paste is the parent's request: the addresses are the opener's. */
static void test_fork(struct bench *b)
{
    b->block->csb = (struct nx_csb){0};
    request(b, NX_WRAP, 64, 64);
    memset(b->target, 0, 64);
    int pid = fork();
    if (pid == 0) {
        b->block->crb.ccw = NX_WRAP;                    /* its own copy from here on */
        while (!nx_paste(&b->nx, &b->block->crb))
            yield();
        exit(answered(b->block, 2000000));
    }
    nx_touch(b->target, 64, true);                      /* and ours again */
    nx_touch(b->block, sizeof *b->block, true);
    check("H11 fork: the child sees no answer", child_status(pid) == 0);
    check("H11 fork: the opener does", answered(b->block, 2000000) && b->block->csb.cc == NX_CC_OK);
    check("H11 fork: it is the opener's memory", memcmp(b->target, b->source, 64) == 0);
}

static void test_mapping_outlives(void)
{
    struct bench b;
    setup(&b);
    close(b.nx.fd);
    request(&b, NX_WRAP, 64, 64);
    check("H12 closed, but mapped: still takes pastes", submit(&b) == NX_CC_OK);
    munmap(b.nx.paste, PAGE_SIZE);
    int pid = fork();
    if (pid == 0)
        exit(block_cr0(&b.block->crb, b.nx.paste + NX_PASTE_OFFSET));
    check("H12 not mapped either: SIGSEGV", WTERMSIG(child_status(pid)) == SIGSEGV);
    release(&b);
}

/* `ready` is called when all is set up. */
static void close_after_fault(void (*ready)(void))
{
    struct bench b;
    setup(&b);
    u8 *page = absent(PAGE_SIZE);
    request(&b, NX_WRAP, 64, 64);
    b.block->crb.source.address = (uptr)page;
    if (ready)
        ready();
    while (!nx_paste(&b.nx, &b.block->crb))
        yield();
    nx_close(&b.nx);
    check("H12 close: the fault is told", b.block->csb.flags == NX_CSB_V && b.block->csb.cc == NX_CC_TRANSLATION);
    munmap(page, PAGE_SIZE);
    release(&b);
}

/* What is in flight is answered before close returns. */
static void test_close_waits(void)
{
    struct bench b;
    setup(&b);
    request(&b, NX_WRAP, BENCH_BYTES, BENCH_BYTES);
    while (!nx_paste(&b.nx, &b.block->crb))
        yield();
    nx_close(&b.nx);
    check("H12 close: the running request is done", b.block->csb.flags == NX_CSB_V && b.block->csb.cc == NX_CC_OK);
    release(&b);
    close_after_fault(NULL);
}

void one_close(void) { close_after_fault(go); }

/* A window's number is used again at once; each time a fault of the one before was on its way. */
static void test_reuse(void)
{
    bool ok = true;
    for (int i = 0; i < 12; i++) {
        struct bench b;
        setup(&b);
        u8 *page = absent(PAGE_SIZE);
        request(&b, NX_WRAP, 64, 64);
        b.block->crb.source.address = (uptr)page;
        ok = nx_paste(&b.nx, &b.block->crb) && ok;
        nx_close(&b.nx);
        ok = ok && b.block->csb.cc == NX_CC_TRANSLATION && b.block->csb.address == (uptr)page;
        munmap(page, PAGE_SIZE);
        release(&b);
    }
    check("H19 close and open: no fault is another's", ok);
}

/* Processes that end with requests of all kinds in flight, by exit or by a signal. */
static void test_exits(void)
{
    bool ok = true;
    for (int i = 0; i < 6; i++) {
        int pid = fork();
        if (pid == 0) {
            struct bench b;
            setup(&b);
            u8 *page = absent(PAGE_SIZE);
            request(&b, NX_WRAP, i & 1 ? 64 : BENCH_BYTES, BENCH_BYTES);
            if (i & 1)
                b.block->crb.source.address = (uptr)page;
            for (int n = 0; n < 8; n++)
                nx_paste(&b.nx, &b.block->crb);
            if (i & 2)
                *(volatile u8 *)16 = 0;
            exit(0);
        }
        int status = child_status(pid);
        ok = ok && (i & 2 ? WTERMSIG(status) == SIGSEGV : status == 0);
    }
    check("H11 a process ends with requests in flight", ok);
}

void test_owners(void)
{
    test_opener_gone();
    test_threads();
    test_fork(&shared);
    teardown(&shared);
    test_mapping_outlives();
    test_close_waits();
    test_reuse();
    test_exits();
}
