/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests need to know about the architecture. */
#ifndef PLATFORM_H
#define PLATFORM_H

#include "usertests.h"

#if defined(__x86_64__)
#define KERNEL_ADDRESS 0xffff800000100000ull        /* the kernel's own code */
#define NON_CANONICAL 0x0001000000000000ull
#elif defined(__aarch64__)
#define KERNEL_ADDRESS 0xffff000040080000ull
#define NON_CANONICAL 0x0001000000000000ull
#else
#define KERNEL_ADDRESS 0xc000000000400000ull
#define NON_CANONICAL 0x4000000000000000ull         /* quadrant 1 */
#endif

/* Set the condition flags to f (4 bits), do a system call, return the flags. */
int flags_over_syscall(int f);
/* Turn on every flag that user mode can reach and that might upset a careless kernel. */
void hostile_flags(void);

/* Instructions that user mode must not have; each has to be refused with SIGILL. NULL ends the list. */
extern void (*const privileged[])(void);
/* A call of the machine's monitor that would stop the machine. It may be refused in any way. */
void stop_machine(void);

#endif
