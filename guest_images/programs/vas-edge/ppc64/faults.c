/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Translation faults, and status blocks in places where they cannot be written. */
#include "edge.h"

static volatile u64 signals, signal_at;

static void on_segv(int sig, u64 addr, int access)
{
    (void)sig, (void)access;
    signals++;
    signal_at = addr;
}

/* The source's page is absent: only the kernel answers. */
static void faulting(struct bench *b, u8 *source)
{
    request(b, NX_WRAP, 64, 64);
    b->block->crb.source.address = (uptr)source;
}

static void test_answer(struct bench *b)
{
    u8 *page = absent(PAGE_SIZE);
    faulting(b, page + 5);
    check("fault: told", submit(b) == NX_CC_TRANSLATION);
    check("fault: terminated, nothing stored", b->block->csb.ce == NX_CE_TERMINATED && b->block->csb.count == 0);
    check("fault: the byte that missed", b->block->csb.address == (uptr)page + 5);
    b->block->csb = (struct nx_csb){0};
    check("fault: still, until it is touched", submit(b) == NX_CC_TRANSLATION);
    *page = 1;
    b->block->csb = (struct nx_csb){0};
    check("P12 touched: the same request is done", submit(b) == NX_CC_OK && b->block->csb.count == 64);
    munmap(page, PAGE_SIZE);
    faulting(b, page);
    check("fault: nothing is mapped there", submit(b) == NX_CC_TRANSLATION);
    page = mmap(PAGE_SIZE, UPROT_READ);
    nx_touch(page, 1, false);
    request(b, NX_WRAP, 64, 64);
    b->block->crb.target.address = (uptr)page;
    check("fault: a target that is read-only", submit(b) == NX_CC_TRANSLATION && b->block->csb.address == (uptr)page);
    munmap(page, PAGE_SIZE);
}

static void test_flags(struct bench *b)
{
    static const u8 flags[] = {1, 2, 4, 7};
    u8 *page = absent(PAGE_SIZE);
    for (u64 i = 0; i < ARRAY_LEN(flags); i++) {
        faulting(b, page);
        b->block->crb.csb |= flags[i];
        memset(&b->block->cpb, 0x5a, 16);
        check("H2 fault: flags in the CSB pointer", submit(b) == NX_CC_TRANSLATION && b->block->csb.address == (uptr)page);
        check("H2 fault: nothing behind the CSB", b->block->cpb.in_adler == 0x5a5a5a5a);
    }
    munmap(page, PAGE_SIZE);
}

/* The second one comes when the thread has just served the first. */
static void test_two(struct bench *b)
{
    u8 *page = absent(PAGE_SIZE);
    struct nx_block *first = b->block, *second = (struct nx_block *)(void *)absent(sizeof *second);
    bool ok = true;
    for (u64 gap = 0; gap < 30000 && ok; gap += 3000) {
        b->block = second;
        faulting(b, page);
        b->block = first;
        faulting(b, page);
        ok = submit(b) == NX_CC_TRANSLATION;
        for (u64 end = time_ns() + gap; time_ns() < end;)
            ;
        while (!nx_paste(&b->nx, &second->crb))
            yield();
        ok = answered(second, 5000000) && ok;
    }
    check("H9 two faults, shortly one after the other", ok);
    munmap(page, PAGE_SIZE);
    munmap(second, sizeof *second);
}

static void test_odd(struct bench *b)
{
    u8 *page = absent(PAGE_SIZE);
    faulting(b, page);
    b->block->crb.ccw |= 1;             /* the same function with the other byte limit */
    check("H1 odd function code: its fault is told", submit(b) == NX_CC_TRANSLATION);
    munmap(page, PAGE_SIZE);
}

static void test_csb_absent(struct bench *b)
{
    u8 *pages = absent(2 * PAGE_SIZE);
    struct nx_block *block = b->block;
    request(b, NX_WRAP, 64, 64);
    b->block = (struct nx_block *)(void *)(pages + PAGE_SIZE - __builtin_offsetof(struct nx_block, csb) - sizeof(struct nx_csb));
    block->crb.csb = (uptr)&b->block->csb;              /* the last 16 bytes of a page; its CPB lies on the next one */
    while (!nx_paste(&b->nx, &block->crb))
        yield();
    check("H4 CSB absent: told there", answered(b->block, 5000000) && b->block->csb.cc == NX_CC_TRANSLATION);
    nx_touch(pages, 2 * PAGE_SIZE, true);
    b->block->csb = (struct nx_csb){0};
    while (!nx_paste(&b->nx, &block->crb))
        yield();
    check("H4 CSB absent: then done", answered(b->block, 5000000) && b->block->csb.cc == NX_CC_OK);
    b->block = block;
    munmap(pages, 2 * PAGE_SIZE);
}

/* Where nobody can write: a signal with the address, and the credit comes home all the same. */
static void test_csb_unwritable(struct bench *b, const char *name, u64 csb)
{
    u64 before = signals;
    request(b, NX_WRAP, 64, 64);
    b->block->crb.csb = csb;
    while (!nx_paste(&b->nx, &b->block->crb))
        yield();
    for (u64 end = time_ns() + 5000000; signals == before && time_ns() < end;)
        ;
    check(name, signals == before + 1 && signal_at == csb);
}

static void paste_bad_csb(struct bench *b)
{
    request(b, NX_WRAP, 64, 64);
    b->block->crb.csb = 0x1000;
    while (!nx_paste(&b->nx, &b->block->crb))
        yield();
}

static void test_ignored(struct bench *b)
{
    signal(SIGSEGV, SIG_IGNORE);
    paste_bad_csb(b);
    sleep_ns(1000000);
    check("H13 SIGSEGV ignored: nothing happens", true);
    signal(SIGSEGV, NULL);
    int pid = fork();
    if (pid == 0) {
        struct bench mine;
        setup(&mine);
        paste_bad_csb(&mine);
        for (;;)
            ;                           /* polls a byte that nobody writes */
    }
    check("H13 SIGSEGV not handled: it ends the program", WTERMSIG(child_status(pid)) == SIGSEGV);
}

void test_storm(u64 faults, u64 batch)
{
    static struct nx_block blocks[64];
    struct bench b;
    u64 told = 0, n = 0;
    setup(&b);
    u8 *page = absent(PAGE_SIZE);
    batch = batch < ARRAY_LEN(blocks) ? batch : ARRAY_LEN(blocks);
    while (n < faults) {
        u64 sent = 0;
        for (; sent < batch && n < faults; sent++, n++) {
            blocks[sent].crb = (struct nx_crb){.ccw = NX_WRAP, .csb = (uptr)&blocks[sent].csb, .source = {.bytes = 8, .address = (uptr)page + n % 4096},
                                               .target = {.bytes = 8, .address = (uptr)b.target}};
            blocks[sent].csb = (struct nx_csb){0};
            while (!nx_paste(&b.nx, &blocks[sent].crb))
                yield();
        }
        for (u64 i = 0; i < sent; i++)
            told += answered(&blocks[i], 20000000) && blocks[i].csb.cc == NX_CC_TRANSLATION &&
                    blocks[i].csb.address == (uptr)page + (n - sent + i) % 4096;
    }
    printf("vas-edge: %llu faults, %llu told\n", n, told);
    check("H8 every fault is told, with its own address", told == faults);
    teardown(&b);
}

void test_faults(void)
{
    struct bench b;
    setup(&b);
    test_answer(&b);
    test_flags(&b);
    test_odd(&b);
    test_two(&b);
    test_csb_absent(&b);
    signal(SIGSEGV, on_segv);
    u8 *read_only = mmap(PAGE_SIZE, UPROT_READ);
    test_csb_unwritable(&b, "H4 CSB read-only, never touched: SIGSEGV", (uptr)read_only);
    nx_touch(read_only, 1, false);
    test_csb_unwritable(&b, "H4 CSB read-only: SIGSEGV", (uptr)read_only + PAGE_SIZE - 16);
    test_csb_unwritable(&b, "H4 CSB not mapped: SIGSEGV", 0x1000);
    test_csb_unwritable(&b, "H4 CSB in the kernel: SIGSEGV", 0xc000000000400000ull);
    test_ignored(&b);
    signal(SIGSEGV, NULL);
    teardown(&b);
    check("H13 every credit is home", true);
}

void one_of_faults(u64 which)
{
    struct bench b;
    setup(&b);
    go();
    if (which == ONE_FLAGS)
        test_flags(&b);
    else
        test_two(&b);
    teardown(&b);
}
