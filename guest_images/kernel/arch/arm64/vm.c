/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User page tables: VMSAv8-64, 4 KiB granule, 48 bits, four levels (DDI 0487 D5). No address space ids: a switch drops the TLB. */
#include "arm64.h"
#include "kernel.h"

#define PTE_VALID 1ull
#define PTE_TABLE 3ull                  /* a table at levels 0 to 2, a page at level 3 */
#define PTE_USER (1ull << 6)            /* AP[1] */
#define PTE_RO (1ull << 7)              /* AP[2] */
#define PTE_SHARED (3ull << 8)
#define PTE_AF (1ull << 10)
#define PTE_NG (1ull << 11)             /* not global: of this address space only */
#define PTE_PXN (1ull << 53)
#define PTE_UXN (1ull << 54)
#define PTE_ADDR 0x0000fffffffff000ull

extern char empty_level0[];

static u64 *entry_at(u64 *table, int level, u64 va) { return table + (va >> (39 - 9 * level) & 511); }

/* The level-3 entry of va; with `make`, missing tables are added. NULL: no table, or no memory for one. */
static u64 *find(u64 root, u64 va, bool make)
{
    u64 *table = pa_to_kva(root);

    for (int level = 0; level < 3; level++) {
        u64 *e = entry_at(table, level, va);
        if (!(*e & PTE_VALID)) {
            u64 *next = make ? kalloc() : NULL;
            if (!next)
                return NULL;
            __asm__ volatile("dsb ishst" ::: "memory"); /* a zeroed table before the entry that shows it */
            *e = kva_to_pa(next) | PTE_TABLE;
        }
        table = pa_to_kva(*e & PTE_ADDR);
    }
    return entry_at(table, 3, va);
}

u64 arch_pt_new(void)
{
    void *root = kalloc();

    return root ? kva_to_pa(root) : 0;
}

static void free_tables(u64 *table, int level)
{
    for (int i = 0; level < 3 && i < 512; i++) {
        if (table[i] & PTE_VALID)
            free_tables(pa_to_kva(table[i] & PTE_ADDR), level + 1);
    }
    kfree(table);
}

void arch_pt_free(u64 root) { free_tables(pa_to_kva(root), 0); }

int arch_map(u64 root, u64 va, u64 pa, int prot)
{
    u64 *e = find(root, va, true);

    if (!e)
        return -ENOMEM;
    *e = pa | PTE_TABLE | PTE_USER | PTE_SHARED | PTE_AF | PTE_NG | PTE_PXN | (prot & PROT_W ? 0 : PTE_RO) |
         (prot & PROT_X ? 0 : PTE_UXN);
    __asm__ volatile("dsb ishst\n\tisb" ::: "memory");  /* the walker sees it before the access that wants it */
    return 0;
}

u64 arch_unmap(u64 root, u64 va)
{
    u64 *e = find(root, va, false), old;

    if (!e || !(*e & PTE_VALID))
        return 0;
    old = *e & PTE_ADDR;
    *e = 0;
    return old;
}

u64 arch_lookup(u64 root, u64 va, int *prot)
{
    u64 *e = find(root, va, false);

    if (!e || !(*e & PTE_VALID))
        return 0;
    if (prot)
        *prot = PROT_R | (*e & PTE_RO ? 0 : PROT_W) | (*e & PTE_UXN ? 0 : PROT_X);
    return *e & PTE_ADDR;
}

void arch_tlb_flush_page(u64 va)
{
    __asm__ volatile("dsb ishst\n\ttlbi vaae1is, %0\n\tdsb ish\n\tisb" ::"r"(va >> PAGE_SHIFT) : "memory");
}

void arch_tlb_flush_all(void) { __asm__ volatile("dsb ishst\n\ttlbi vmalle1is\n\tdsb ish\n\tisb" ::: "memory"); }

void arch_switch_mm(u64 root)
{
    write_sysreg(ttbr0_el1, root ? root : kva_to_pa(empty_level0));
    __asm__ volatile("isb\n\ttlbi vmalle1\n\tdsb nsh\n\tisb" ::: "memory");
}

void arch_sync_icache(void *kva, u64 len)
{
    u64 line = 4ull << (read_sysreg(ctr_el0) & 15), end = (u64)(uptr)kva + len;   /* IminLine: words, as a power of two */

    for (u64 at = (u64)(uptr)kva & ~(line - 1); at < end; at += line)
        __asm__ volatile("dc cvau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish\n\tic ialluis\n\tdsb ish\n\tisb" ::: "memory");
}
