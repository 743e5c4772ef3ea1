/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card's registers and rings (vmemu/devices/netcard.py); everything is big-endian. No DMA in here: bus addresses. */
#ifndef VMEMU_PPC64_NETCARD_H
#define VMEMU_PPC64_NETCARD_H

#include "ppc64.h"

struct descriptor {
    u64 address;
    u32 length, status;
};
enum { DESC_OWNED, DESC_DONE, DESC_BAD };
enum { RING = 256 };                    /* one page of descriptors */

struct ring {
    struct descriptor *d;               /* page aligned */
    u32 tail, seen;                     /* given to the card, and looked at since */
};

enum card_reg { CARD_ID, CARD_CONTROL, CARD_CAUSE, CARD_TX, CARD_RX = 7, CARD_ERROR = 11, CARD_ERROR_AT, CARD_DROPPED };
enum { RING_BASE, RING_SIZE, RING_TAIL, RING_HEAD };    /* registers of a ring, from CARD_TX or CARD_RX on */
enum { CONTROL_ENABLE = 1, CONTROL_COALESCE = 2 };
enum { CAUSE_SENT = 1, CAUSE_RECEIVED = 2, CAUSE_FAILED = 4 };
#define CARD_MAGIC 0x766d656d752d6e63ull

extern struct ring card_tx, card_rx;

void net_init(void);                    /* net.c: /dev/net0 */
bool card_find(void);                   /* there is one, and it is ours from now on */
void card_start(u64 tx, u64 rx);        /* bus addresses of the rings */
void card_stop(void);
void card_add(struct ring *r, u64 address, u32 length);
void card_kick(struct ring *r);         /* the card may look */
u32 card_ready(const struct ring *r);   /* descriptors that it has finished, from `seen` on */
/* Sleep until the card has finished so many of each ring, or a packet was lost to an error. */
void card_wait(u32 tx, u32 rx);

#endif
