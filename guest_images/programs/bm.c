/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bm fault=F work=W pages=P ms=T seed=X: the measurement with which asynchronous page faults were once argued for (Gleb Natapov's
 * posting of their seventh version to the KVM list, October 2010), made anew. F tasks touch random pages of memory, P pages in all,
 * that had better be several times what is resident; W tasks compute. After T ms of virtual time it prints how much was computed:
 * what CPUs get done while others wait for pages.
 *
 * work: blocks of 1024 rounds of mix64, all computing tasks together. touches: pages touched by the others in that time.
 */
#include "user.h"

enum { WORDS = 512, ROUNDS = 1024, MAX_TASKS = 32 };

/* One page for all. */
static struct {
    u64 ready, end;                     /* tasks that have their memory; when to stop (ns), 0: not yet known */
    u64 done[MAX_TASKS];
} *shared;

static u64 load(const u64 *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

/* All tasks have filled their memory: from here on time counts. */
static u64 wait_for_start(void)
{
    __atomic_fetch_add(&shared->ready, 1, __ATOMIC_ACQ_REL);
    while (!load(&shared->end))
        sleep_ns(100000);
    return load(&shared->end);
}

static void compute(u64 task)
{
    u64 end = wait_for_start(), x = task, blocks = 0;
    for (; time_ns() < end; blocks++) {
        for (int i = 0; i < ROUNDS; i++)
            x = mix64(x + 1);
        __asm__ volatile("" ::"r"(x));
    }
    shared->done[task] = blocks;
    exit(0);
}

static void touch(u64 task, u64 pages, u64 seed)
{
    u64 *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE), touches = 0, r = mix64(seed ^ task << 32);
    if (!memory) {
        printf("bm: no memory for %llu pages\n", pages);
        exit(1);
    }
    for (u64 i = 0; i < pages; i++)
        memory[i * WORDS] = mix64(task << 32 | i);
    u64 end = wait_for_start();
    for (; time_ns() < end; touches++) {
        r = mix64(r + 1);
        u64 i = r % pages, *p = memory + i * WORDS;
        if (*p != mix64(task << 32 | i)) {
            printf("bm: task %llu page %llu is 0x%llx\n", task, i, *p);
            exit(1);
        }
        p[1 + r % (WORDS - 1)]++;       /* dirty: it goes out again */
    }
    shared->done[task] = touches;
    exit(0);
}

/* Three quarters of what is free, for whoever does not say. */
static u64 default_pages(void)
{
    struct sysinfo info = {0};
    sysinfo(&info);
    return info.free_pages / 4 * 3;
}

int main(int argc, char **argv)
{
    u64 fault = arg_u64(argc, argv, "fault", 4), work = arg_u64(argc, argv, "work", 4), ms = arg_u64(argc, argv, "ms", 100);
    u64 pages = arg_u64(argc, argv, "pages", default_pages()), seed = arg_u64(argc, argv, "seed", 1), done[2] = {0, 0};
    bool good = fault + work <= MAX_TASKS && (!fault || pages >= fault);
    shared = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    if (!good || !shared) {
        printf("bm: at most %d tasks, at least a page for each\n", MAX_TASKS);
        return 1;
    }
    for (u64 t = 0; t < fault + work; t++) {
        int pid = fork();
        if (pid == 0 && t < fault)
            touch(t, pages / fault, seed);
        else if (pid == 0)
            compute(t);
        if (pid < 0) {
            printf("bm: no task %llu (%d)\n", t, pid);
            return 1;
        }
    }
    while (load(&shared->ready) < fault + work)
        sleep_ns(100000);
    __atomic_store_n(&shared->end, time_ns() + ms * 1000000, __ATOMIC_RELEASE);
    for (u32 status; wait(&status) > 0;)
        good &= status == 0;
    for (u64 t = 0; t < fault + work; t++)
        done[t >= fault] += shared->done[t];
    printf("bm: fault=%llu work=%llu pages=%llu ms=%llu touches=%llu work-done=%llu\n", fault, work, pages, ms, done[0], done[1]);
    return !good;
}
