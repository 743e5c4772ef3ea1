/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * duel tasks=T pages=P passes=N shared=S ...: a few tasks go over a few pages each while somebody outside takes the pages away, and
 * check what they find. Made for an explorer that starts thousands of runs at the line "duel: go": from there on it is short, and
 * prints nothing but what is wrong.
 *
 * Task t runs on CPU t % CPUs and has P pages of its own. In every pass it counts in each: word 1 goes from pass - 1 to pass. Then
 * it counts in S pages that all share. Word 0 of every page is MARK, by which it is known from outside.
 *     kernel=1    the page is first read by a system call; 2: by one that must not sleep
 *     spin=1      CPU 0 has a task more, which computes until the others are through and makes no system call
 *     off=N       CPU 1 is taken out of service and put back N times meanwhile
 *     rewrite=N   x86: the last task registers its CPU anew N times, without having taken the old registration back
 *     bare=N      x86: the last task registers its CPU N times while its local APIC is off
 *     zero=N      x86: the last task takes its CPU's registration back N times while there is no local APIC, and registers again
 *     lossy=1     a task that is told that a page is lost has done what it could
 *     markers=M   of the wait table, at most
 *     hand=N      no pages: tasks in pairs, of which one waits for N tokens and the other one wakes them
 *     back=1      the last one first
 *     all=1       and wakes all sleepers after each of them
 *     crowd=1     no pages: task 1 wakes all others at once, who wait for one token
 *     forks=N     no pages: one task forks N times, each time writes what the child must not see, and waits for it
 */
#include "user.h"

#define MARK 0x6c65756420756d65ull
#define AGET(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define AADD(p, v) __atomic_fetch_add(p, v, __ATOMIC_ACQ_REL)
enum { WORDS = 512, MAX_TASKS = 8, MAX_PAGES = 64 };
enum { POLL_NS = 20000, START_NS = 60000 };     /* nobody computes between the line and the start */
enum { TOKEN = 0x1000000 };             /* the first one that no hypervisor gives out */
enum { MSR_APIC_BASE = 0x1b, MSR_EN = 0x4b564d02, APIC_ENABLE = 1 << 11 };

static u64 tasks, pages, passes, shared_pages, kernel, off, rewrite, bare, zero, lossy, hand, back, all, crowd, cpus;

/* Of all; never taken away: it has no MARK. */
static struct {
    u64 ready, go, through;             /* go: when, 0: not yet */
} *common;

static u64 *shared;

static s64 hook(u64 op, u64 a, u64 b) { return syscall5(SYS_hook, op, a, b, 0, 0); }

__attribute__((noreturn)) static void wrong(const char *what, u64 task, u64 page, u64 found)
{
    printf("duel: task %llu, %s %llu: 0x%llx\n", task, what, page, found);
    exit(1);
}

static void look(u64 task, u64 page, u64 *p)
{
    if (kernel) {
        s64 byte = hook(HOOK_ATOMIC_READ, (uptr)p, kernel == 1);
        if (byte != *(const u8 *)p)
            wrong("byte of page", task, page, (u64)byte);
    }
    if (AGET(&p[0]) != MARK)
        wrong("page", task, page, p[0]);
}

/* What only x86 has, and other machines answer with an error. */
static void reregister(u64 task)
{
    u64 en, base;
    for (; rewrite; rewrite--)
        if (hook(HOOK_RDMSR, MSR_EN, (uptr)&en) || hook(HOOK_WRMSR, MSR_EN, en))
            wrong("register", task, 0, en);
    for (; bare; bare--)
        if (hook(HOOK_APF_NO_LAPIC, 0, 0) < 0)
            wrong("without a local APIC", task, 0, 0);
    for (; zero; zero--)
        if (hook(HOOK_RDMSR, MSR_EN, (uptr)&en) || hook(HOOK_RDMSR, MSR_APIC_BASE, (uptr)&base)
            || hook(HOOK_WRMSR, MSR_APIC_BASE, base & ~(u64)APIC_ENABLE) || hook(HOOK_WRMSR, MSR_EN, 0)
            || hook(HOOK_WRMSR, MSR_APIC_BASE, base) || hook(HOOK_APF_NO_LAPIC, 0, 0) < 0 || hook(HOOK_WRMSR, MSR_EN, en))
            wrong("taking the registration back", task, 0, en);
}

/* All begin at the same time. */
static void wait_for_go(void)
{
    u64 now;
    AADD(&common->ready, 1);
    while (!AGET(&common->go))
        sleep_ns(POLL_NS);
    if ((now = time_ns()) < common->go)
        sleep_ns(common->go - now);
}

static void by_hand(u64 task)
{
    for (u64 i = 0; i < hand; i++) {
        u64 first = TOKEN + (task - 1) / 2 * hand, token = first + (back && task % 2 == 0 ? hand - 1 - i : i);
        hook(task % 2 ? HOOK_TOKEN_WAIT : HOOK_TOKEN_WAKE, token, 0);
        if (all && task % 2 == 0)
            hook(HOOK_TOKEN_WAKE_ALL, 0, 0);
    }
}

static u64 asleep(void)
{
    struct apf_info info = {0};
    hook(HOOK_APF_INFO, (uptr)&info, 0);
    return info.sleeping;
}

static void one_for_all(u64 task)
{
    if (task > 1) {
        hook(HOOK_TOKEN_WAIT, TOKEN, 0);
        return;
    }
    while (asleep() < tasks - 1)
        sleep_ns(POLL_NS);
    hook(HOOK_TOKEN_WAKE, TOKEN, 0);
}

static void without_pages(u64 task)
{
    if (setcpus(1ull << task % cpus))
        wrong("no CPU", task, task % cpus, 0);
    wait_for_go();
    if (crowd)
        one_for_all(task);
    else
        by_hand(task);
    exit(0);
}

static void work(u64 task)
{
    u64 *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    if (!memory || setcpus(1ull << task % cpus))
        wrong("no memory or no CPU", task, task % cpus, 0);
    for (u64 i = 0; i < pages; i++)
        memory[i * WORDS] = MARK;
    wait_for_go();
    if (task == tasks)
        reregister(task);
    for (u64 pass = 1; pass <= passes; pass++) {
        for (u64 i = 0; i < pages; i++) {
            u64 *p = memory + i * WORDS;
            look(task, i, p);
            if (p[1] != pass - 1)
                wrong("count of page", task, i, p[1]);
            p[1] = pass;
        }
        for (u64 i = 0; i < shared_pages; i++) {
            look(task, i, shared + i * WORDS);
            AADD(&shared[i * WORDS + 1], 1);
        }
    }
    AADD(&common->through, 1);
    exit(0);
}

/* Computes, and hears of the others by memory alone. */
static void spin(void)
{
    setcpus(1);
    setprio(0);                         /* whose page comes goes first */
    wait_for_go();
    while (AGET(&common->through) < tasks)
        ;
    exit(0);
}

/* Parent and child share the page until one of them writes. */
static bool forks(u64 n)
{
    u64 *page = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    u32 status = 0;
    for (u64 i = 1; page && i <= n && !status; i++) {
        *page = i;
        int pid = fork();
        if (pid == 0) {
            if (AGET(page) != i)
                wrong("fork", i, 0, *page);
            exit(0);
        }
        *(volatile u64 *)page = ~i;
        wait(&status);
    }
    return page && !status;
}

static void start(void (*child)(u64), u64 n)
{
    int pid = fork();
    if (pid == 0)
        child(n);
    if (pid < 0)
        wrong("no task", n, 0, (u64)pid);
}

static void spinner(u64 n)
{
    (void)n;
    spin();
}

int main(int argc, char **argv)
{
    struct sysinfo info;
    bool spinning = arg_u64(argc, argv, "spin", 0), good = true;
    u64 markers = arg_u64(argc, argv, "markers", ~0ull);
    tasks = arg_u64(argc, argv, "tasks", 2), pages = arg_u64(argc, argv, "pages", 3), passes = arg_u64(argc, argv, "passes", 1);
    shared_pages = arg_u64(argc, argv, "shared", 1), kernel = arg_u64(argc, argv, "kernel", 0), off = arg_u64(argc, argv, "off", 0);
    rewrite = arg_u64(argc, argv, "rewrite", 0), bare = arg_u64(argc, argv, "bare", 0), zero = arg_u64(argc, argv, "zero", 0);
    lossy = arg_u64(argc, argv, "lossy", 0), back = arg_u64(argc, argv, "back", 0);
    hand = arg_u64(argc, argv, "hand", 0), all = arg_u64(argc, argv, "all", 0), crowd = arg_u64(argc, argv, "crowd", 0);
    sysinfo(&info);
    cpus = info.boot_ncpu;
    if (tasks < 1 || tasks > MAX_TASKS || pages > MAX_PAGES || shared_pages > MAX_PAGES)
        wrong("too many, at most", MAX_TASKS, MAX_PAGES, 0);
    common = mmap(PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    shared = shared_pages ? mmap(shared_pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE | UPROT_SHARED) : NULL;
    if (!common || (shared_pages && !shared))
        wrong("no memory", 0, 0, 0);
    for (u64 i = 0; i < shared_pages; i++)
        shared[i * WORDS] = MARK;
    common->go = 0;
    for (u64 t = 1; t <= tasks; t++)
        start(hand || crowd ? without_pages : work, t);
    if (spinning)
        start(spinner, 0);
    while (AGET(&common->ready) < tasks + spinning)
        sleep_ns(POLL_NS);
    if (~markers)
        hook(HOOK_MARKERS, markers, 0);
    printf("duel: go\n");
    AADD(&common->go, time_ns() + START_NS);
    sleep_ns(off ? 2 * START_NS : 0);   /* the others are at it by then */
    for (; off; off--)
        if (hook(HOOK_CPU_ONLINE, 1, 0) || hook(HOOK_CPU_ONLINE, 1, 1))
            wrong("CPU out of service", 0, 1, 0);
    good &= forks(arg_u64(argc, argv, "forks", 0));
    for (u32 status; wait(&status) > 0;)
        good &= status == 0 || (lossy && !WEXITED(status) && WTERMSIG(status) == SIGBUS);
    for (u64 i = 0; i < shared_pages; i++)
        if (!hand && !crowd && !lossy && shared[i * WORDS + 1] != tasks * passes)
            wrong("count of shared page", 0, i, shared[i * WORDS + 1]);
    return !good;
}
