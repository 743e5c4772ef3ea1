/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The programs' runtime: system calls, printing, arguments. No libc. */
#ifndef USER_H
#define USER_H

#include "uapi.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uptr;
typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)
#define PAGE_SIZE 4096ull
#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#include "arch_user.h"      /* ISA_NAME, syscall5, sync_code, make_constant_function, illegal_instruction */

int main(int argc, char **argv);

/* Negative results are -errno. */
__attribute__((noreturn)) void exit(int status);
s64 write(int fd, const void *buf, u64 n);
s64 read(int fd, void *buf, u64 n);
int getpid(void);
void yield(void);
int fork(void);
int wait(u32 *status);
s64 brk(u64 end);
void *mmap(u64 len, int prot);              /* NULL on error */
int munmap(void *addr, u64 len);
u64 time_ns(void);
void sleep_ns(u64 ns);
int kill(int pid, int sig);
int setprio(int prio);
int sysinfo(struct sysinfo *info);
int open(const char *path);                 /* of a device */
int close(int fd);
s64 ioctl(int fd, u64 command, u64 arg);
s64 mapfile(int fd, u64 len, u64 offset);   /* address of a device's page */
/* A thread that calls fn(arg) on this stack and ends with its result; a child like any other. Its pid. */
int thread(int (*fn)(u64), u64 arg, void *stack, u64 stack_bytes);
int getcpu(void);
int setcpus(u64 mask);                      /* 0: all */
typedef void signal_handler(int sig, u64 addr, int access);
int signal(int sig, signal_handler *handler);       /* NULL: default */
#define SIG_IGNORE ((signal_handler *)1)                /* for signals that are sent; faults are not */

/* %s %c %d %u %x %p, l and ll, 0 and width. One write per call, at most 240 bytes. */
void printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Value of the argument "name=NUMBER" (decimal or 0x), or otherwise. */
u64 arg_u64(int argc, char **argv, const char *name, u64 otherwise);

size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
void *memset(void *dst, int c, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
int memcmp(const void *a, const void *b, size_t n);

/* splitmix64's finalizer: a well-mixed function of x (Steele, Lea, Flood: Fast splittable pseudorandom number generators). */
static inline u64 mix64(u64 x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

#endif
