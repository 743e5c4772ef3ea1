/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device's calls, and pastes that must not be taken. */
#include "edge.h"

void test_device(void)
{
    struct vas_tx_win_open_attr good = {.version = 1, .vas_id = -1}, old = {.version = 2, .vas_id = -1}, far = {.version = 1, .vas_id = 7};
    check("open: no such device", open("/dev/null") == -ENOENT);
    check("open: the name in no memory", open((const char *)16) == -EFAULT);
    int fd = open(NX_DEVICE);
    check("open: a descriptor", fd >= 0);
    check("map: no window yet", mapfile(fd, PAGE_SIZE, 0) == -EINVAL);
    check("ioctl: another command", ioctl(fd, VAS_TX_WIN_OPEN + 1, (uptr)&good) == -EINVAL);
    check("ioctl: attributes in no memory", ioctl(fd, VAS_TX_WIN_OPEN, 16) == -EFAULT);
    check("ioctl: another version", ioctl(fd, VAS_TX_WIN_OPEN, (uptr)&old) == -EINVAL);
    check("ioctl: an instance that is not there", ioctl(fd, VAS_TX_WIN_OPEN, (uptr)&far) == -EINVAL);
    check("ioctl: a window", ioctl(fd, VAS_TX_WIN_OPEN, (uptr)&good) == 0);
    check("ioctl: only one for a file", ioctl(fd, VAS_TX_WIN_OPEN, (uptr)&good) == -EEXIST);
    check("map: more than a page", mapfile(fd, PAGE_SIZE + 1, 0) == -EINVAL);
    check("map: not at 0", mapfile(fd, PAGE_SIZE, PAGE_SIZE) == -EINVAL);
    check("close", close(fd) == 0);
    check("H12 close: twice", close(fd) == -EBADF);
    check("ioctl: closed", ioctl(fd, VAS_TX_WIN_OPEN, (uptr)&good) == -EBADF);
    check("map: closed", mapfile(fd, PAGE_SIZE, 0) == -EBADF);
}

static bool dies(struct bench *b, int sig, u64 copy_from, u64 paste_to)
{
    int pid = fork();
    if (pid == 0) {
        signal(sig, NULL);
        block_cr0((const u8 *)&b->block->crb + copy_from, b->nx.paste + paste_to);
        exit(0);
    }
    return WTERMSIG(child_status(pid)) == sig;
}

/* copy, then a switch to another task and back, then paste. */
static int cr0_after_switch(struct bench *b)
{
    register const void *from __asm__("r9") = &b->block->crb;
    __asm__ volatile("sync\n .long 0x7c20060c | 9 << 11" ::"r"(from) : "memory");
    sleep_ns(1000000);
    register void *to __asm__("r10") = b->nx.paste + NX_PASTE_OFFSET;
    u64 cr;
    __asm__ volatile(".long 0x7c20070d | 10 << 11\n mfcr %0" : "=&r"(cr) : "r"(to) : "cr0", "memory");
    return (int)(cr >> 28);
}

static void test_refused(struct bench *b)
{
    request(b, NX_WRAP, 64, 64);
    check("H15 paste: not at the doorbell", block_cr0(&b->block->crb, b->nx.paste) == 0);
    check("H15 paste: unaligned", dies(b, SIGILL, 0, NX_PASTE_OFFSET + 64));
    check("H15 copy: unaligned", dies(b, SIGILL, 64, NX_PASTE_OFFSET));
    check("H15 paste: no window there", dies(b, SIGSEGV, 0, PAGE_SIZE));
    check("paste: the page is not for loads", ({
        int pid = fork();
        if (pid == 0)
            exit(*(volatile u8 *)b->nx.paste);
        WTERMSIG(child_status(pid)) == SIGBUS;
    }));
    check("a system call does not touch it", write(1, b->nx.paste, 4) == -EFAULT);
    check("H14 paste: what another task's turn came after", cr0_after_switch(b) == 0);
    u64 cr;
    register void *to __asm__("r10") = b->nx.paste + NX_PASTE_OFFSET;
    request(b, NX_WRAP, 64, 64);                        /* all pages are ours again */
    check("H14 paste: taken", block_cr0(&b->block->crb, to) == 2);
    __asm__ volatile(".long 0x7c20070d | 10 << 11\n mfcr %0" : "=&r"(cr) : "r"(to) : "cr0", "memory");
    check("H14 paste: twice", cr >> 28 == 0);
    check("the one that was taken is done", answered(b->block, 1000000) && b->block->csb.cc == NX_CC_OK);
}

static void test_latch(struct bench *b)
{
    request(b, NX_WRAP, 100, 100);
    struct nx_crb kept = b->block->crb;
    register const void *from __asm__("r9") = &b->block->crb;
    register void *to __asm__("r10") = b->nx.paste + NX_PASTE_OFFSET;
    u64 cr;
    do {
        b->block->crb = kept;
        __asm__ volatile("sync\n .long 0x7c20060c | 9 << 11\n std %3, 8(9)\n std %3, 40(9)\n .long 0x7c20070d | 10 << 11\n mfcr %0"
                         : "=&r"(cr) : "r"(from), "r"(to), "r"(~0ull) : "cr0", "memory");
    } while (cr >> 28 == 0);
    b->block->crb.target.address = 0;
    check("H3 changed after the copy: no matter", answered(b->block, 1000000) && b->block->csb.cc == NX_CC_OK && b->block->csb.count == 100);
    check("H3 the target is as at the copy", memcmp(b->target, b->source, 100) == 0);
}

/* More than the engine has room for. They share a status block; that all are done is seen when the window closes. */
static void test_full(struct bench *b)
{
    u64 taken = 0, refused = 0;
    request(b, NX_WRAP, BENCH_BYTES, BENCH_BYTES);
    for (int i = 0; i < 2000 && refused == 0; i++) {
        if (nx_paste(&b->nx, &b->block->crb))
            taken++;
        else
            refused++;
    }
    check("H7 full: refused", refused == 1 && taken > 0);
    check("H7 full: goes on", submit(b) == NX_CC_OK);
}

void test_paste(void)
{
    struct bench b;
    setup(&b);
    test_refused(&b);
    test_latch(&b);
    test_full(&b);
    teardown(&b);
    check("H7 every credit is home", true);
}

void one_switch(void)
{
    struct bench b;
    setup(&b);
    request(&b, NX_WRAP, 64, 64);
    go();
    check("H14 paste: what another task's turn came after", cr0_after_switch(&b) == 0);
    teardown(&b);
}
