/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tce.h - the host kernel behind the TCE hypercalls (LoPAR 2.9 5.4.2).
 *
 *   memory.c   the host's linear memory: its own pages, and the frames that hold guest pages
 *   vmemmap.c  page structs: where they lie, and how real mode finds one
 *   page.c     reference counts
 *   table.c    TCE tables
 *   real.c     hypercalls in real mode
 *   virtual.c  what virtual mode may do besides
 *   dma.c      the device's side of a table
 *   host.c     making and ending it; the way in from core
 *
 * Host physical addresses: below `nframes` pages the frames of core; from KERNEL_BASE on the host kernel's own pages. Both are the
 * linear map, all that real mode can reach: an access outside it, an allocation, a page released or a vmemmap address used while
 * `real` is set is a breach. On hardware the machine would be gone; here the run ends and says why.
 */
#ifndef VMEMU_TCE_H
#define VMEMU_TCE_H

#include <stddef.h>

#include "public.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef int32_t s32;
typedef uint64_t u64;
typedef int64_t s64;

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096ull
#define ENTRIES 512u                                    /* of 8 bytes in a page: the most that one call takes (LoPAR 5.4.2.3, 5.4.2.4) */
#define CYC 64u
#define KERNEL_BASE (1ull << 40)
#define VMEMMAP_BASE 0xf000000000000000ull
#define MAX_TABLES 16
#define MAX_CPUS 16

/* TCE bits (LoPAR, "TCE definition"): 0-51 page, 62 device may write, 63 device may read */
#define TCE_READ 1ull
#define TCE_WRITE 2ull
#define TCE_PERMS 3ull
#define TCE_RESERVED 0xffcull
#define TCE_PAGE (~0xfffull)

enum { H_GET_TCE = 0x1c, H_PUT_TCE = 0x20, H_STUFF_TCE = 0x138, H_PUT_TCE_INDIRECT = 0x13c };
enum op { OP_GET, OP_PUT, OP_STUFF, OP_INDIRECT, OPS };

/* ------------------------------------------------------------ page structs */
enum page_flags { PG_HEAD = 1, PG_TAIL = 2, PG_LARGE = 4, PG_GUEST = 8 };
#define PG_COMPOUND (PG_HEAD | PG_TAIL)
/* PG_LARGE: the guest's mapping is larger than a page. PG_GUEST: one of the references is the guest's own. */
struct page { u32 flags; s32 count; u64 head; };        /* head: of a tail, the head's address in the vmemmap; the rest of S is unused */

struct backing { u64 next, virt, phys; };               /* one block of page structs; lies in linear memory, `next` is physical */

/* Versions of the two helpers: each as posted on the list at that date. */
enum helpers { HELPERS_MAY, HELPERS_JUNE_5, HELPERS_JUNE_27, HELPERS_JULY_15, HELPERS_V7, HELPERS_N };

/* ------------------------------------------------------------------ tables */
struct tce_table {
    u64 liobn, first, size;                             /* window in IOMMU pages */
    u32 shift;                                          /* of an IOMMU page */
    bool in_kernel;                                     /* else only the user level knows it */
    bool locked;
    u64 dir[2];                                         /* physical: directory of pages with entries as the guest gave them, and as the device sees them */
};
enum half { GIVEN, MAPPED };                            /* MAPPED: host address | permissions for each 4 KiB, 0: nothing behind it */

/* --------------------------------------------------------- deferred work */
enum marker {
    MARK_NONE,                                          /* nothing is held: start over */
    MARK_GET_PAGE,                                      /* entries below `num` hold references in mapped[] */
    MARK_PUT_TCE,                                       /* all references are held, the table is unchanged */
    MARK_DROP_OLD,                                      /* the table is done; from `num` on the old entries in mapped[] hold references */
    MARK_PUT_LIST                                       /* all is done but the list page's reference */
};
struct tce_cpu {
    u32 marker, num, total;
    u32 table;
    u64 index;
    u64 list_page;                                      /* its reference is held: host address | 1; else 0 */
    u64 stray;                                          /* so is one that could not be dropped at step 9 */
    u64 given, mapped;                                  /* physical: two pages, 512 entries as asked for and as the device will see them */
};

/* Why real mode refused: the nine steps of the sheet's section 4, and what its tables add. */
enum refusal {
    R_NONE, R_NO_MEMORY_SLOT, R_NOT_PRESENT, R_LARGE_MAPPING, R_NOT_DIRTY, R_NOT_YOUNG, R_NO_PAGE_STRUCT, R_COMPOUND, R_COUNT_ZERO,
    R_CHANGED, R_OFF, R_ARGUMENTS, R_NO_TABLE_PAGE, R_LAST_REFERENCE, R_LOCKED, R_PAGE_SIZE, R_LIMIT, R_COUNT
};

enum bug {
    BUG_ABSENT_SUCCESS = 1 << 0, BUG_ALL_ONES = 1 << 1, BUG_PAGE_OUT = 1 << 2, BUG_LIST_LEAK = 1 << 3, BUG_STALE_MARKER = 1 << 4,
    BUG_EARLY_DROP = 1 << 5, BUG_WRAP = 1 << 6, BUG_LOCK_LEAK = 1 << 7, BUG_CLEAR_FIRST = 1 << 8, BUG_DIRTY_COMPOUND = 1 << 9,
    BUG_NO_FLUSH = 1 << 10, BUG_FREE_IN_REAL = 1 << 11, BUG_ROLLBACK = 1 << 12
};

/* What another CPU does while real mode is at a step: for tests. `step` 0: nothing. */
enum race_action { RACE_PTE, RACE_COUNT, RACE_FLAGS, RACE_LOCK };
struct race { u32 step, action, frame; s32 value; };

struct tce_level_cost { u64 call, entry; };             /* 1/64 cycle */

/* What the bridge has cached of tables: valid while nothing was flushed since. */
struct iotlb { u64 liobn, page, mapped, filled; };
#define IOTLB 256

struct tce_host {
    const struct core_api *core;
    struct machine *m;
    u32 nframes, reg3;                                  /* reg3: core's index of r3; the others follow */
    /* linear memory */
    u8 *lin; u64 lin_size, lin_next, lin_free;
    u8 *scratch;
    bool real, dead;
    char why[160];
    /* page structs */
    u32 page_bytes, block_shift; bool flat;
    u64 head, nodes, nblocks, npages; u64 *block;       /* block[]: virtual mode's page table of the vmemmap */
    u32 helpers;
    u64 held, limit;                                    /* frames with references besides the guest's; how many there may be */
    u64 freed;                                          /* pages that their last reference freed */
    /* tables */
    struct tce_table table[MAX_TABLES]; u32 ntables;
    struct tce_cpu cpu[MAX_CPUS];
    struct iotlb iotlb[IOTLB]; u64 flushes;             /* from 1 on: a zeroed entry is no entry */
    bool real_mode;                                     /* host property: is real mode used at all? */
    bool tell_delta;                                    /* r4 of a call tells `delta` (LoPAR 12.3.3) */
    s64 delta;                                          /* 4 KiB that the last call has mapped more than before */
    u32 bugs;
    struct race race; bool pte_changed;
    struct tce_level_cost cost;
    u64 calls[OPS], refused[R_COUNT], entries;          /* finished in real mode; why not; entries changed by those */
    u64 stale_dma, early_drops;                         /* violations: a device used what was taken back; a page let go too soon */
};

/* memory.c */
int lin_init(struct tce_host *, u64 bytes);
void lin_end(struct tce_host *);
void breach(struct tce_host *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *lin(struct tce_host *, u64 phys, u64 len);        /* linear map; a breach gives scratch memory */
u64 kernel_pages(struct tce_host *, u32 n);             /* zeroed, contiguous; 0: none. Virtual mode */
/* vmemmap.c */
int vmemmap_init(struct tce_host *, u64 npages);
void vmemmap_end(struct tce_host *);
int vmemmap_add(struct tce_host *, u64 block, u64 phys);    /* a block of page structs appears; phys 0: anywhere */
int vmemmap_remove(struct tce_host *, u64 block);
u64 realmode_pfn_to_page(struct tce_host *, u64 pfn);   /* physical address of the page struct, or 0: let virtual mode do it */
u64 pfn_to_page(const struct tce_host *, u64 pfn);      /* vmemmap address */
void *virt(struct tce_host *, u64 va);                  /* virtual mode: what lies at a vmemmap address; NULL: no block */
/* page.c */
bool get_page_unless_zero(struct page *);
bool put_page_unless_one(struct page *);
bool helper_get(struct tce_host *, struct page *);      /* as of h->helpers; true: done */
bool helper_put(struct tce_host *, struct page *);
u32 *page_flags(struct tce_host *, u64 pfn);            /* virtual mode; NULL: no block */
s32 *page_count(struct tce_host *, u64 pfn);
u64 page_head(struct tce_host *, u64 pfn);              /* the pfn whose count stands for this one */
s32 page_refs(struct tce_host *, u64 pfn);              /* references besides the guest's own */
int get_page(struct tce_host *, u64 pfn);               /* virtual mode: -1 for a free page */
int put_page(struct tce_host *, u64 pfn);               /* the last one frees the page */
extern const struct frame_watch page_watch;
/* table.c */
struct tce_table *table_find(struct tce_host *, u64 liobn);
u64 *table_slot(struct tce_host *, const struct tce_table *, enum half, u64 index);     /* NULL: its page is not there */
bool table_lock(struct tce_host *, struct tce_table *);
void table_unlock(struct tce_table *);
void table_flush(struct tce_host *);
static inline u64 be64(u64 x) { return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? __builtin_bswap64(x) : x; }
/* real.c */
int real_hcall(struct tce_host *, struct tce_cpu *, u32 token, const u64 args[4], u64 *result);   /* 0 done, or a refusal */

#endif
