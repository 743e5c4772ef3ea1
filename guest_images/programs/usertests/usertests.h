/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The self-test's frame: every test runs in a task of its own, and fails by ending with another status than 0. */
#ifndef USERTESTS_H
#define USERTESTS_H

#include "user.h"

#define MS 1000000ull               /* ns */
#define USER_TOP 0x400000000000ull  /* highest that an architecture may choose */
#define ACCESS_READ 0
#define ACCESS_WRITE 1
#define ACCESS_EXEC 2

struct test {
    const char *name;
    void (*run)(void);
};

/* One table a file, ended by a test without a name. */
extern const struct test syscall_tests[], pointer_tests[], memory_tests[], pressure_tests[], task_tests[], time_tests[],
    signal_tests[], fault_tests[], code_tests[], smp_tests[], token_tests[], thread_tests[];

/* What main got. */
extern int arg_count;
extern char **arg_words;

/* End the task, telling where. file: __FILE__. */
__attribute__((noreturn)) void check_failed(const char *file, int line, const char *what);
__attribute__((noreturn)) void equal_failed(const char *file, int line, const char *what, s64 got, s64 wanted);

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition))                                               \
            check_failed(__FILE__, __LINE__, #condition);               \
    } while (0)
#define CHECK_EQ(value, wanted)                                         \
    do {                                                                \
        s64 got_ = (s64)(value), wanted_ = (s64)(wanted);               \
        if (got_ != wanted_)                                            \
            equal_failed(__FILE__, __LINE__, #value, got_, wanted_);    \
    } while (0)

/* ---- children.c ---- */

/* Run f(arg) in a new task that ends with status 0 if f returns. Returns its pid; the task fails when there is none. */
int spawn(void (*f)(u64 arg), u64 arg);
/* Wait for this child, the only one that can end now; its status. */
u32 reap(int pid);
/* Wait for n children that all have to end with exit code 0. */
void reap_good(int n);
u32 run_child(void (*f)(u64 arg), u64 arg);     /* spawn and reap */

/* f(arg), in a child with a handler, must cause this signal; addr and access are what the handler has to be told. */
void expect_fault(int sig, u64 addr, int access, void (*f)(u64 arg), u64 arg);
/* The same with any address in [low, high]; access < 0: any. */
void expect_fault_in(int sig, u64 low, u64 high, int access, void (*f)(u64 arg), u64 arg);

/* ---- small helpers ---- */
static inline s64 raw(u64 nr, u64 a, u64 b, u64 c) { return syscall5(nr, a, b, c, 0, 0); }
u64 free_pages(void);
u8 *map_pages(u64 n, int prot);                 /* mmap that must succeed; an unmapped page follows */
void spin_until(u64 time);
/* From now on the test and its children share one CPU: for tests about who gets it. */
static inline void share_one_cpu(void) { CHECK_EQ(setcpus(1ull << getcpu()), 0); }
enum { RW = UPROT_READ | UPROT_WRITE, RWX = RW | UPROT_EXEC };

/* Keep the compiler from knowing anything about a value. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x)::"memory")

static inline void poke(u64 addr) { *(volatile u8 *)(uptr)addr = 1; }
static inline void peek(u64 addr) { (void)*(volatile u8 *)(uptr)addr; }
static inline void jump(u64 addr) { ((void (*)(void))(uptr)addr)(); }

#endif
