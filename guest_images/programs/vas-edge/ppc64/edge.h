/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef EDGE_H
#define EDGE_H

#include "nx_user.h"

/* One line for each property; the whole fails when one does. */
void check(const char *name, bool ok);

/* What a test works with, made anew for each: a window, a block, and pages that have been touched. */
struct bench {
    struct nx nx;
    struct nx_block *block;
    u8 *source, *target;                /* BENCH_BYTES each; the source has a pattern, the target a page of nothing behind it */
};
enum { BENCH_BYTES = 65536 };
void setup(struct bench *b);
void teardown(struct bench *b);         /* close the window and give all back */
void release(struct bench *b);          /* all but the window */

/* A request of function, from the source to the target, with an empty status block. */
void request(struct bench *b, u32 function, u64 source_bytes, u64 target_bytes);
int submit(struct bench *b);            /* paste until it is taken, wait: the completion code, or -EAGAIN */
bool answered(const struct nx_block *block, u64 ns);                    /* is there an answer within that time? */
u8 *absent(u64 bytes);                  /* memory that nobody has touched */
int child_status(int pid);              /* wait for it */
int block_cr0(const void *crb, void *address);      /* copy and paste. there: CR0 */

/* Groups of tests */
void test_device(void);                 /* open, ioctl, map, close */
void test_paste(void);                  /* H3, H14, H15, H7 */
void test_requests(void);               /* H6, H17 and bad blocks */
void test_faults(void);                 /* H2, H4, H10, H13 */
void test_storm(u64 faults, u64 batch); /* H8: round the fault FIFO */
void test_owners(void);                 /* H11, H12, H19: threads, forks, exits, closes */

/* Single tests, for an explorer that starts at the line "vas-edge: go": one=1 flags of the CSB pointer, 2 two faults, 3 a switch between
 * copy and paste, 4 close with a fault on its way. */
enum { ONE_FLAGS = 1, ONE_TWO, ONE_SWITCH, ONE_CLOSE };
void one_of_faults(u64 which);
void one_switch(void);
void one_close(void);
void go(void);

#endif
