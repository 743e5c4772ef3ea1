/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Radix page tables (Power ISA 3.1B, Book III 6.7). Trees cover 48 bits with four levels of 9 bits, so that every table is one
 * page; POWER9's 52-bit trees would cost 64 KiB for each root. The kernel's tree belongs to PID 0 (quadrant 3 addresses); each
 * user tree has a PID of its own, kept in the low bits of the root handle.
 */
#include "ppc64.h"

enum { LEVEL_BITS = 9, LEVELS = 4, ENTRIES = 512, NO_PID = 255, NPID = 256 };

#define VALID (1ull << 63)
#define LEAF (1ull << 62)
#define TABLE_MASK 0x0fffffffffffff00ull
#define RPN_MASK 0x01fffffffffff000ull
#define REF_CHANGED 0x180ull            /* preset: nobody here looks at them */
#define NON_IDEMPOTENT 0x20ull          /* device memory */
#define PRIVILEGED 0x8ull
#define PTE_R 0x4ull
#define PTE_W 0x2ull
#define PTE_X 0x1ull
/* Process table entry: RTS = 48 - 31 = 17, split into bits 62:61 and 7:5; root size 2^9 entries */
#define TREE(root) ((17ull >> 3) << 61 | (root) | (17ull & 7) << 5 | LEVEL_BITS)

static u64 process_table[NPID][2] __attribute__((aligned(4096)));
static u64 kernel_root[ENTRIES] __attribute__((aligned(4096)));
static u64 kernel_giga[ENTRIES] __attribute__((aligned(4096)));
static u64 kernel_devices[ENTRIES] __attribute__((aligned(4096)));
static bool pid_used[NPID];
static struct spinlock pid_lock = SPINLOCK("pids");

/* ---- boot, still in real mode: the linear map, process table and vectors with translation on ---- */

void mmu_boot(void)
{
    for (u64 i = 0; i < LINEAR_MAX >> 30; i++)
        kernel_giga[i] = VALID | LEAF | i << 30 | REF_CHANGED | PRIVILEGED | PTE_R | PTE_W | PTE_X;
    kernel_giga[IO_BASE >> 30] = VALID | LEAF | IO_BASE | REF_CHANGED | NON_IDEMPOTENT | PRIVILEGED | PTE_R | PTE_W;
    kernel_root[0] = VALID | kva_to_pa(kernel_giga) | LEVEL_BITS;
    kernel_root[1] = VALID | kva_to_pa(kernel_devices) | LEVEL_BITS;
    process_table[0][0] = TREE(kva_to_pa(kernel_root));
    /* LoPAR H_REGISTER_PROC_TBL: new radix table (0x1c), guest may tlbie (1); size as log2(bytes) - 12 */
    if (hcall(H_REGISTER_PROC_TBL, 0x1d, kva_to_pa(process_table), 0, 0, NULL) != 0 ||
        hcall(H_SET_MODE, 3, 3, 0, 0, NULL) != 0)       /* resource 3: interrupts with translation on, at AIL 3 */
        arch_poweroff(1);                               /* there is no console before virtual addresses work */
    mtspr(SPR_PID, NO_PID);
}

/* Registers of devices: a gigabyte each, in the 512 GiB behind the linear map's. */
void *map_device(u64 pa, u64 size)
{
    static u64 n;
    u64 offset = pa & ((1ull << 30) - 1);
    if (n == ENTRIES || size > (1ull << 30) - offset)
        return NULL;
    *(volatile u64 *)&kernel_devices[n] = VALID | LEAF | (pa - offset) | REF_CHANGED | NON_IDEMPOTENT | PRIVILEGED | PTE_R | PTE_W;
    __asm__ volatile("ptesync" ::: "memory");
    return (u8 *)(uptr)(KBASE + (1ull << 39) + (n++ << 30) + offset);
}

/* ---- translations that the CPU keeps ---- */

/* tlbie RB, RS, RIC, PRS = 1 (process scoped), R = 1 (radix): assemblers differ in its spelling. RS[0:31] = PID. */
#define TLBIE(ric, rb, rs)                                                                                                  \
    do {                                                                                                                    \
        register u64 rb_ __asm__("r9") = (rb);                                                                              \
        register u64 rs_ __asm__("r10") = (rs);                                                                             \
        __asm__ volatile("ptesync\n .long 0x7c000264 | 10 << 21 | " #ric " << 18 | 1 << 17 | 1 << 16 | 9 << 11\n"            \
                         "eieio\n tlbsync\n ptesync" ::"r"(rb_), "r"(rs_) : "memory");                                      \
    } while (0)

void arch_tlb_flush_page(u64 va) { TLBIE(0, va & ~PAGE_MASK, mfspr(SPR_PID) << 32); }       /* RB: EPN, IS = 0, AP = 0 (4 KiB) */
static void flush_pid(u64 pid) { TLBIE(2, 1ull << 10, pid << 32); }                         /* RIC 2, IS = 1: all of one PID */
void arch_tlb_flush_all(void) { flush_pid(mfspr(SPR_PID)); }

/* ---- user trees ---- */

static u64 root_of(u64 handle) { return handle & ~PAGE_MASK; }
static u64 pid_of(u64 handle) { return handle & PAGE_MASK; }

static int index_at(u64 va, int level) { return (int)(va >> (PAGE_SHIFT + LEVEL_BITS * (LEVELS - 1 - level))) & (ENTRIES - 1); }

u64 arch_pt_new(void)
{
    u64 *root = kalloc(), pid = 1;
    if (!root)
        return 0;
    lock(&pid_lock);
    while (pid < NO_PID && pid_used[pid])
        pid++;
    pid_used[pid] = true;
    unlock(&pid_lock);
    if (pid == NO_PID) {
        kfree(root);
        return 0;
    }
    process_table[pid][0] = TREE(kva_to_pa(root));
    return kva_to_pa(root) | pid;
}

static void free_table(u64 *table, int level)
{
    for (int i = 0; level < LEVELS - 1 && i < ENTRIES; i++)
        if (table[i])
            free_table(pa_to_kva(table[i] & TABLE_MASK), level + 1);
    kfree(table);
}

void arch_pt_free(u64 handle)
{
    process_table[pid_of(handle)][0] = 0;
    flush_pid(pid_of(handle));          /* before another tree gets the PID */
    pid_used[pid_of(handle)] = false;
    free_table(pa_to_kva(root_of(handle)), 0);
}

/* The last-level entry for va, or NULL. make: add missing tables. */
static u64 *entry(u64 handle, u64 va, bool make)
{
    u64 *table = pa_to_kva(root_of(handle));
    for (int level = 0; level < LEVELS - 1; level++) {
        u64 *e = &table[index_at(va, level)];
        if (!*e) {
            u64 *below = make ? kalloc() : NULL;
            if (!below)
                return NULL;
            *e = VALID | kva_to_pa(below) | LEVEL_BITS;
        }
        table = pa_to_kva(*e & TABLE_MASK);
    }
    return &table[index_at(va, LEVELS - 1)];
}

int arch_map(u64 handle, u64 va, u64 pa, int prot)
{
    u64 *e = entry(handle, va, true);
    if (!e)
        return -ENOMEM;
    *(volatile u64 *)e = VALID | LEAF | pa | REF_CHANGED | PTE_R | (prot & PROT_W ? PTE_W : 0) | (prot & PROT_X ? PTE_X : 0) |
                        (prot & PROT_DEVICE ? NON_IDEMPOTENT : 0);
    __asm__ volatile("ptesync" ::: "memory");           /* before any access that needs it (Book III 6.10.1.2) */
    return 0;
}

u64 arch_unmap(u64 handle, u64 va)
{
    u64 *e = entry(handle, va, false), old = e ? *e : 0;
    if (e)
        *(volatile u64 *)e = 0;
    return old & VALID ? old & RPN_MASK : 0;
}

u64 arch_lookup(u64 handle, u64 va, int *prot)
{
    u64 *e = entry(handle, va, false);
    if (!e || !(*e & VALID))
        return 0;
    if (prot)
        *prot = PROT_R | (*e & PTE_W ? PROT_W : 0) | (*e & PTE_X ? PROT_X : 0) | (*e & NON_IDEMPOTENT ? PROT_DEVICE : 0);
    return *e & RPN_MASK;
}

void arch_switch_mm(u64 handle)
{
    mtspr(SPR_PID, handle ? pid_of(handle) : NO_PID);
    __asm__ volatile("isync" ::: "memory");
}

void arch_sync_icache(void *kva, u64 len)
{
    u64 start = (uptr)kva & ~127ull, end = (uptr)kva + len;
    for (u64 a = start; a < end; a += 128)
        __asm__ volatile("dcbst 0, %0" ::"r"(a) : "memory");
    __asm__ volatile("sync" ::: "memory");
    for (u64 a = start; a < end; a += 128)
        __asm__ volatile("icbi 0, %0" ::"r"(a) : "memory");
    __asm__ volatile("sync\n isync" ::: "memory");
}
