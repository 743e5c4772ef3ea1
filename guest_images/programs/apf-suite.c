/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apf-suite pages=N passes=M work=W: how long two tasks take on one CPU, after the experiment that came with the arm64 series for
 * asynchronous page faults. One sweeps memory that is larger than what is resident, so that nearly every page is away when its turn
 * comes. The other, unless work=0, computes W units and touches no memory to speak of. Where a missing page stops the CPU, both
 * times add up; where it stops the task only, the computation fits into the waiting.
 *
 * The sweeping task has the higher priority, for it sleeps most of the time: it goes on as soon as its page is there.
 *
 * In pass p (1..M) the sweep replaces the first word of page i, which must be word(i, p - 1), by word(i, p) = mix64(i << 32 | p). A
 * unit of work is 1024 times acc = mix64(acc + 1), from acc = 0. The checksum printed is the exclusive or of all words that the sweep
 * has read, and of acc after the last unit: it depends on the arguments alone.
 *
 * Published (v4 of the series, one CPU, half of the memory away): 28 s with both become 16.6 s (-40.6 to -42 %), the sweep alone
 * takes 2.8 to 3.5 % longer. There the computation takes 0.7 times as long as the sweep: work=85000 with the defaults and nvme.
 */
#include "user.h"

enum { WORDS = 512, UNIT = 1024 };

/* What the two tell each other; shared memory. */
struct report {
    u64 start;                  /* when both begin; 0: not yet */
    u64 sweep_ns, work_ns;      /* time from the start to the end of each */
    u64 sweep_sum, work_sum;
    bool wrong;
};

static u64 word(u64 page, u64 pass) { return mix64(page << 32 | pass); }

static void sweep(struct report *r, u64 *memory, u64 pages, u64 passes)
{
    for (u64 pass = 1; pass <= passes; pass++) {
        for (u64 i = 0; i < pages; i++) {
            u64 *p = memory + i * WORDS, seen = *p;
            if (seen != word(i, pass - 1)) {
                printf("apf-suite: page %llu pass %llu is 0x%llx\n", i, pass, seen);
                r->wrong = true;
                return;
            }
            r->sweep_sum ^= seen;
            *p = word(i, pass);
        }
    }
    r->sweep_ns = time_ns() - r->start;
}

static void compute(struct report *r, u64 units)
{
    u64 acc = 0;
    for (u64 n = 0; n < units * UNIT; n++)
        acc = mix64(acc + 1);
    r->work_sum = acc;
    r->work_ns = time_ns() - r->start;
}

/* The other task, made before there is memory that a fork would share. Its pid, 0 when there is nothing to do. */
static int start_computing(struct report *r, u64 units)
{
    int pid = units ? fork() : 0;
    if (units && pid == 0) {
        while (!__atomic_load_n(&r->start, __ATOMIC_ACQUIRE))
            sleep_ns(100000);
        compute(r, units);
        exit(0);
    }
    return pid;
}

int main(int argc, char **argv)
{
    u64 pages = arg_u64(argc, argv, "pages", 4096), passes = arg_u64(argc, argv, "passes", 1);
    u64 units = arg_u64(argc, argv, "work", 0);
    struct report *r = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    int pid = r ? start_computing(r, units) : -ENOMEM;
    u64 *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    if (pid < 0 || !memory) {
        printf("apf-suite: no memory for %llu pages\n", pages);
        return 1;
    }
    for (u64 i = 0; i < pages; i++)
        memory[i * WORDS] = word(i, 0); /* so that pass 1 finds pages that are away, not pages that never were */
    setprio(PRIO_DEFAULT + 1);
    __atomic_store_n(&r->start, time_ns(), __ATOMIC_RELEASE);
    sweep(r, memory, pages, passes);
    if (pid && wait(NULL) != pid)
        r->wrong = true;
    u64 total = r->sweep_ns > r->work_ns ? r->sweep_ns : r->work_ns;
    printf("apf-suite: pages=%llu passes=%llu work=%llu sweep_us=%llu work_us=%llu total_us=%llu checksum=0x%016llx\n", pages, passes,
           units, r->sweep_ns / 1000, r->work_ns / 1000, total / 1000, r->sweep_sum ^ r->work_sum);
    return r->wrong;
}
