/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Basic types. The kernel is freestanding: nothing here comes from a C library. */
#ifndef VMEMU_TYPES_H
#define VMEMU_TYPES_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef signed char s8;
typedef short s16;
typedef int s32;
typedef long long s64;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uptr;
typedef _Bool bool;

#define true 1
#define false 0
#define NULL ((void *)0)

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define PAGE_MASK (PAGE_SIZE - 1)
#define PAGE_DOWN(x) ((u64)(x) & ~PAGE_MASK)
#define PAGE_UP(x) PAGE_DOWN((u64)(x) + PAGE_MASK)

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

#endif
