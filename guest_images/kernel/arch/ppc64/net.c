/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /dev/net0: packets straight from and to a program's pages. The card reaches a page only while it is mapped in its DMA window, in one of
 * three ways: a call for each page, one call for many, or everything once.
 *
 * The first two pages of the window are the rings. A transfer uses the bus pages behind them, `packets` slots of SPAN pages for sending
 * and as many for receiving, so that the same bus pages mean other pages of memory in every transfer.
 */
#include "file.h"
#include "net.h"
#include "netcard.h"
#include "task.h"
#include "tce.h"

enum { SPAN = NET_MOST / PAGE_SIZE + 1, TX_PAGE = 0, RX_PAGE = 1, FIRST_SLOT = 2, PAGES = 2 * NET_BATCH * SPAN };

static struct dma_window window, big;
static int style = -1;                  /* as started; -1: stopped */
static u64 area_start;                  /* NET_BIG: held, and mapped at their physical addresses in the big window */
static u64 area_pages, area[NET_AREA_MOST];
static struct spinlock net_lock = SPINLOCK("net");

static u64 frames[PAGES];               /* of a transfer, held; 0: none */
static u64 list[TCE_MOST] __attribute__((aligned(4096)));

/* The frame behind a page of the program, present and with these rights; a reference to it. 0: not allowed. */
static u64 hold(struct mm *mm, u64 va, int access)
{
    int prot;
    u64 pa = arch_lookup(mm->root, PAGE_DOWN(va), &prot);
    if (!pa || (access == ACC_WRITE && !(prot & PROT_W))) {
        if (va >= USER_TOP || vm_fault(mm, va, access) != 0)
            return 0;
        pa = arch_lookup(mm->root, PAGE_DOWN(va), &prot);
    }
    frame_get(pa);
    return pa;
}

static void release(void)
{
    for (int i = 0; i < PAGES; i++) {
        if (frames[i])
            frame_put(frames[i]);
        frames[i] = 0;
    }
}

/* ---- mapping ---- */

static u64 tce_of(int i) { return frames[i] ? frames[i] | TCE_READ | (i >= PAGES / 2 ? TCE_WRITE : 0) : 0; }

static s64 map_single(void)
{
    s64 r = 0;
    for (int i = 0; i < PAGES && r == 0; i++)
        if (frames[i])
            r = tce_put(&window, FIRST_SLOT + (u64)i, tce_of(i));
    return r;
}

static s64 map_multi(void)
{
    s64 r = 0;
    for (int i = 0, n; i < PAGES && r == 0; i += n) {
        for (n = 0; n < TCE_MOST && i + n < PAGES; n++)
            list[n] = tce_of(i + n);
        r = tce_put_list(&window, FIRST_SLOT + (u64)i, list, (u64)n);
    }
    return r;
}

static s64 unmap_all(void)
{
    s64 r = 0;
    if (style == NET_MULTI)
        return tce_clear(&window, FIRST_SLOT, PAGES);
    for (int i = 0; i < PAGES && r == 0; i++)
        if (frames[i])
            r = tce_put(&window, FIRST_SLOT + (u64)i, 0);
    return r;
}

static s64 errno_of(s64 h) { return h == 0 ? 0 : h == -44 ? -ENOMEM : -EINVAL; }

/* ---- transfers ---- */

/* The pages of [va, va + len), held, from slot on. Bus address of the first byte, or 0. */
static u64 gather(struct mm *mm, int slot, u64 va, u64 len, int access)
{
    u64 first = PAGE_DOWN(va);
    if (len == 0 || len > NET_MOST || va >= USER_TOP)
        return 0;
    if (style == NET_BIG) {             /* mapped already; a packet that crosses pages finds them wherever they are: it must not */
        u64 i = (first - area_start) / PAGE_SIZE;
        return va < area_start || i >= area_pages || PAGE_DOWN(va + len - 1) != first ? 0 : big.base + area[i] + (va & PAGE_MASK);
    }
    for (int i = 0; first + (u64)i * PAGE_SIZE < va + len; i++) {
        frames[slot * SPAN + i] = hold(mm, first + (u64)i * PAGE_SIZE, access);
        if (!frames[slot * SPAN + i])
            return 0;
    }
    return window.base + (FIRST_SLOT + (u64)slot * SPAN) * PAGE_SIZE + (va & PAGE_MASK);
}

static s64 exchange(struct task *t, struct net_packet *p, u32 n)
{
    u64 tx[NET_BATCH], rx[NET_BATCH];
    s64 error, came = 0;
    for (u32 i = 0; i < n; i++) {
        tx[i] = gather(t->mm, (int)i, p[i].tx, p[i].tx_len, ACC_READ);
        rx[i] = gather(t->mm, NET_BATCH + (int)i, p[i].rx, p[i].rx_room, ACC_WRITE);
        if (!tx[i] || !rx[i])
            return -EFAULT;
    }
    error = style == NET_SINGLE ? map_single() : style == NET_MULTI ? map_multi() : 0;
    if (error) {
        unmap_all();
        return errno_of(error);
    }
    for (u32 i = 0; i < n; i++) {
        card_add(&card_rx, rx[i], p[i].rx_room);
        card_add(&card_tx, tx[i], p[i].tx_len);
    }
    card_kick(&card_rx);
    card_kick(&card_tx);
    card_wait(n, n);
    if (style != NET_BIG)
        error = unmap_all();
    for (u32 i = 0; i < n; i++) {
        const struct descriptor *d = &card_rx.d[(card_rx.seen + i) % RING];
        p[i].rx_len = d->status == DESC_DONE ? d->length : 0;
        came += d->status == DESC_DONE;
    }
    card_tx.seen += n;
    card_rx.seen += n;
    return error ? errno_of(error) : came;
}

static s64 transfer(struct task *t, u64 va)
{
    static struct net_packet packets[NET_BATCH];
    struct net_transfer x;
    if (copy_from_user(t->mm, &x, va, sizeof x) != 0)
        return -EFAULT;
    if (x.n == 0 || x.n > NET_BATCH)
        return -EINVAL;
    if (copy_from_user(t->mm, packets, x.packets, x.n * sizeof *packets) != 0)
        return -EFAULT;
    s64 r = exchange(t, packets, (u32)x.n);
    release();
    return r < 0 ? r : copy_to_user(t->mm, x.packets, packets, x.n * sizeof *packets) != 0 ? -EFAULT : r;
}

/* A driver that lets a page go too soon: the card is told to write where nothing is mapped any more. */
static s64 stale(struct task *t, u64 va)
{
    u64 bus = gather(t->mm, NET_BATCH, va, 64, ACC_WRITE), source = gather(t->mm, 0, va, 64, ACC_READ);
    s64 r = bus && source ? map_single() : -EFAULT;
    if (r == 0)
        r = tce_put(&window, FIRST_SLOT + NET_BATCH * SPAN, 0);
    if (r == 0) {
        card_add(&card_rx, bus, 64);
        card_add(&card_tx, source, 64);
        card_kick(&card_rx);
        card_kick(&card_tx);
        card_wait(1, 1);
        r = card_rx.d[card_rx.seen % RING].status == DESC_BAD;
        card_tx.seen++;
        card_rx.seen++;
        tce_put(&window, FIRST_SLOT, 0);
    }
    release();
    return r;
}

/* ---- start, area, stop ---- */

static s64 start(u64 how)
{
    if (how > NET_BIG)
        return -EINVAL;
    if (window.pages < FIRST_SLOT + PAGES || tce_put(&window, TX_PAGE, kva_to_pa(card_tx.d) | TCE_READ | TCE_WRITE) != 0 ||
        tce_put(&window, RX_PAGE, kva_to_pa(card_rx.d) | TCE_READ | TCE_WRITE) != 0)
        return -EINVAL;
    card_start(window.base + TX_PAGE * PAGE_SIZE, window.base + RX_PAGE * PAGE_SIZE);
    style = (int)how;
    return 0;
}

/* Frames that follow each other take one call; the big window has a page for every page of memory. */
static s64 map_area(struct task *t, u64 va)
{
    struct net_range range;
    u64 n = 0, first = 0;
    s64 r = 0;
    if (copy_from_user(t->mm, &range, va, sizeof range) != 0)
        return -EFAULT;
    if (style != NET_BIG || area_pages || range.start & PAGE_MASK || range.len == 0 || range.len & PAGE_MASK ||
        range.len > NET_AREA_MOST * PAGE_SIZE)
        return -EINVAL;
    area_start = range.start;
    for (u64 i = 0; i < range.len / PAGE_SIZE && r == 0; i++) {
        u64 pa = hold(t->mm, range.start + i * PAGE_SIZE, ACC_WRITE);
        if (!pa)
            return -EFAULT;
        area[area_pages++] = pa;
        if (n && (n == TCE_MOST || pa != first + n * PAGE_SIZE)) {
            r = tce_put_list(&big, first / PAGE_SIZE, list, n);
            n = 0;
        }
        if (n == 0)
            first = pa;
        list[n++] = pa | TCE_READ | TCE_WRITE;
    }
    if (r == 0 && n)
        r = tce_put_list(&big, first / PAGE_SIZE, list, n);
    return errno_of(r);
}

static s64 stop(void)
{
    card_stop();
    s64 r = tce_clear(&window, 0, FIRST_SLOT + PAGES);
    while (area_pages) {
        u64 pa = area[--area_pages];
        s64 one = tce_put(&big, pa / PAGE_SIZE, 0);
        frame_put(pa);
        r = r ? r : one;
    }
    style = -1;
    return errno_of(r);
}

static s64 levels(struct task *t, u64 va)
{
    register u64 r3 __asm__("r3") = H_VMEMU_TCE;
    register u64 r4 __asm__("r4");
    register u64 r5 __asm__("r5");
    register u64 r6 __asm__("r6");
    register u64 r7 __asm__("r7");
    __asm__ volatile(".long 0x44000022" : "+r"(r3), "=r"(r4), "=r"(r5), "=r"(r6), "=r"(r7)
                     :: "r0", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");     /* sc 1 */
    if (r3)
        return -ENOSYS;
    return copy_to_user(t->mm, va, &(struct net_levels){r4, r5, r6, r7}, sizeof(struct net_levels));
}

/* ---- the file ---- */

static bool opened, busy;               /* one file, and one call at a time: buffers are shared */

static bool take(bool *flag)
{
    lock(&net_lock);
    bool free = !*flag;
    *flag = true;
    unlock(&net_lock);
    return free;
}

static s64 net_open(struct file *f)
{
    (void)f;
    if (!card_find() || !tce_window("/ethernet", "ibm,dma-window", &window) || !tce_window("/ethernet", "vmemu,big-dma-window", &big))
        return -ENODEV;
    return take(&opened) ? 0 : -EBUSY;
}

static s64 net_ioctl(struct file *f, u64 command, u64 arg)
{
    struct task *t = current();
    s64 r;
    (void)f;
    if (command == NET_LEVELS)
        return levels(t, arg);
    if (command > NET_LEVELS)
        return -EINVAL;
    if (!take(&busy))
        return -EBUSY;
    if (command == NET_START)
        r = style >= 0 ? -EBUSY : start(arg);
    else if (style < 0)
        r = -EINVAL;
    else if (command == NET_AREA)
        r = map_area(t, arg);
    else if (command == NET_TRANSFER)
        r = transfer(t, arg);
    else if (command == NET_STALE)
        r = style == NET_SINGLE ? stale(t, arg) : -EINVAL;
    else
        r = stop();
    busy = false;
    return r;
}

static s64 net_map(struct file *f, u64 len, u64 offset)
{
    (void)f, (void)len, (void)offset;
    return -ENODEV;
}

static void net_release(struct file *f)
{
    (void)f;
    if (style >= 0)
        stop();
    opened = false;
}

void net_init(void)
{
    static const struct device net = {NET_DEVICE, net_open, net_ioctl, net_map, net_release};
    device_register(&net);
}
