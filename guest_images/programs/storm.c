/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * storm tasks=T pages=P passes=N shared=S seed=X stats=0|1: T tasks with P pages each go over their pages N times, every time in
 * another random order, and check every word they wrote the last time before they write the next. Between their own pages they read
 * and count in S pages that all of them share, so that several CPUs want the same page at once. With less memory resident than
 * T * P pages many touches need the store.
 *
 * With 64-bit wrapping arithmetic, mix64 as in user.h and version v = 0 for the first contents, pass number p (1..N) otherwise,
 *     word(t, i, v, k) = mix64(seed ^ t << 40 ^ i << 16 ^ v) + k * 0x9e3779b97f4a7c15            task t 1..T, page i, word k 0..511
 * The order of a pass is a shuffle (Fisher and Yates) of 0..P-1: for n from P-1 down to 1 swap entry n with entry r % (n + 1),
 * r = mix64(seed ^ t << 40 ^ p << 20 ^ n). A task's sum over all passes and pages in that order, starting from 0, is
 *     sum = rotate_left(sum, 5) ^ word(t, i, p - 1, i % 512)        taken from memory
 * and the checksum printed the exclusive or of all tasks' sums: what is printed does not depend on how memory is paged.
 */
#include "user.h"

enum { WORDS = 512, MAX_PAGES = 4096, MAX_TASKS = 48 };
#define STEP 0x9e3779b97f4a7c15ull
#define AADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_RELAXED)

static u64 tasks, pages, passes, shared_pages, seed;
static u16 order[MAX_PAGES];

/* One page for all: what each task found. */
static struct {
    u64 sum[MAX_TASKS + 1];
} *results;

static u64 *shared;                     /* word 0 counts visits, word w of page i is shared_word(i, w) */

static u64 first_word(u64 task, u64 page, u64 version) { return mix64(seed ^ task << 40 ^ page << 16 ^ version); }
static u64 shared_word(u64 page, u64 w) { return mix64(~seed ^ page << 16 ^ w); }

static void write_page(u64 *p, u64 v)
{
    for (int k = 0; k < WORDS; k++, v += STEP)
        p[k] = v;
}

/* Index of the first wrong word, or WORDS. */
static int check_page(const u64 *p, u64 v)
{
    int k = 0;
    for (; k < WORDS && p[k] == v; k++)
        v += STEP;
    return k;
}

static void shuffle(u64 task, u64 pass)
{
    for (u64 i = 0; i < pages; i++)
        order[i] = (u16)i;
    for (u64 n = pages - 1; n > 0; n--) {
        u64 other = mix64(seed ^ task << 40 ^ pass << 20 ^ n) % (n + 1);
        u16 swap = order[n];
        order[n] = order[other];
        order[other] = swap;
    }
}

static void visit_shared(u64 task, u64 r)
{
    u64 page = r % shared_pages, w = 1 + (r >> 32) % (WORDS - 1), *p = shared + page * WORDS;
    AADD(&p[0], 1);
    if (p[w] != shared_word(page, w)) {
        printf("storm: task %llu, shared page %llu: word %llu is 0x%llx\n", task, page, w, p[w]);
        exit(1);
    }
}

static void work(u64 task)
{
    u64 sum = 0, *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    if (!memory) {
        printf("storm: task %llu gets no memory\n", task);
        exit(1);
    }
    for (u64 i = 0; i < pages; i++)
        write_page(memory + i * WORDS, first_word(task, i, 0));
    for (u64 pass = 1; pass <= passes; pass++) {
        shuffle(task, pass);
        for (u64 n = 0; n < pages; n++) {
            u64 i = order[n], *p = memory + i * WORDS;
            int k = check_page(p, first_word(task, i, pass - 1));
            if (k < WORDS) {
                printf("storm: task %llu, page %llu, pass %llu: word %d is 0x%llx\n", task, i, pass, k, p[k]);
                exit(1);
            }
            sum = (sum << 5 | sum >> 59) ^ p[i % WORDS];
            write_page(p, first_word(task, i, pass));
            if (shared_pages && n % 4 == task % 4)
                visit_shared(task, mix64(sum));
            if (n % 4 == 3)
                yield();            /* all go on together, or each would be done before the next begins */
        }
    }
    results->sum[task] = sum;
    exit(0);
}

/* Every task has visited a shared page as often as there are pages n with n % 4 == task % 4, in every pass. */
static bool all_visits_counted(void)
{
    u64 counted = 0, wanted = 0;
    for (u64 i = 0; i < shared_pages; i++)
        counted += shared[i * WORDS];
    for (u64 t = 1; t <= tasks && shared_pages; t++)
        wanted += passes * ((pages + 3 - t % 4) / 4);
    if (counted != wanted)
        printf("storm: %llu visits of shared pages, %llu counted\n", wanted, counted);
    return counted == wanted;
}

static bool start_all(void)
{
    for (u64 t = 1; t <= tasks; t++) {
        int pid = fork();
        if (pid == 0)
            work(t);
        if (pid < 0) {
            printf("storm: no task %llu (%d)\n", t, pid);
            return false;
        }
    }
    return true;
}

static void print_stats(void)
{
    struct apf_info info = {0};
    syscall5(SYS_hook, HOOK_APF_INFO, (uptr)&info, 0, 0, 0);
    printf("storm: apf=%s slept=%llu early=%llu halts=%llu sleeping=%llu markers=%llu ns-asleep=%llu ns=%llu\n", info.name, info.waits,
           info.early, info.halts, info.sleeping, info.markers, info.asleep_ns, time_ns());
}

int main(int argc, char **argv)
{
    tasks = arg_u64(argc, argv, "tasks", 16), pages = arg_u64(argc, argv, "pages", 256);
    passes = arg_u64(argc, argv, "passes", 2), shared_pages = arg_u64(argc, argv, "shared", 64);
    seed = arg_u64(argc, argv, "seed", 1);
    if (tasks < 1 || tasks > MAX_TASKS || pages < 1 || pages > MAX_PAGES || shared_pages > MAX_PAGES) {
        printf("storm: at most %d tasks with %d pages\n", MAX_TASKS, MAX_PAGES);
        return 1;
    }
    results = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    shared = shared_pages ? mmap(shared_pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED) : NULL;
    if (!results || (shared_pages && !shared)) {
        printf("storm: no memory for %llu shared pages\n", shared_pages);
        return 1;
    }
    for (u64 i = 0; i < shared_pages * WORDS; i++)
        shared[i] = i % WORDS ? shared_word(i / WORDS, i % WORDS) : 0;
    bool good = start_all();
    u64 sum = 0;
    for (u32 status; wait(&status) > 0;)
        good &= status == 0;
    for (u64 t = 1; t <= tasks; t++)
        sum ^= results->sum[t];
    good &= all_visits_counted();
    if (arg_u64(argc, argv, "stats", 0))
        print_stats();
    printf("storm: tasks=%llu pages=%llu passes=%llu shared=%llu checksum=0x%016llx\n", tasks, pages, passes, shared_pages, sum);
    printf("storm: %s\n", good ? "PASS" : "FAIL");
    return !good;
}
