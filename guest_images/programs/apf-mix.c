/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apf-mix tasks=N pages=P touches=T think=K seed=X: how long N equal tasks take that each touch T random pages of their share of P
 * pages and compute K rounds of mix64 after each touch. Whether a page is away is a matter of how many may be resident. With one
 * task nobody else can use the time that a page-in takes: what asynchrony costs. With several, the others can: what it brings.
 */
#include "user.h"

enum { WORDS = 512, MAX_TASKS = 64 };

/* One page for all. */
static struct {
    u64 start, ready, end[MAX_TASKS], sum[MAX_TASKS];
} *shared;

static void run(u64 task, u64 pages, u64 touches, u64 think, u64 seed)
{
    u64 *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE), r = mix64(seed ^ task << 32), sum = 0;
    if (!memory)
        exit(2);
    for (u64 i = 0; i < pages; i++)
        memory[i * WORDS] = mix64(task << 32 | i);
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_ACQ_REL);
    while (!__atomic_load_n(&shared->start, __ATOMIC_ACQUIRE))
        sleep_ns(100000);
    for (u64 t = 0; t < touches; t++) {
        r = mix64(r + 1);
        u64 i = r % pages, *p = memory + i * WORDS;
        if (*p != mix64(task << 32 | i))
            exit(3);
        sum ^= *p;
        for (u64 k = 0; k < think; k++)
            sum = mix64(sum + 1);
    }
    shared->sum[task] = sum;
    shared->end[task] = time_ns();
    exit(0);
}

int main(int argc, char **argv)
{
    u64 tasks = arg_u64(argc, argv, "tasks", 4), pages = arg_u64(argc, argv, "pages", 4096), think = arg_u64(argc, argv, "think", 100);
    u64 touches = arg_u64(argc, argv, "touches", 1000), seed = arg_u64(argc, argv, "seed", 1), last = 0, sum = 0;
    bool good = true;
    shared = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    if (!shared || !tasks || tasks > MAX_TASKS || pages < tasks) {
        printf("apf-mix: 1 to %d tasks, at least a page for each\n", MAX_TASKS);
        return 1;
    }
    for (u64 t = 0; t < tasks; t++) {
        int pid = fork();
        if (pid == 0)
            run(t, pages / tasks, touches, think, seed);
        if (pid < 0) {
            printf("apf-mix: no task %llu (%d)\n", t, pid);
            return 1;
        }
    }
    while (__atomic_load_n(&shared->ready, __ATOMIC_ACQUIRE) < tasks)
        sleep_ns(100000);
    u64 start = time_ns();
    __atomic_store_n(&shared->start, start, __ATOMIC_RELEASE);
    for (u32 status; wait(&status) > 0;)
        good &= status == 0;
    for (u64 t = 0; t < tasks; t++) {
        sum ^= shared->sum[t];
        last = shared->end[t] > last ? shared->end[t] : last;
    }
    printf("apf-mix: tasks=%llu touches=%llu think=%llu us=%llu checksum=0x%016llx\n", tasks, touches, think, (last - start) / 1000, sum);
    return !good;
}
