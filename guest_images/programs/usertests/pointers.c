/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bad pointers given to system calls: the kernel answers -EFAULT, and neither believes them nor falls over. */
#include "usertests.h"
#include "platform.h"

static const char constant_text[64] = "constant";

static const u64 nowhere[] = {
    0, 1, 8, PAGE_SIZE, 0x0ffffff8, 0x30000000, 0x3fff0000, USER_TOP - PAGE_SIZE, USER_TOP - 8, USER_TOP, NON_CANONICAL,
    1ull << 63, KERNEL_ADDRESS, KERNEL_ADDRESS + 0x1000, ~0ull - PAGE_SIZE + 1, ~0ull - 15, ~0ull - 7, ~0ull,
};

static void bad_write_pointers(void)
{
    for (u32 i = 0; i < ARRAY_LEN(nowhere); i++) {
        CHECK_EQ(raw(SYS_write, 1, nowhere[i], 1), -EFAULT);
        CHECK_EQ(raw(SYS_write, 1, nowhere[i], 100), -EFAULT);
        CHECK_EQ(raw(SYS_write, 1, nowhere[i], ~0ull), -EFAULT);
        CHECK_EQ(raw(SYS_write, 1, nowhere[i], 1ull << 63), -EFAULT);
        CHECK_EQ(raw(SYS_write, 1, nowhere[i], 0), 0);
    }
}

static void bad_result_pointers(void)
{
    for (u32 i = 0; i < ARRAY_LEN(nowhere); i++) {
        CHECK_EQ(raw(SYS_sysinfo, nowhere[i], 0, 0), -EFAULT);
        CHECK_EQ(raw(SYS_sigreturn, nowhere[i] & ~15ull, 0, 0), -EFAULT);
    }
}

static void nothing(u64 arg) { (void)arg; }

static void bad_wait_pointers(void)
{
    for (u32 i = 1; i < ARRAY_LEN(nowhere); i += 3) {       /* 0 means: no status wanted */
        spawn(nothing, 0);
        CHECK_EQ(raw(SYS_wait, nowhere[i], 0, 0), -EFAULT);
        CHECK_EQ(wait(NULL), -ECHILD);
    }
    int pid = spawn(nothing, 0);
    CHECK_EQ(raw(SYS_wait, 0, 0, 0), pid);
}

/* The kernel must not write where the program could not. */
static void results_to_read_only(void)
{
    CHECK_EQ(raw(SYS_sysinfo, (uptr)constant_text, 0, 0), -EFAULT);
    CHECK_EQ(raw(SYS_sysinfo, (uptr)results_to_read_only & ~7ull, 0, 0), -EFAULT);
    CHECK_EQ(strcmp(constant_text, "constant"), 0);
    u8 *p = map_pages(1, UPROT_READ);
    CHECK_EQ(raw(SYS_sysinfo, (uptr)p, 0, 0), -EFAULT);
    CHECK_EQ(p[0], 0);
    CHECK_EQ(raw(SYS_sysinfo, (uptr)p, 0, 0), -EFAULT);     /* now that the page is present */
    CHECK_EQ(p[0], 0);
}

/* Objects that begin in a page and end where none is. */
static void straddling_the_end(void)
{
    u8 *p = map_pages(1, RW), *end = p + PAGE_SIZE;
    memset(p, '\n', PAGE_SIZE);
    for (u64 n = 8; n < sizeof(struct sysinfo); n += 8)
        CHECK_EQ(raw(SYS_sysinfo, (uptr)end - n, 0, 0), -EFAULT);
    CHECK_EQ(raw(SYS_sysinfo, (uptr)end - sizeof(struct sysinfo), 0, 0), 0);
    CHECK_EQ(raw(SYS_write, 1, (uptr)end - 10, 11), -EFAULT);
    CHECK_EQ(raw(SYS_write, 1, (uptr)end - 10, ~0ull), -EFAULT);
    CHECK_EQ(raw(SYS_sigreturn, (uptr)end - 16, 0, 0), -EFAULT);
    spawn(nothing, 0);
    CHECK_EQ(raw(SYS_wait, (uptr)end - 2, 0, 0), -EFAULT);
}

/* A long write that meets the end reports what it could do. */
static void partial_write(void)
{
    u8 *p = map_pages(1, RW), *from = p + PAGE_SIZE - 300;
    memset(p, '.', PAGE_SIZE);
    for (int i = 63; i < 300; i += 64)
        from[i] = '\n';
    s64 n = raw(SYS_write, 1, (uptr)from, 600);
    CHECK(n > 0 && n <= 300);
}

/* Memory nobody touched yet is as good as any other. */
static void untouched_buffers(void)
{
    u8 *p = map_pages(3, RW);
    struct sysinfo *info = (void *)(p + PAGE_SIZE - 8);     /* over a page border, both pages not there yet */
    CHECK_EQ(sysinfo(info), 0);
    CHECK(info->ram_bytes > 0 && info->user_pages > 0);
    CHECK_EQ(p[PAGE_SIZE - 9], 0);
    CHECK_EQ(p[PAGE_SIZE - 8 + sizeof *info], 0);
    char *empty = (char *)p + 2 * PAGE_SIZE;
    CHECK_EQ(strlen(empty), 0);
    u32 *status = (u32 *)(p + 2 * PAGE_SIZE + 16);
    int pid = fork();
    if (pid == 0)
        exit(5);
    CHECK_EQ(wait(status), pid);
    CHECK_EQ(*status, 5 << 8);
}

/* The kernel's copy into a page shared by fork must not reach the other task. */
static void results_to_shared_pages(void)
{
    u8 *p = map_pages(1, RW);
    memset(p, 0x55, PAGE_SIZE);
    int pid = fork();
    if (pid == 0) {
        CHECK_EQ(raw(SYS_sysinfo, (uptr)p, 0, 0), 0);
        CHECK(p[sizeof(struct sysinfo)] == 0x55);
        exit(0);
    }
    CHECK_EQ(reap(pid), 0);
    for (u64 i = 0; i < PAGE_SIZE; i++)
        CHECK_EQ(p[i], 0x55);
}

const struct test pointer_tests[] = {
    {"bad_write_pointers", bad_write_pointers},
    {"bad_result_pointers", bad_result_pointers},
    {"bad_wait_pointers", bad_wait_pointers},
    {"results_to_read_only", results_to_read_only},
    {"straddling_the_end", straddling_the_end},
    {"partial_write", partial_write},
    {"untouched_buffers", untouched_buffers},
    {"results_to_shared_pages", results_to_shared_pages},
    {0},
};
