/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls: results, errors, arguments, what they leave alone. */
#include "usertests.h"
#include "platform.h"

static void unknown_syscalls(void)
{
    CHECK_EQ(raw(NSYSCALL, 0, 0, 0), -ENOSYS);
    CHECK_EQ(raw(1000, 0, 0, 0), -ENOSYS);
    CHECK_EQ(raw(~0ull, 0, 0, 0), -ENOSYS);
    CHECK_EQ(raw(1ull << 32, 0, 0, 0), -ENOSYS);        /* not exit: the number has 64 bits */
    CHECK_EQ(raw(1ull << 63, 0, 0, 0), -ENOSYS);
}

static void descriptors(void)
{
    char c = 0;
    CHECK_EQ(write(0, &c, 1), -EINVAL);
    CHECK_EQ(write(3, &c, 1), -EINVAL);
    CHECK_EQ(write(-1, &c, 1), -EINVAL);
    CHECK_EQ(read(1, &c, 1), -EINVAL);
    CHECK_EQ(read(-1, &c, 1), -EINVAL);
    CHECK_EQ(write(1, &c, 0), 0);
    CHECK_EQ(read(0, &c, 0), 0);
}

/* Every length around the kernel's buffer size; each call reports all of it. */
static void odd_writes(void)
{
    static const u32 lengths[] = {1, 2, 3, 7, 13, 31, 63, 64, 65, 127, 255, 256, 257, 509};
    static char text[512];
    for (u32 i = 0; i < ARRAY_LEN(lengths); i++) {
        u32 n = lengths[i];
        for (u32 k = 0; k < n; k++)
            text[k] = k == n - 1 || k % 128 == 127 ? '\n' : (char)('a' + (n + k) % 26);
        CHECK_EQ(write(1 + (int)(i & 1), text, n), n);
    }
}

static void pids(void)
{
    int me = getpid(), last = me;
    CHECK(me > 1);
    for (int i = 0; i < 5; i++) {
        int pid = fork();
        if (pid == 0)
            exit(getpid() == me);
        CHECK(pid > last);
        CHECK_EQ(reap(pid), 0);
        last = pid;
    }
    CHECK_EQ(getpid(), me);
}

static void arguments(void)
{
    CHECK(arg_count >= 1);
    CHECK_EQ(strcmp(arg_words[0], "init"), 0);
    CHECK(arg_words[arg_count] == NULL);
    for (int i = 0; i < arg_count; i++) {
        CHECK(strlen(arg_words[i]) > 0);
        for (const char *c = arg_words[i]; *c; c++)
            CHECK(*c > ' ' && *c <= '~');
        if (i > 0)
            CHECK(arg_words[i] > arg_words[i - 1] + strlen(arg_words[i - 1]));
    }
    char *vector[] = {"x", "pages=12", "pagesx=3", "big=0xffffffffffffffff", "page=7", "empty=", NULL};
    CHECK_EQ(arg_u64(6, vector, "pages", 0), 12);
    CHECK_EQ(arg_u64(6, vector, "page", 0), 7);
    CHECK_EQ(arg_u64(6, vector, "big", 0), -1);
    CHECK_EQ(arg_u64(6, vector, "other", 5), 5);
}

static void system_information(void)
{
    struct sysinfo info = {0};
    CHECK_EQ(sysinfo(&info), 0);
    CHECK(info.ram_bytes >= info.user_pages * PAGE_SIZE);
    CHECK(info.user_pages > info.free_pages);
    CHECK(info.free_pages > 0);
    CHECK(info.boot_ncpu >= 1);
}

/* Condition flags belong to the program, whatever the kernel does with its own. */
static void flags_survive(void)
{
    for (int i = 0; i < 16; i++)
        CHECK_EQ(flags_over_syscall(i), i);
}

static void spoil(u64 arg)
{
    (void)arg;
    hostile_flags();
    CHECK(getpid() > 0);
    yield();
    CHECK(time_ns() > 0);
}

static void strange_flags(void)
{
    CHECK_EQ(run_child(spoil, 0), 0);
    CHECK(getpid() > 0);
}

const struct test syscall_tests[] = {
    {"unknown_syscalls", unknown_syscalls},
    {"descriptors", descriptors},
    {"odd_writes", odd_writes},
    {"pids", pids},
    {"arguments", arguments},
    {"system_information", system_information},
    {"flags_survive", flags_survive},
    {"strange_flags", strange_flags},
    {0},
};
