/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NX gzip engine for programs: a window, one request with its retries, and streams made of requests.
 *
 * The engine works on the program's addresses, but never fetches a page: it says which one is missing, and the program touches
 * what the request names and asks again. What was touched may be gone again by then, so from the second time on it asks for less.
 */
#ifndef NX_USER_H
#define NX_USER_H

#include "nx.h"
#include "user.h"

struct nx_stats {
    u64 jobs;               /* requests that ended otherwise than with a fault */
    u64 accepted;           /* pastes that were taken: credits ... */
    u64 refused;            /* ... and that were not */
    u64 answered;           /* status blocks seen: credits that are, or are about to be, home */
    u64 faults;             /* of them with a translation fault */
    u64 halved;             /* times a request was made smaller */
};

struct nx {
    int fd;
    u8 *paste;
    u64 chunk;              /* most source bytes of a request */
    bool touch_first;       /* make the pages present before the first paste */
    struct nx_stats stats;
};

/* CRB, CSB and CPB as the engine wants them: the CPB follows the CSB, which ends a line of 128 bytes. */
struct nx_block {
    struct nx_crb crb;
    u8 pad[112];
    struct nx_csb csb;
    struct nx_cpb cpb;
} __attribute__((aligned(2048)));
_Static_assert(__builtin_offsetof(struct nx_block, cpb) == 256, "NX Gzip User's Manual 6.8");

/* One request. Source: history (may be empty), then data. The engine decides how much it takes and gives. */
struct nx_job {
    u32 function;
    const u8 *history, *source;
    u64 history_bytes;      /* a multiple of 16 */
    u64 source_bytes, target_bytes;
    u8 *target;
};

int nx_open(struct nx *nx);                 /* 0 or -errno */
void nx_close(struct nx *nx);               /* waits for what is still in flight */

/* ---- one paste ---- */
bool nx_paste(struct nx *nx, const struct nx_crb *crb);                 /* copy and paste.: was it taken? */
int nx_wait(struct nx *nx, const volatile struct nx_csb *csb);          /* 0, or -EAGAIN after a minute */

/* ---- one request: completion code, or -errno. block holds what the engine said, job->source_bytes what was asked for at last ---- */
int nx_run(struct nx *nx, struct nx_block *block, struct nx_job *job);
void nx_touch(const void *start, u64 bytes, bool write);

/* ---- streams in gzip's format: bytes written, or -errno, or -1000 - completion code ---- */
s64 nx_compress(struct nx *nx, struct nx_block *block, const u8 *in, u64 n, u8 *out, u64 room);
/* There must be 16 bytes of anything before `out`: history comes in units of that. */
s64 nx_decompress(struct nx *nx, struct nx_block *block, const u8 *in, u64 n, u8 *out, u64 room);

#endif
