/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Radix translation of a partition (Power ISA 3.1B, Book III, 6.7.10-6.7.12): process table -> tree -> leaf, rights, keys, R and C.
 * Stage 2 (the partition-scoped tree) is stage2.c's.
 *
 * A table outside memory is reported as KVM reflects it to its guests: DSI with DSISR[46] (0x00020000), not a machine check.
 */
#include "ppc64.h"

/* Process table entry, doubleword 0 (Book III 6.7.6.2) */
#define PRTE_RTS(e) (((e) >> 61 & 3) << 3 | ((e) >> 5 & 7))
#define RTS_BIAS 31                                     /* tree covers 2^(RTS + 31) bytes */
#define TREE_BASE 0x0fffffffffffff00ull
#define TREE_SIZE 0x1full                               /* log2 of the entries of a table */

/* Page directory and page table entries (6.7.10.1, 6.7.10.2) */
#define PTE_VALID (1ull << 63)
#define PTE_LEAF (1ull << 62)
#define PTE_RPN 0x01fffffffffff000ull
#define PTE_R 0x100ull
#define PTE_C 0x080ull
#define PTE_ATT 0x030ull
#define PTE_ATT_NI 0x020ull                             /* non-idempotent I/O: never executable */
#define PTE_PRIV 0x008ull
#define PTE_READ 0x004ull
#define PTE_WRITE 0x002ull                              /* implies read */
#define PTE_EXEC 0x001ull

#define REAL_MASK 0x0fffffffffffffffull                 /* real mode ignores EA[0:3] */
#define QUADRANT(ea) ((ea) >> 62)

static enum walk_status fault(struct walk *w, u32 bits)
{
    w->fault = bits;
    return WALK_FAULT;
}

/* Read a table's doubleword; false: *status says how the walk ends. */
static bool table(struct vcpu *v, u64 gpa, u64 *val, struct walk *w, enum walk_status *status)
{
    if (!table_read64(v, gpa, val, w)) {
        *status = w->table_error ? fault(w, DSISR_PRTABLE | DSISR_NOPTE) : WALK_S2;
        return false;
    }
    *val = be64(*val);
    return true;
}

static bool leaf_size_ok(u32 shift)
{
    return shift == 12 || shift == 16 || shift == 21 || shift == 30;
}

static u32 rights(struct vcpu *v, u64 pte, bool user, u32 *key_denied)
{
    u32 prot = 0;

    *key_denied = 0;
    if (user && (pte & PTE_PRIV))
        return 0;
    if (pte & (PTE_READ | PTE_WRITE))
        prot |= UC_PROT_READ;
    if (pte & PTE_WRITE)
        prot |= UC_PROT_WRITE;
    if ((pte & PTE_EXEC) && (pte & PTE_ATT) != PTE_ATT_NI)
        prot |= UC_PROT_EXEC;
    if (!user && !(pte & PTE_PRIV)) {                   /* key 0 guards the kernel's use of user pages (6.7.11.2) */
        u64 amr = *spr(v, SPR_AMR) >> 62;
        if (amr & 1)
            *key_denied |= UC_PROT_READ;
        if (amr & 2)
            *key_denied |= UC_PROT_WRITE;
        if (*spr(v, SPR_IAMR) >> 62 & 1)
            *key_denied |= UC_PROT_EXEC;
    }
    return prot;
}

/* The tree of process `pid`; w->user says with whose rights. */
static inline enum walk_status translate(struct vcpu *v, u64 pid, u64 va, enum access acc, struct walk *w)
{
    static const u32 need[] = { [ACC_READ] = UC_PROT_READ, [ACC_WRITE] = UC_PROT_WRITE, [ACC_FETCH] = UC_PROT_EXEC };
    u64 prtbl = ppc64_of(v)->prtbl, entry, at;
    enum walk_status status;

    if (QUADRANT(va) == 1 || QUADRANT(va) == 2)
        return fault(w, FAULT_SEGMENT);
    if (prtbl == PRTBL_NONE)
        return fault(w, DSISR_NOPTE);
    /* PIDR is 20 bits wide on POWER10; a larger value cannot be in any table anyway */
    u64 offset = (QUADRANT(va) == 3 ? 0 : pid & 0xffffffff) * 16;
    if (offset >> ((prtbl & 31) + 12))
        return fault(w, DSISR_NOPTE);
    if (!table(v, (prtbl & PAGE_MASK & REAL_MASK) + offset, &entry, w, &status))
        return status;

    u32 shift = (u32)PRTE_RTS(entry) + RTS_BIAS, bits = entry & TREE_SIZE;
    u64 ea = va & (~0ull >> 2);
    if (bits == 0)                                      /* an all-zero entry: this process has no tree */
        return fault(w, DSISR_NOPTE);
    if (shift > 62)
        return fault(w, DSISR_BADCONFIG);
    if (shift < 62 && ea >> shift)
        return fault(w, FAULT_SEGMENT);
    for (;;) {
        if (bits < 5 || bits > 16 || shift < bits + 12)
            return fault(w, DSISR_BADCONFIG);
        shift -= bits;
        at = (entry & TREE_BASE) + (ea >> shift & ((1ull << bits) - 1)) * 8;
        if (!table(v, at, &entry, w, &status))
            return status;
        if (!(entry & PTE_VALID))
            return fault(w, DSISR_NOPTE);
        if (entry & PTE_LEAF)
            break;
        bits = entry & TREE_SIZE;
    }
    if (!leaf_size_ok(shift))
        return fault(w, DSISR_BADCONFIG);

    u32 denied, prot = rights(v, entry, w->user, &denied);
    if (!(prot & need[acc])) {
        bool privilege = w->user && (entry & PTE_PRIV);
        return fault(w, acc == ACC_FETCH && !privilege ? DSISR_NOEXEC : DSISR_PROT);
    }
    if (denied & need[acc])
        return fault(w, DSISR_KEY);
    prot &= ~denied;
    u64 updated = entry | PTE_R | (acc == ACC_WRITE ? PTE_C : 0);
    if (updated != entry && !table_write64(v, at, be64(updated)))
        return fault(w, DSISR_RC);
    if (!(updated & PTE_C))                             /* the first store must come back to set C */
        prot &= ~(u32)UC_PROT_WRITE;
    w->gpa = (entry & PTE_RPN & ~((1ull << shift) - 1)) | (va & ((1ull << shift) - 1));
    w->prot = prot;
    return WALK_OK;
}

enum walk_status ppc64_walk(struct vcpu *v, u64 va, enum access acc, struct walk *w)
{
    u64 state = msr(v);

    w->user = state & MSR_PR;
    w->table_error = false;
    w->fault = 0;
    if (!(state & (acc == ACC_FETCH ? MSR_IR : MSR_DR))) {
        w->gpa = va & REAL_MASK;
        w->prot = UC_PROT_READ | UC_PROT_WRITE | UC_PROT_EXEC;
        return WALK_OK;
    }
    return translate(v, *spr(v, SPR_PIDR), va, acc, w);
}

enum walk_status ppc64_walk_process(struct vcpu *v, u32 pid, u64 va, enum access acc, struct walk *w)
{
    w->user = true;
    w->table_error = false;
    w->fault = 0;
    return translate(v, pid, va, acc, w);
}
