/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tasks tasks=N pages=P rounds=R: N tasks work on the same virtual addresses in address spaces of their own. In every round each
 * task fills its P pages from its number and the round, lets others run (even ones by spinning into the next time slice, odd
 * ones by sleeping), and checks that nothing has changed.
 *
 * Task n (1..N) ends with code(n) = 1 + mix64(n) % 200, or 255 when its data was wrong. The total printed is the sum of the
 * codes, so it depends on N alone.
 */
#include "user.h"

enum { MAX_PAGES = 64, WORDS = 512, WRONG = 255 };
static u64 data[MAX_PAGES * WORDS];

static void fill(u64 task, u64 round, u64 words)
{
    for (u64 i = 0; i < words; i++)
        data[i] = mix64(task << 48 | round << 32 | i);
}

static bool intact(u64 task, u64 round, u64 words)
{
    for (u64 i = 0; i < words; i++) {
        if (data[i] != mix64(task << 48 | round << 32 | i)) {
            printf("tasks: task %llu round %llu word %llu is 0x%llx\n", task, round, i, data[i]);
            return false;
        }
    }
    return true;
}

static int worker(u64 task, u64 words, u64 rounds)
{
    for (u64 round = 1; round <= rounds; round++) {
        fill(task, round, words);
        if (task % 2) {
            sleep_ns(1000000 + 250000 * task);
        } else {
            for (u64 end = time_ns() + 3000000; time_ns() < end;)
                ;
        }
        if (!intact(task, round, words))
            return WRONG;
    }
    return (int)(1 + mix64(task) % 200);
}

int main(int argc, char **argv)
{
    u64 tasks = arg_u64(argc, argv, "tasks", 8), pages = arg_u64(argc, argv, "pages", 8);
    u64 rounds = arg_u64(argc, argv, "rounds", 4), total = 0, failures = 0, started = 0;
    if (pages > MAX_PAGES)
        pages = MAX_PAGES;
    for (u64 n = 1; n <= tasks; n++) {
        int pid = fork();
        if (pid == 0)
            exit(worker(n, pages * WORDS, rounds));
        if (pid < 0) {
            printf("tasks: fork of task %llu failed (%d)\n", n, pid);
            failures++;
            break;
        }
        started++;
    }
    for (u64 n = 0; n < started; n++) {
        u32 status;
        if (wait(&status) < 0 || !WEXITED(status) || WEXITSTATUS(status) == WRONG)
            failures++;
        else
            total += WEXITSTATUS(status);
    }
    printf("tasks: tasks=%llu failures=%llu total=%llu\n", started, failures, total);
    return failures != 0;
}
