/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card, as programs see it: NET_DEVICE, which one file at a time may have open, and its ioctl commands. */
#ifndef VMEMU_NET_H
#define VMEMU_NET_H

#define NET_DEVICE "/dev/net0"

enum {
    NET_START = 0,      /* style: NET_SINGLE, NET_MULTI, NET_BIG. -EBUSY: started already */
    NET_AREA = 1,       /* struct net_range *: NET_BIG: packets will lie here; the card can reach all of it until NET_STOP */
    NET_TRANSFER = 2,   /* struct net_transfer *: send and receive; number of packets that came back, or -errno */
    NET_STALE = 3,      /* address: let the card write there after it was unmapped; 1: it was refused, 0: it could */
    NET_STOP = 4,       /* nothing is mapped any more; close does the same */
    NET_LEVELS = 5      /* struct net_levels * */
};
enum { NET_SINGLE, NET_MULTI, NET_BIG };    /* a hypercall for each page; one for many; the whole area at once */
enum { NET_BATCH = 32, NET_MOST = 8192, NET_AREA_MOST = 2048 };     /* packets in a transfer; bytes in a packet; pages in an area */

struct net_range {
    unsigned long long start, len;
};

struct net_transfer {
    unsigned long long packets, n;      /* address of n struct net_packet */
};

struct net_packet {
    unsigned long long tx, rx;          /* where it lies, where its echo is wanted: within NET_MOST bytes */
    unsigned int tx_len, rx_room;
    unsigned int rx_len, pad;           /* out: bytes that came back, 0: none */
};

/* Of the hypervisor: calls that each level has finished, and references to pages that its tables hold. */
struct net_levels {
    unsigned long long real, virtual, user, references;
};

#endif
