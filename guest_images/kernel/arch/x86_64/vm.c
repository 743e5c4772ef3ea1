/* SPDX-License-Identifier: GPL-2.0-or-later */
/* User page tables: 4 levels, 4 KiB pages (SDM 3, 4.5). The kernel half of every root is one shared entry. */
#include "kernel.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR 0x000ffffffffff000ull
#define KERNEL_ENTRY 256                /* of the root: KBASE >> 39 & 511 */

extern u64 boot_pml4[512];

void vm_boot_done(void)
{
    boot_pml4[0] = 0;                   /* the identity map */
    arch_switch_mm(0);
}

u64 vm_start_root(void)
{
    u64 *root = kalloc();
    if (!root)
        return 0;
    root[0] = root[KERNEL_ENTRY] = boot_pml4[KERNEL_ENTRY];
    return kva_to_pa(root);
}

static u64 *table(u64 entry) { return pa_to_kva(entry & PTE_ADDR); }
static int slot(u64 va, int level) { return (int)(va >> (3 + 9 * level) & 511); }

/* The leaf entry of va, or NULL. make: build the tables on the way. */
static u64 *leaf(u64 root, u64 va, bool make)
{
    u64 *t = pa_to_kva(root);
    for (int level = 4; level > 1; level--) {
        u64 *e = &t[slot(va, level)];
        if (!(*e & PTE_P)) {
            void *page = make ? kalloc() : NULL;
            if (!page)
                return NULL;
            *e = kva_to_pa(page) | PTE_P | PTE_W | PTE_U;
        }
        t = table(*e);
    }
    return &t[slot(va, 1)];
}

u64 arch_pt_new(void)
{
    u64 *root = kalloc();
    if (!root)
        return 0;
    root[KERNEL_ENTRY] = boot_pml4[KERNEL_ENTRY];
    return kva_to_pa(root);
}

static void free_tables(u64 *t, int level)
{
    int end = level == 4 ? KERNEL_ENTRY : 512;
    for (int i = 0; i < end && level > 1; i++)
        if (t[i] & PTE_P)
            free_tables(table(t[i]), level - 1);
    kfree(t);
}

void arch_pt_free(u64 root) { free_tables(pa_to_kva(root), 4); }

int arch_map(u64 root, u64 va, u64 pa, int prot)
{
    u64 *e = leaf(root, va, true);
    if (!e)
        return -ENOMEM;
    *e = pa | PTE_P | PTE_U | (prot & PROT_W ? PTE_W : 0) | (prot & PROT_X ? 0 : PTE_NX);
    return 0;
}

u64 arch_unmap(u64 root, u64 va)
{
    u64 *e = leaf(root, va, false), old = e ? *e : 0;
    if (!(old & PTE_P))
        return 0;
    *e = 0;
    return old & PTE_ADDR;
}

u64 arch_lookup(u64 root, u64 va, int *prot)
{
    const u64 *e = leaf(root, va, false);
    if (!e || !(*e & PTE_P))
        return 0;
    if (prot)
        *prot = PROT_R | (*e & PTE_W ? PROT_W : 0) | (*e & PTE_NX ? 0 : PROT_X);
    return *e & PTE_ADDR;
}

/* The lowest address below table t (of level; va: its first) that maps the page at pa. */
static u64 find(const u64 *t, int level, u64 va, u64 pa)
{
    int end = level == 4 ? KERNEL_ENTRY : 512;
    for (int i = 0; i < end; i++) {
        u64 at = va | (u64)i << (3 + 9 * level), found = at;
        if (!(t[i] & PTE_P) || (level == 1 && (t[i] & PTE_ADDR) != pa))
            continue;
        if (level > 1)
            found = find(table(t[i]), level - 1, at, pa);
        if (found != ~0ull)
            return found;
    }
    return ~0ull;
}

u64 vm_reverse(u64 pa)
{
    u64 cr3;
    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    return find(table(cr3), 4, 0, PAGE_DOWN(pa));
}

void arch_tlb_flush_page(u64 va) { __asm__ volatile("invlpg (%0)" ::"r"(va) : "memory"); }

void arch_tlb_flush_all(void)
{
    u64 cr3;
    __asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
    write_cr3(cr3);
}

void arch_switch_mm(u64 root) { write_cr3(root ? root : kva_to_pa(boot_pml4)); }
