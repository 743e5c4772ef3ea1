/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "user.h"

extern char signal_entry[];     /* start.S */

void start_main(u64 argc, char **argv) { exit(main((int)argc, argv)); }

void exit(int status)
{
    for (;;)
        syscall5(SYS_exit, (u64)status, 0, 0, 0, 0);
}

s64 write(int fd, const void *buf, u64 n) { return syscall5(SYS_write, (u64)fd, (uptr)buf, n, 0, 0); }
s64 read(int fd, void *buf, u64 n) { return syscall5(SYS_read, (u64)fd, (uptr)buf, n, 0, 0); }
int getpid(void) { return (int)syscall5(SYS_getpid, 0, 0, 0, 0, 0); }
void yield(void) { syscall5(SYS_yield, 0, 0, 0, 0, 0); }
int fork(void) { return (int)syscall5(SYS_fork, 0, 0, 0, 0, 0); }
int wait(u32 *status) { return (int)syscall5(SYS_wait, (uptr)status, 0, 0, 0, 0); }
s64 brk(u64 end) { return syscall5(SYS_brk, end, 0, 0, 0, 0); }
int munmap(void *addr, u64 len) { return (int)syscall5(SYS_munmap, (uptr)addr, len, 0, 0, 0); }
u64 time_ns(void) { return (u64)syscall5(SYS_time, 0, 0, 0, 0, 0); }
void sleep_ns(u64 ns) { syscall5(SYS_sleep, ns, 0, 0, 0, 0); }
int kill(int pid, int sig) { return (int)syscall5(SYS_kill, (u64)pid, (u64)sig, 0, 0, 0); }
int setprio(int prio) { return (int)syscall5(SYS_setprio, (u64)prio, 0, 0, 0, 0); }
int sysinfo(struct sysinfo *info) { return (int)syscall5(SYS_sysinfo, (uptr)info, 0, 0, 0, 0); }

int open(const char *path) { return (int)syscall5(SYS_open, (uptr)path, 0, 0, 0, 0); }
int close(int fd) { return (int)syscall5(SYS_close, (u64)fd, 0, 0, 0, 0); }
s64 ioctl(int fd, u64 command, u64 arg) { return syscall5(SYS_ioctl, (u64)fd, command, arg, 0, 0); }
s64 mapfile(int fd, u64 len, u64 offset) { return syscall5(SYS_mapfile, (u64)fd, len, offset, 0, 0); }

struct start {
    int (*fn)(u64);
    u64 arg;
};

static void thread_main(const struct start *s) { exit(s->fn(s->arg)); }

int thread(int (*fn)(u64), u64 arg, void *stack, u64 stack_bytes)
{
    struct start *s = (struct start *)(((uptr)stack + stack_bytes - sizeof *s) & ~(uptr)15);
    *s = (struct start){fn, arg};
    return (int)syscall5(SYS_thread, (uptr)thread_main, FUNCTION_SP((uptr)s), (uptr)s, 0, 0);
}

int getcpu(void) { return (int)syscall5(SYS_getcpu, 0, 0, 0, 0, 0); }
int setcpus(u64 mask) { return (int)syscall5(SYS_setcpus, mask, 0, 0, 0, 0); }

void *mmap(u64 len, int prot)
{
    s64 p = syscall5(SYS_mmap, len, (u64)prot, 0, 0, 0);
    return p < 0 ? NULL : (void *)(uptr)p;
}

int signal(int sig, signal_handler *handler)
{
    u64 entry = handler == SIG_IGNORE ? 1 : handler ? (uptr)signal_entry : 0;
    return (int)syscall5(SYS_sigaction, (u64)sig, entry, entry > 1 ? (uptr)handler : 0, 0, 0);
}

static u64 parse_number(const char *s)
{
    u64 v = 0, base = 10;
    if (s[0] == '0' && s[1] == 'x') {
        base = 16;
        s += 2;
    }
    for (;; s++) {
        if (*s >= '0' && *s <= '9')
            v = v * base + (u64)(*s - '0');
        else if (base == 16 && *s >= 'a' && *s <= 'f')
            v = v * base + (u64)(*s - 'a' + 10);
        else
            return v;
    }
}

u64 arg_u64(int argc, char **argv, const char *name, u64 otherwise)
{
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++) {
        if (strlen(argv[i]) > n && memcmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            return parse_number(argv[i] + n + 1);
    }
    return otherwise;
}

size_t strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

int strcmp(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++)
        ;
    return (u8)*a - (u8)*b;
}

void *memset(void *dst, int c, size_t n)
{
    for (u8 *p = dst; n; n--)
        *p++ = (u8)c;
    return dst;
}

void *memcpy(void *dst, const void *src, size_t n)
{
    const u8 *s = src;
    for (u8 *p = dst; n; n--)
        *p++ = *s++;
    return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const u8 *x = a, *y = b;
    for (; n; n--, x++, y++) {
        if (*x != *y)
            return *x - *y;
    }
    return 0;
}
