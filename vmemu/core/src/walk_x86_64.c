/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stage-1 walk, 4-level paging (SDM 4.5), and the flat modes before it. Supervisor accesses that user code makes implicitly
 * (descriptor tables, TSS; SDM 4.6) are recognised here, because Unicorn's fill hook does not say which kind it serves.
 */
#include "x86_64.h"

#define PTE_P 1ull
#define PTE_RW 2ull
#define PTE_US 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define PTE_ADDR (((1ull << MAXPHYADDR) - 1) & PAGE_MASK)
#define PTE_RSVD (((1ull << 52) - 1) & ~((1ull << MAXPHYADDR) - 1))

static enum walk_status fault(struct walk *w, u32 code)
{
    w->fault = code;
    return WALK_FAULT;
}

/* Bits that must be zero in an entry of this level: 4 = PML4E ... 1 = PTE (SDM table 4-14 ff). */
static bool reserved_bits(u64 e, int level, bool nxe)
{
    if ((e & PTE_RSVD) || (!nxe && (e & PTE_NX)))
        return true;
    if (!(e & PTE_PS) || level == 1)
        return false;
    if (level == 4)
        return true;
    return e & (level == 3 ? 0x3fffe000ull : 0x1fe000ull); /* address bits of a 1 GiB or 2 MiB page; bit 12 is PAT */
}

enum walk_status x86_walk_as(struct vcpu *v, u64 va, enum access acc, bool user, struct walk *w)
{
    u64 cr0 = CR(v, 0), cr4 = CR(v, 4), efer = ENV(v, u64, X_EFER);
    bool nxe = efer & EFER_NXE, write = acc == ACC_WRITE, fetch = acc == ACC_FETCH;
    u64 entry[4], at[4], table, rights = PTE_RW | PTE_US, nx = 0;
    int level, n = 0;

    w->user = user;
    w->table_error = false;
    w->fault = 0;
    if (!(cr0 & CR0_PG)) {
        w->gpa = (u32)va;
        w->prot = UC_PROT_ALL;
        return WALK_OK;
    }
    if (!(efer & EFER_LMA))
        return fault(w, FAULT_UNMODELLED);
    if (!canonical(va))
        return fault(w, FAULT_NONCANONICAL);

    u32 code = (write ? PF_W : 0) | (user ? PF_U : 0) | (fetch && (nxe || (cr4 & CR4_SMEP)) ? PF_I : 0);

    table = CR(v, 3) & PTE_ADDR;
    for (level = 4;; level--) {
        at[n] = table + ((va >> (3 + 9 * level)) & 511) * 8;
        if (!table_read64(v, at[n], &entry[n], w)) {
            if (!w->table_error)
                return WALK_S2;
            return fault(w, code | PF_P | PF_RSVD);     /* nothing there reads as ones, which sets reserved bits */
        }
        u64 e = entry[n++];
        if (!(e & PTE_P))
            return fault(w, code);
        if (reserved_bits(e, level, nxe))
            return fault(w, code | PF_P | PF_RSVD);
        rights &= e;
        nx |= e & PTE_NX;
        if (level == 1 || (e & PTE_PS))
            break;
        table = e & PTE_ADDR;
    }

    /* rights (SDM 4.6.1) */
    bool us = rights & PTE_US, may_write, may_fetch;
    if (user) {
        if (!us)
            return fault(w, code | PF_P);
        may_write = rights & PTE_RW;
        may_fetch = !nx;
    } else {
        may_write = (rights & PTE_RW) || !(cr0 & CR0_WP);
        may_fetch = !nx && !(us && (cr4 & CR4_SMEP));
    }
    if ((write && !may_write) || (fetch && !may_fetch))
        return fault(w, code | PF_P);

    /* accessed and dirty, leaf last as in hardware; nothing is written unless the access is allowed (SDM 4.8) */
    for (int i = 0; i < n; i++) {
        u64 set = PTE_A | (i == n - 1 && write ? PTE_D : 0);
        if ((entry[i] & set) == set)
            continue;
        entry[i] |= set;
        if (!table_write64(v, at[i], entry[i])) {
            w->gpa = at[i];
            return WALK_S2;
        }
    }
    u64 leaf = entry[n - 1], offset = (1ull << (3 + 9 * level)) - 1;
    w->gpa = (leaf & PTE_ADDR & ~offset) | (va & offset);
    w->prot = UC_PROT_READ | (may_write && (leaf & PTE_D) ? UC_PROT_WRITE : 0) | (may_fetch ? UC_PROT_EXEC : 0);
    return WALK_OK;
}

u32 x86_code_bytes(struct vcpu *v, u64 pc, u8 *buf, u32 len)
{
    u32 done = 0;

    while (done < len) {
        struct walk w;
        u64 at = pc + done;
        u32 room = PAGE_SIZE - (u32)(at & (PAGE_SIZE - 1)), n = len - done < room ? len - done : room;

        if (x86_walk_as(v, at, ACC_FETCH, cpl(v) == 3, &w) != WALK_OK)
            break;
        const u8 *p = s2_ptr(v->m, w.gpa, false);
        if (!p)
            break;
        memcpy(buf + done, p, n);
        done += n;
    }
    return done;
}

static bool inside(u64 va, u64 base, u64 limit)
{
    /* the fill hook gives page addresses only: any byte of the page counts */
    return va >= (base & PAGE_MASK) && va <= ((base + limit) | (PAGE_SIZE - 1));
}

/* Does the instruction at PC read a descriptor table or the TSS by itself? Segment loads, far transfers, IRET, LAR/LSL/VERR/VERW,
 * and port accesses (I/O permission map). */
static bool implicit_access(struct vcpu *v)
{
    u8 b[15];
    u32 n = x86_code_bytes(v, x86_linear_pc(v), b, sizeof b), i = 0;

    while (i < n && (b[i] == 0x66 || b[i] == 0x67 || b[i] == 0xf0 || b[i] == 0xf2 || b[i] == 0xf3 || (b[i] & 0xe7) == 0x26 ||
                     b[i] == 0x64 || b[i] == 0x65 || ((HFLAGS(v) & HF_CS64) && (b[i] & 0xf0) == 0x40)))
        i++;
    if (i + 1 >= n)
        return false;
    u8 op = b[i], next = b[i + 1];
    switch (op) {
    case 0x0f:
        return next <= 0x03 || next == 0xa1 || next == 0xa9 || next == 0xb2 || next == 0xb4 || next == 0xb5;
    case 0xff:
        return (next >> 3 & 7) == 3 || (next >> 3 & 7) == 5;
    case 0x07: case 0x17: case 0x1f: case 0x8e: case 0x9a: case 0xc4: case 0xc5: case 0xca: case 0xcb: case 0xcf: case 0xea:
        return true;
    default:
        return (op >= 0x6c && op <= 0x6f) || (op >= 0xe4 && op <= 0xe7) || (op >= 0xec && op <= 0xef);
    }
}

enum walk_status walk_x86_64(struct vcpu *v, u64 va, enum access acc, struct walk *w)
{
    bool user = cpl(v) == 3;
    enum walk_status s = x86_walk_as(v, va, acc, user, w);

    if (likely(s != WALK_FAULT || !user || acc == ACC_FETCH))
        return s;
    const struct seg *ldt = DTABLE(v, X_LDT), *tr = DTABLE(v, X_TR), *gdt = DTABLE(v, X_GDT);
    if (!inside(va, gdt->base, gdt->limit) && !inside(va, ldt->base, ldt->limit) && !inside(va, tr->base, tr->limit))
        return s;
    return implicit_access(v) ? x86_walk_as(v, va, acc, false, w) : s;
}
