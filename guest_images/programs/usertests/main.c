/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * usertests [NAME... | list] [limit=SECONDS]: the guest's test of its own kernel. One line a test, then the sum.
 *
 * A test has failed when its task ends with another status than 0, when it takes longer than the limit (virtual time), or when
 * afterwards less memory is free than before.
 */
#include "usertests.h"

static const struct test *const tables[] = {syscall_tests, pointer_tests, memory_tests, pressure_tests, task_tests,
                                            time_tests, signal_tests, fault_tests, code_tests, smp_tests,
                                            token_tests, thread_tests};

int arg_count;
char **arg_words;
static u64 limit;

/* End whatever a failed test left running: pids rise, so they lie between the test's and the next new one. */
static void sweep(int first)
{
    int last = fork();
    if (last == 0)
        exit(0);
    for (int pid = first; pid < last; pid++)
        kill(pid, SIGKILL);
}

/*
 * A task that ends the test when time is up; killed otherwise. It is born first, so that its pid is not between those of the test's
 * children, which may run on another CPU at once; nobody else forks now, so the test's pid is the next one.
 */
static int watchdog(void)
{
    int dog = fork();
    if (dog == 0) {
        int pid = getpid() + 1;
        sleep_ns(limit * 1000 * MS);
        kill(pid, SIGKILL);
        exit(0);
    }
    return dog;
}

/* Status of the test's task; *late: it had to be killed. */
static u32 run_task(const struct test *t, bool *late)
{
    u32 status = 0;
    int dog = watchdog(), pid = fork(), ended;
    if (pid == 0) {
        t->run();
        exit(0);
    }
    if (pid < 0 || dog < 0) {
        sweep(dog);
        return 1u << 8;
    }
    while ((ended = wait(&status)) > 0 && ended != pid)
        *late |= ended == dog;
    kill(dog, SIGKILL);
    if (status != 0)
        sweep(pid + 1);
    while (wait(NULL) > 0)      /* orphans of the test, too */
        ;
    return ended == pid ? status : 1u << 8;
}

static bool passes(const struct test *t)
{
    bool late = false;
    u64 before = free_pages();
    u32 status = run_task(t, &late);
    u64 after = free_pages();
    if (late)
        printf("FAIL  %s: not done after %llu s\n", t->name, limit);
    else if (!WEXITED(status))
        printf("FAIL  %s: signal %u\n", t->name, WTERMSIG(status));
    else if (status != 0)
        printf("FAIL  %s\n", t->name);
    else if (before != after)
        printf("FAIL  %s: %llu pages free, %llu before\n", t->name, after, before);
    else
        printf("PASS  %s\n", t->name);
    return !late && status == 0 && before == after;
}

/* Words without "=" are the tests to run; none: all. */
static bool wanted(const char *name)
{
    bool any = false;
    for (int i = 1; i < arg_count; i++) {
        const char *c = arg_words[i];
        while (*c && *c != '=')
            c++;
        if (*c)
            continue;
        if (strcmp(arg_words[i], name) == 0)
            return true;
        any = true;
    }
    return !any;
}

int main(int argc, char **argv)
{
    u32 run = 0, failed = 0;
    arg_count = argc;
    arg_words = argv;
    limit = arg_u64(argc, argv, "limit", 60);
    bool list = argc == 2 && strcmp(argv[1], "list") == 0;
    for (u32 i = 0; i < ARRAY_LEN(tables); i++) {
        for (const struct test *t = tables[i]; t->name; t++) {
            if (list)
                printf("%s\n", t->name);
            if (list || !wanted(t->name))
                continue;
            run++;
            failed += !passes(t);
        }
    }
    if (list)
        return 0;
    if (run == 0)
        printf("usertests: no such test; \"usertests list\" tells their names\n");
    else if (failed)
        printf("usertests: FAIL (%u of %u)\n", failed, run);
    else
        printf("usertests: PASS (%u tests)\n", run);
    return failed != 0 || run == 0;
}
