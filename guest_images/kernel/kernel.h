/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the common kernel offers to all of its files and to the architectures. */
#ifndef VMEMU_KERNEL_H
#define VMEMU_KERNEL_H

#include "arch.h"
#include "types.h"
#include "uapi.h"         /* errno, signal and system call numbers */

/* Linker script symbols (arch.h, IMAGE). */
extern char kernel_start[], kernel_end[];

/* ---- lib.c ---- */
void *memset(void *dst, int c, size_t n);
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* ---- print.c ---- */
/* %s %c %d %i %u %x %p %%, l/ll/z sizes, 0 and width. Lines from different CPUs do not mix. */
void kprintf(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* Print "panic: ...", stop the other CPUs and the machine with status 1. The text starts with the name of the function that gives up. */
NORETURN void panic(const char *fmt, ...) PRINTF_LIKE(1, 2);
void console_write(const char *s, size_t n);

/* ---- spinlock.c ---- */
struct spinlock {
    u32 locked;
    int cpu;          /* holder, -1 when free */
    u64 irq;          /* interrupt state to restore */
    const char *name;
};
#define SPINLOCK(text) {0, -1, 0, text}
void lock(struct spinlock *l);      /* interrupts off, then spin; panics when this CPU holds it already */
void unlock(struct spinlock *l);    /* restores the interrupt state of lock() */
bool holding(const struct spinlock *l);

/* ---- pool.c: the pinned pool ---- */
void pool_init(void);
void *kalloc(void);                 /* one zeroed page, NULL when the pool is exhausted */
void *kalloc_order(int order);      /* 2^order zeroed contiguous pages, aligned to their size */
void kfree(void *page);             /* what kalloc gave */
void kfree_order(void *page, int order);
u64 pool_free_pages(void);

/* ---- frames.c: user page frames, everything that is not pinned ---- */
void frames_init(void);
u64 frame_alloc(void);              /* physical address of a frame with one reference and any contents; 0: none left */
u64 frames_alloc(u64 n);            /* n of them in a row for the kernel's own use, promised and all; 0: not to be had */
void frame_zero(u64 pa);
void frame_get(u64 pa);             /* one more reference */
void frame_put(u64 pa);             /* drop one; the last frees it */
int frame_refs(u64 pa);
bool frame_reserve(u64 n);          /* promise n frames to a caller, false when they cannot all be kept */
void frame_unreserve(u64 n);
u64 frames_total(void);
u64 frames_uncommitted(void);

/* ---- fdt.c: the device tree, read only, bounds checked; byte order is always big-endian ---- */
void fdt_init(const void *dtb);     /* panics on a malformed tree */
/* Property of the node at an absolute path ("/chosen"); unit addresses may be left out. NULL when absent; *len in bytes. */
const void *fdt_prop(const char *path, const char *name, u32 *len);
u32 fdt_u32(const char *path, const char *name, u32 otherwise);
/* Number from a property of 4 or 8 bytes. */
u64 fdt_num(const char *path, const char *name, u64 otherwise);
const char *fdt_str(const char *path, const char *name);        /* NUL-terminated within bounds, or NULL */
/* Is text in this property, a list of strings? */
bool fdt_has(const char *path, const char *name, const char *text);
/* reg of the node at path, first entry, with its parent's cell sizes. */
bool fdt_reg(const char *path, u64 *addr, u64 *size);
/* Path-free search: the n-th node (from 0) whose "compatible" list holds text; its first reg entry. false when absent. */
bool fdt_compatible_reg(const char *text, int n, u64 *addr, u64 *size);
/* reg entry of the n-th node directly below the node at path that has one. false when there are fewer. */
bool fdt_child_reg(const char *path, int n, u64 *addr, u64 *size);
const void *fdt_header(void);
u32 fdt_size(void);                 /* bytes of the whole tree */

/* ---- main.c ---- */
extern u64 mem_base, mem_size;      /* RAM that the kernel uses, physical */
extern bool page_states;            /* kernel option: tell the hypervisor which frames are free (arch.h) */
extern bool quiet;                  /* kernel option: no banner, no register dumps */

/* ---- bugs.c: known bugs, switched on with bug=NAME[,NAME] on the command line ---- */
#include "bugs.h"

#endif
