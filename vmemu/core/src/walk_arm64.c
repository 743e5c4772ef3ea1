/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stage-1 walk of the EL1&0 regime, VMSAv8-64 with the 4 KiB granule (DDI 0487 D5.2-D5.4): two ranges, 1 GiB and 2 MiB blocks,
 * hierarchical rights. No hardware update of the access flag (Armv8.0).
 *
 * One order of checks for every level, as in the pseudocode AArch64.TranslationTableWalk: external abort, translation,
 * address size; then, for the leaf, access flag and permission.
 */
#include "arm64.h"

#define TCR_EPD0 7
#define TCR_EPD1 23
#define TCR_TG0 14
#define TCR_TG1 30
#define TCR_IPS 32
#define TCR_TBI0 37
#define TCR_TBI1 38

/* Descriptors (D5.3.1, D5.3.3) */
#define D_VALID 1ull
#define D_TABLE 2ull
#define D_ADDR 0x0000fffffffff000ull
#define D_AP1 (1ull << 6)                               /* EL0 may */
#define D_AP2 (1ull << 7)                               /* read only */
#define D_AF (1ull << 10)
#define D_PXN (1ull << 53)
#define D_UXN (1ull << 54)
#define D_PXNTABLE (1ull << 59)
#define D_UXNTABLE (1ull << 60)
#define D_APTABLE_USER (1ull << 61)                     /* no access from EL0 below */
#define D_APTABLE_RO (1ull << 62)

#define PA_BITS 44                                      /* ID_AA64MMFR0_EL1.PARange of the model */

/* Output address size (TCR_EL1.IPS), never above what is implemented (D5.2.5). */
static u32 output_bits(u64 tcr)
{
    static const u8 bits[8] = { 32, 36, 40, 42, 44, 48, 48, 48 };
    u32 n = bits[tcr >> TCR_IPS & 7];

    return n < PA_BITS ? n : PA_BITS;
}

static enum walk_status fault(struct walk *w, u32 fsc, int level)
{
    w->fault = fsc + (u32)level;
    return WALK_FAULT;
}

/* The range va lies in: its table base, input size in bits (0: a translation fault) (D5.2.4). */
static u32 select_range(struct vcpu *v, u64 tcr, u64 va, u64 *base)
{
    bool high = va >> 55 & 1;
    bool tbi = tcr >> (high ? TCR_TBI1 : TCR_TBI0) & 1;
    bool granule = high ? (tcr >> TCR_TG1 & 3) == 2 : (tcr >> TCR_TG0 & 3) == 0;
    u32 tsz = (u32)(tcr >> (high ? 16 : 0)) & 0x3f, bits;
    u64 top;

    *base = ENV(v, u64, high ? E_TTBR1_EL1 : E_TTBR0_EL1);
    if (!granule || tcr >> (high ? TCR_EPD1 : TCR_EPD0) & 1)
        return 0;                                       /* only the 4 KiB granule is modelled */
    if (tsz < 16 || tsz > 39)                           /* Armv8.0: the value is treated as out of range = fault */
        return 0;
    bits = 64 - tsz;
    top = tbi ? (u64)((i64)(va << 8) >> 8) : va;        /* the tag is replaced by copies of bit 55 */
    if ((high ? ~top : top) >> bits)
        return 0;
    return bits;
}

/* Rights of a leaf for the current EL, as UC_PROT_* (D5.4.1, tables D5-28 to D5-30). `table` collects the table attributes. */
static u32 rights(u64 leaf, u64 table, bool user, bool wxn)
{
    bool el0 = (leaf & D_AP1) && !(table & D_APTABLE_USER);
    bool write = !(leaf & D_AP2) && !(table & D_APTABLE_RO);
    bool el0_write = el0 && write;
    u32 prot = 0;

    if (!user || el0)
        prot = UC_PROT_READ | (write ? UC_PROT_WRITE : 0);
    if (user) {
        if (!(leaf & D_UXN) && !(table & D_UXNTABLE))
            prot |= UC_PROT_EXEC;                       /* also without read access: execute-only */
    } else if (!(leaf & D_PXN) && !(table & D_PXNTABLE) && !el0_write) {
        prot |= UC_PROT_EXEC;                           /* what EL0 can write is never executed at EL1 */
    }
    if (wxn && (prot & UC_PROT_WRITE))
        prot &= ~(u32)UC_PROT_EXEC;
    return prot;
}

enum walk_status arm64_walk(struct vcpu *v, u64 va, enum access acc, struct walk *w)
{
    static const u32 need[] = { [ACC_READ] = UC_PROT_READ, [ACC_WRITE] = UC_PROT_WRITE, [ACC_FETCH] = UC_PROT_EXEC };
    u64 sctlr = ENV(v, u64, E_SCTLR_EL1), tcr = ENV(v, u64, E_TCR_EL1), base, desc, table = 0;
    u32 bits, out = output_bits(tcr);
    int level;

    w->user = arm64_el(v) == 0;
    w->table_error = false;
    w->fault = 0;
    if (!(sctlr & SCTLR_M)) {
        if (tcr >> (va >> 55 & 1 ? TCR_TBI1 : TCR_TBI0) & 1)
            va &= (1ull << 56) - 1;
        if (va >> PA_BITS)                              /* AArch64.TranslateAddressS1Off: level 0 address size fault */
            return fault(w, FSC_ADDRESS, 0);
        w->gpa = va;
        w->prot = UC_PROT_ALL;
        return WALK_OK;
    }
    bits = select_range(v, tcr, va, &base);
    if (!bits)
        return fault(w, FSC_TRANSLATION, 0);

    level = 4 - (int)(bits - 12 + 8) / 9;               /* 9 bits a level above the 12 of the page: T0SZ 16..24, 25..33, 34..39 */
    u32 shift = 12 + 9 * (u32)(3 - level);
    if ((base & D_ADDR) >> out)
        return fault(w, FSC_ADDRESS, 0);
    base &= 0x0000ffffffffffffull & ~((8ull << (bits - shift)) - 1);    /* the first table is aligned to its own size */
    u64 index = va >> shift & ((1ull << (bits - shift)) - 1);

    for (;; level++, shift -= 9, index = va >> shift & 511) {
        if (!table_read64(v, base + index * 8, &desc, w)) {
            if (!w->table_error)
                return WALK_S2;
            return fault(w, FSC_EXTERNAL_WALK, level);
        }
        if (sctlr & SCTLR_EE)
            desc = __builtin_bswap64(desc);
        if (!(desc & D_VALID) || (level == 3 && !(desc & D_TABLE)) || (level == 0 && !(desc & D_TABLE)))
            return fault(w, FSC_TRANSLATION, level);    /* invalid, or the reserved encoding */
        if ((desc & D_ADDR) >> out)
            return fault(w, FSC_ADDRESS, level);
        if (level == 3 || !(desc & D_TABLE))
            break;
        table |= desc;
        base = desc & D_ADDR;
    }

    if (!(desc & D_AF))
        return fault(w, FSC_ACCESS_FLAG, level);
    w->prot = rights(desc, table, w->user, sctlr & SCTLR_WXN);
    if (!(w->prot & need[acc]))
        return fault(w, FSC_PERMISSION, level);
    u64 offset = (1ull << shift) - 1;
    w->gpa = (desc & D_ADDR & ~offset) | (va & offset);
    return WALK_OK;
}
