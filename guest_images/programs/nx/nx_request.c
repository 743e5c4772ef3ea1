/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One request: copy, paste., wait, and what to do about faults. */
#include "nx_user.h"

enum { SPINS = 3000, NAP_NS = 5000, LONGEST_NAP_NS = 1000000, PATIENCE_S = 60, MOST_RETRIES = 500, PAGE_MASK = (int)PAGE_SIZE - 1 };

int nx_open(struct nx *nx)
{
    struct vas_tx_win_open_attr attr = {.version = 1, .vas_id = -1};
    nx->fd = open(NX_DEVICE);
    if (nx->fd < 0)
        return nx->fd;
    s64 r = ioctl(nx->fd, VAS_TX_WIN_OPEN, (uptr)&attr);
    if (r == 0)
        r = mapfile(nx->fd, PAGE_SIZE, 0);
    if (r < 0) {
        close(nx->fd);
        return (int)r;
    }
    nx->paste = (u8 *)(uptr)r;
    return 0;
}

void nx_close(struct nx *nx)
{
    munmap(nx->paste, PAGE_SIZE);
    close(nx->fd);
}

bool nx_paste(struct nx *nx, const struct nx_crb *crb)
{
    register const void *from __asm__("r9") = crb;
    register void *to __asm__("r10") = nx->paste + NX_PASTE_OFFSET;
    u64 cr;
    __asm__ volatile("sync\n"
                     ".long 0x7c20060c | 9 << 11\n"                 /* copy 0, r9 */
                     ".long 0x7c20070d | 10 << 11\n"                /* paste. 0, r10 */
                     "mfcr %0"
                     : "=&r"(cr) : "r"(from), "r"(to) : "cr0", "memory");
    bool taken = cr >> 28 & 2;
    nx->stats.accepted += taken;
    nx->stats.refused += !taken;
    return taken;
}

int nx_wait(struct nx *nx, const volatile struct nx_csb *csb)
{
    u64 end = 0, nap = NAP_NS;
    for (u64 spins = 0; !(csb->flags & NX_CSB_V); spins++) {
        if (spins < SPINS)
            continue;
        u64 now = time_ns();
        end = end ? end : now + PATIENCE_S * 1000000000ull;
        if (now > end)
            return -EAGAIN;
        sleep_ns(nap);
        nap = 2 * nap < LONGEST_NAP_NS ? 2 * nap : LONGEST_NAP_NS;
    }
    __asm__ volatile("lwsync" ::: "memory");            /* the rest of the block, and the target, were written before V */
    nx->stats.answered++;
    return 0;
}

void nx_touch(const void *start, u64 bytes, bool write)
{
    uptr end = (uptr)start + bytes;
    for (uptr at = (uptr)start; at < end; at = (at & ~(uptr)PAGE_MASK) + PAGE_SIZE) {
        volatile u8 *p = (volatile u8 *)at;
        u8 byte = *p;
        if (write)
            *p = byte;
    }
}

static void touch_all(struct nx_block *block, const struct nx_job *job)
{
    nx_touch(block, sizeof *block, true);
    nx_touch(job->history, job->history_bytes, false);
    nx_touch(job->source, job->source_bytes, false);
    nx_touch(job->target, job->target_bytes, true);
}

static struct nx_dde direct(const void *start, u64 bytes) { return (struct nx_dde){.bytes = (u32)bytes, .address = (uptr)start}; }

/* What the engine reads before it starts; cpb.in_* but the length of the history are the caller's. list: two descriptors. */
static void prepare(struct nx_block *block, struct nx_dde *list, const struct nx_job *job)
{
    bool in_a_row = job->history_bytes == 0 || job->history + job->history_bytes == job->source;
    block->crb = (struct nx_crb){.ccw = job->function, .csb = (uptr)&block->csb};
    if (in_a_row) {
        block->crb.source = direct(job->source - job->history_bytes, job->history_bytes + job->source_bytes);
    } else {
        list[0] = direct(job->history, job->history_bytes);
        list[1] = direct(job->source, job->source_bytes);
        block->crb.source = direct(list, job->history_bytes + job->source_bytes);
        block->crb.source.count = 2;
    }
    block->crb.target = direct(job->target, job->target_bytes);
    block->cpb.in_histlen = (u16)(job->history_bytes / 16 << 4);
    block->cpb.out.compress_spbc = 0;
    block->cpb.decompress_spbc = 0;
    block->csb = (struct nx_csb){0};
}

int nx_run(struct nx *nx, struct nx_block *block, struct nx_job *job)
{
    struct nx_dde list[2];
    if (nx->touch_first)
        touch_all(block, job);
    for (int retry = 0; retry <= MOST_RETRIES; retry++) {
        prepare(block, list, job);
        while (!nx_paste(nx, &block->crb))
            yield();                                    /* no credit: others have to finish first */
        int error = nx_wait(nx, &block->csb);
        if (error)
            return error;
        if (block->csb.cc != NX_CC_TRANSLATION) {
            nx->stats.jobs++;
            return block->csb.cc;
        }
        nx->stats.faults++;
        if (retry > 0 && job->source_bytes > PAGE_SIZE) {
            job->source_bytes /= 2;
            nx->stats.halved++;
        }
        nx_touch(list, sizeof list, false);
        touch_all(block, job);
    }
    return -EAGAIN;
}
