/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "netcard.h"
#include "task.h"

static struct descriptor tx_ring[RING] __attribute__((aligned(4096)));
static struct descriptor rx_ring[RING] __attribute__((aligned(4096)));
struct ring card_tx = {.d = tx_ring}, card_rx = {.d = rx_ring};

static volatile u32 *regs;              /* two words each: the bus moves no more at once, and most need but the lower one */
static struct spinlock card_lock = SPINLOCK("netcard");

static u32 get(int reg) { return regs[2 * reg + 1]; }
static void set(int reg, u32 value) { regs[2 * reg + 1] = value; }

static void set_wide(int reg, u64 value)
{
    regs[2 * reg] = (u32)(value >> 32);
    regs[2 * reg + 1] = (u32)value;
}

static void interrupt(u32 xirr)
{
    lock(&card_lock);
    set(CARD_CAUSE, get(CARD_CAUSE));
    wakeup(&card_lock);
    unlock(&card_lock);
    xics_eoi(xirr);
}

bool card_find(void)
{
    u64 base, size;
    if (regs)
        return true;
    if (!fdt_compatible_reg("vmemu,netcard", 0, &base, &size) || base < IO_BASE || base >= IO_BASE + (1ull << 30))
        return false;
    volatile u32 *found = pa_to_kva(base);
    u32 len;
    const u8 *source = fdt_prop("/ethernet", "interrupts", &len);
    if (((u64)found[0] << 32 | found[1]) != CARD_MAGIC || !source || len < 4)
        return false;
    regs = found;
    return xics_connect((u32)source[0] << 24 | (u32)source[1] << 16 | (u32)source[2] << 8 | source[3], interrupt);
}

static void start_ring(struct ring *r, int first, u64 address)
{
    memset(r->d, 0, PAGE_SIZE);
    r->tail = r->seen = 0;
    set_wide(first + RING_BASE, address);
    set(first + RING_SIZE, RING);
}

void card_start(u64 tx, u64 rx)
{
    start_ring(&card_tx, CARD_TX, tx);
    start_ring(&card_rx, CARD_RX, rx);
    __asm__ volatile("sync" ::: "memory");
    set(CARD_CONTROL, CONTROL_ENABLE | CONTROL_COALESCE);
}

void card_stop(void)
{
    set(CARD_CONTROL, 0);
    set(CARD_CAUSE, CAUSE_SENT | CAUSE_RECEIVED | CAUSE_FAILED);
}

void card_add(struct ring *r, u64 address, u32 length)
{
    r->d[r->tail % RING] = (struct descriptor){address, length, DESC_OWNED};
    r->tail++;
}

void card_kick(struct ring *r)
{
    __asm__ volatile("sync" ::: "memory");              /* descriptors, and TCEs (LoPAR 5.4.2: no call implies one) */
    set((r == &card_tx ? CARD_TX : CARD_RX) + RING_TAIL, r->tail % RING);
}

u32 card_ready(const struct ring *r)
{
    u32 n = 0;
    while (r->seen + n != r->tail && *(volatile u32 *)&r->d[(r->seen + n) % RING].status != DESC_OWNED)
        n++;
    return n;
}

void card_wait(u32 tx, u32 rx)
{
    lock(&card_lock);
    while (card_ready(&card_tx) < tx || card_ready(&card_rx) < rx) {
        for (u32 i = 0; i < card_ready(&card_tx); i++)  /* what was not sent does not come back */
            if (card_tx.d[(card_tx.seen + i) % RING].status == DESC_BAD)
                goto out;
        sleep_on(&card_lock, &card_lock, FOREVER, false);
    }
out:
    unlock(&card_lock);
}
