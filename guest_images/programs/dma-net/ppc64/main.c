/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * dma-net [style=0|1|2] [packets=N] [pages=N] [area=N] [bytes=N] [verify=0]: packets to a network card whose wire is a mirror. What comes back
 * is checked byte for byte: the inverse of what was sent, at the place that was asked for, and nothing beside it.
 * style 0: a hypercall for each page; 1: one for many pages; 2: the whole area once. Without style: all three, then the edges.
 * pages: of the memory that packets lie in, style 0 and 1: more than what the host keeps resident, so that pages come and go. area: the
 * same for style 2, which holds all of them.
 */
#include "user.h"
#include "net.h"

static const char *const names[] = {"single", "multi", "big window"};
static u64 verify, failures;

static u64 fd;

static s64 net(u64 command, u64 arg) { return syscall5(SYS_ioctl, fd, command, arg, 0, 0); }
static s64 transfer(struct net_packet *p, u64 n) { return net(NET_TRANSFER, (uptr)&(struct net_transfer){(uptr)p, n}); }

static void expect(const char *what, s64 got, s64 want)
{
    if (got == want)
        return;
    printf("dma-net: FAIL %s: %lld instead of %lld\n", what, got, want);
    failures++;
}

static u8 *area;
static u64 area_bytes;

struct shape {
    u64 seed, bytes;                    /* bytes 0: packets of all lengths */
    bool within;                        /* a packet must not cross pages */
};

/* Place and length of packet k: two pages for each packet and its echo, all over the area. */
static void place(struct net_packet *p, u64 k, const struct shape *s)
{
    u64 slots = area_bytes / (4 * PAGE_SIZE), h = mix64(s->seed + k), slot = (k * 2654435761u + s->seed) % slots;
    u64 len = s->bytes ? s->bytes : 60 + h % 1455, room = s->within ? PAGE_SIZE - len : 2 * PAGE_SIZE - len;
    u8 *at = area + slot * 4 * PAGE_SIZE;
    p->tx = (uptr)at + (s->bytes ? 0 : (h >> 16) % room);
    p->rx = (uptr)at + 2 * PAGE_SIZE + (s->bytes ? 0 : (h >> 32) % room);
    p->tx_len = (u32)len;
    p->rx_room = (u32)len;
}

static void fill(const struct net_packet *p, u64 k)
{
    u8 *at = (u8 *)(uptr)p->tx;
    u64 x = mix64(k);
    u32 i = 0;
    for (; i < p->tx_len && ((uptr)(at + i) & 7); i++)
        at[i] = (u8)(x >> 8 * (i & 7));
    for (; i + 8 <= p->tx_len; i += 8)
        *(u64 *)(at + i) = x += 0x9e3779b97f4a7c15ull;
    for (; i < p->tx_len; i++)
        at[i] = (u8)(x >> 8 * (i & 7));
}

static bool right(const struct net_packet *p)
{
    const u8 *tx = (const u8 *)(uptr)p->tx, *rx = (const u8 *)(uptr)p->rx;
    if (p->rx_len != p->tx_len)
        return false;
    for (u32 i = 0; i < p->tx_len; i++)
        if ((tx[i] ^ rx[i]) != 0xff)
            return false;
    return true;
}

/* Send `packets` and check them; returns bytes. */
static u64 run(u64 packets, const struct shape *s)
{
    struct net_packet p[NET_BATCH];
    u64 bytes = 0;
    for (u64 k = 0; k < packets; k += NET_BATCH) {
        u64 n = packets - k < NET_BATCH ? packets - k : NET_BATCH;
        for (u64 i = 0; i < n; i++) {
            place(&p[i], k + i, s);
            if (verify || k == 0)
                fill(&p[i], s->seed + k + i);
            bytes += p[i].tx_len;
        }
        expect("packets of a transfer", transfer(p, n), (s64)n);
        for (u64 i = 0; verify && i < n; i++)
            if (!right(&p[i])) {
                printf("dma-net: FAIL packet %llu of %u bytes came back wrong\n", k + i, p[i].tx_len);
                failures++;
            }
    }
    return bytes;
}

static struct net_levels levels(void)
{
    struct net_levels l = {0};
    expect("levels", net(NET_LEVELS, (uptr)&l), 0);
    return l;
}

static void measure(u64 style, u64 packets, u64 pages, u64 bytes)
{
    struct shape s = {.seed = style << 32, .bytes = bytes, .within = style == NET_BIG};
    area_bytes = pages * PAGE_SIZE;
    area = mmap(area_bytes, UPROT_READ | UPROT_WRITE);
    if (!area) {
        printf("dma-net: FAIL no memory for %llu pages\n", pages);
        failures++;
        return;
    }
    expect("start", net(NET_START, style), 0);
    if (style == NET_BIG)
        expect("area", net(NET_AREA, (uptr)&(struct net_range){(uptr)area, area_bytes}), 0);
    struct net_levels before = levels();
    u64 start = time_ns(), done = run(packets, &s), ns = time_ns() - start;
    struct net_levels after = levels();
    if (style == NET_SINGLE)
        expect("a write after unmap is refused", net(NET_STALE, (uptr)area), 1);
    expect("stop", net(NET_STOP, 0), 0);
    expect("references at the end", (s64)levels().references, 0);
    munmap(area, area_bytes);
    if (ns == 0)
        ns = 1;
    printf("dma-net: %s: %llu packets, %llu bytes, %llu packets/s, %llu KB/s; calls: real %llu, virtual %llu, user %llu\n", names[style],
           packets, done, packets * 1000000000 / ns, done * 1000000 / ns, after.real - before.real, after.virtual - before.virtual,
           after.user - before.user);
}

/* What a program must not do: change its window by itself. */
static s64 put_tce(u64 liobn, u64 ioba, u64 tce)
{
    register u64 r3 __asm__("r3") = 0x20;
    register u64 r4 __asm__("r4") = liobn;
    register u64 r5 __asm__("r5") = ioba;
    register u64 r6 __asm__("r6") = tce;
    __asm__ volatile(".long 0x44000022" : "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6)
                     :: "r0", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "ctr", "memory");       /* sc 1 */
    return (s64)r3;
}

static void edges(void)
{
    struct net_packet p = {0};
    expect("a hypercall of a program", put_tce(0x80000000, 0x80000000, 0), -3);     /* H_Privilege */
    expect("open twice", syscall5(SYS_open, (uptr)NET_DEVICE, 0, 0, 0, 0), -EBUSY);
    expect("an unknown style", net(NET_START, 3), -EINVAL);
    expect("an unknown command", net(99, 0), -EINVAL);
    expect("a transfer before the start", transfer(&p, 1), -EINVAL);
    expect("start", net(NET_START, NET_SINGLE), 0);
    expect("start twice", net(NET_START, NET_SINGLE), -EBUSY);
    expect("no packets", transfer(&p, 0), -EINVAL);
    expect("too many packets", transfer(&p, NET_BATCH + 1), -EINVAL);
    expect("an empty packet", transfer(&p, 1), -EFAULT);
    p = (struct net_packet){.tx = ~0ull - 100, .rx = (uptr)&p, .tx_len = 64, .rx_room = 64};
    expect("a packet outside", transfer(&p, 1), -EFAULT);
    expect("stop", net(NET_STOP, 0), 0);
    expect("references after the edges", (s64)levels().references, 0);
}

int main(int argc, char **argv)
{
    u64 style = arg_u64(argc, argv, "style", 3), packets = arg_u64(argc, argv, "packets", 3072);
    u64 pages = arg_u64(argc, argv, "pages", 6144), bytes = arg_u64(argc, argv, "bytes", 0);
    u64 big = arg_u64(argc, argv, "area", pages < 1024 ? pages : 1024);
    verify = arg_u64(argc, argv, "verify", 1);
    s64 opened = syscall5(SYS_open, (uptr)NET_DEVICE, 0, 0, 0, 0);
    if (opened < 0) {
        printf("dma-net: FAIL no network card (%lld): boot with --tce papr\n", opened);
        return 1;
    }
    fd = (u64)opened;
    if (style > NET_BIG)
        edges();
    for (u64 s = NET_SINGLE; s <= NET_BIG; s++)
        if (style > NET_BIG || style == s)
            measure(s, packets, s == NET_BIG ? big : pages, bytes);
    printf("dma-net: %s\n", failures ? "FAIL" : "PASS");
    return failures != 0;
}
