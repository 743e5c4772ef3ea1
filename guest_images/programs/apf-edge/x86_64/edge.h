/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The frame of apf-edge. */
#ifndef EDGE_H
#define EDGE_H

#include "user.h"

#define MS 1000000ull               /* ns */
#define MSR_EN 0x4b564d02ull
#define MSR_INT 0x4b564d06ull
#define MSR_ACK 0x4b564d07ull
enum { REGION_PAGES = 3000, WORDS = 512 };
enum { CURRENT = 1, LEGACY = 2, BOTH = 3 };

struct edge {
    const char *name;
    void (*run)(void);
    int profiles;
};
extern const struct edge edges[];       /* ended by one without a name */

/* What parent and children share. */
struct shared {
    u64 begun;                          /* children that are about to touch their page */
    u64 waits[REGION_PAGES];            /* how often the child that touched it has slept */
};
extern struct shared *shared;
struct cpuid {
    u32 eax, ebx, ecx, edx;
};
extern struct apf_info start;           /* before the test */
extern u64 ncpu, en, vector;            /* EN and INT as the kernel has set them on CPU 0 */
extern bool legacy;                     /* kvm-2010 */

void check(bool ok, const char *what, int line);
#define CHECK(condition) check(condition, #condition, __LINE__)

s64 hook(u64 op, u64 a, u64 b);
s64 wrmsr(u64 msr, u64 value);          /* of this CPU; negative: #GP */
u64 rdmsr(u64 msr);
struct apf_info info(void);
void on_cpu(u64 cpu);
u64 away_page(void);                    /* one that is not resident and has not been used yet */
const void *page_address(u64 page);
void touch(u64 page);                   /* ends the task with 1 when the contents are wrong */
int touch_on(u64 cpu, u64 page);        /* a child that touches a page there; returns when it is about to */
bool until_asleep(u64 n);               /* so many tasks sleep for pages; false: not so within 20 ms */
void all_end(u64 n);                    /* n children end well, and nobody sleeps */
void registers_back(void);

#endif
