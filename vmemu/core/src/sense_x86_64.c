/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions that Unicorn runs natively but wrongly for a guest: MSR accesses (unknown ones are ignored), control register
 * writes (reserved bits never fault), CR8 (no local APIC inside), LTR (a null selector leaves the library one far call from
 * abort()), RDRAND (host randomness). Their addresses get a code hook when the page is translated; the hook looks at the real
 * bytes at PC, so a byte pair inside another instruction, or other code at the same address, costs nothing but the look.
 *
 * An emulated instruction is left by stopping with PC behind it: the engine then knows that it has run (engine.md 5).
 */
#include "x86_64.h"

#define CODE_HOOK 1                                     /* kind, for hook_code_at() */

struct insn { u32 len, opcode; u8 rex, modrm; bool addr32; u8 seg; };

static bool is_prefix(u8 b)
{
    return (b & 0xf0) == 0x40 || b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || (b & 0xe7) == 0x26 || b == 0x64 ||
           b == 0x65;
}

static bool sensitive(u8 opcode) { return opcode == 0x00 || (opcode & 0xfd) == 0x20 || (opcode & 0xfd) == 0x30 || opcode == 0xc7; }

/* Prefixes, two-byte opcode and ModRM at b; false when it is no instruction of interest. */
static bool parse(struct vcpu *v, const u8 *b, u32 n, struct insn *i)
{
    u32 at = 0;

    memset(i, 0, sizeof *i);
    i->seg = SEG_DS;
    for (; at < n && is_prefix(b[at]); at++) {
        if ((b[at] & 0xf0) == 0x40) {
            if (!(HFLAGS(v) & HF_CS64))
                return false;                           /* INC or DEC there */
            i->rex = b[at];
            continue;
        }
        i->rex = 0;                                     /* counts only directly before the opcode */
        if (b[at] == 0x67)
            i->addr32 = true;
        else if (b[at] == 0x64 || b[at] == 0x65)
            i->seg = b[at] == 0x64 ? SEG_FS : SEG_GS;
    }
    if (at + 1 >= n || b[at] != 0x0f || !sensitive(b[at + 1]))
        return false;
    i->opcode = b[at + 1];
    i->len = at + 2;
    if ((i->opcode & 0xfd) != 0x30) {
        if (i->len >= n)
            return false;
        i->modrm = b[i->len++];
    }
    return true;
}

/* ------------------------------------------------------------- handlers */

static void skip(struct vcpu *v, const struct insn *i)
{
    u64 next = ENV(v, u64, X_EIP) + i->len;

    UC.reg_write(v->uc, UC_X86_REG_RIP, &next);         /* a plain store to the field would be taken back on the way out */
    vcpu_trap_here(v);
}

/* MSRs that are CPU state. */
static u8 *cpu_msr(struct vcpu *v, u32 msr)
{
    switch (msr) {
    case 0x175: return &ENV(v, u8, X_SYSENTER_ESP);
    case 0x176: return &ENV(v, u8, X_SYSENTER_EIP);
    case 0x277: return &ENV(v, u8, X_PAT);
    case 0xc0000081: return &ENV(v, u8, X_STAR);
    case 0xc0000082: return &ENV(v, u8, X_LSTAR);
    case 0xc0000083: return &ENV(v, u8, X_CSTAR);
    case 0xc0000084: return &ENV(v, u8, X_FMASK);
    case 0xc0000100: return (u8 *)&SEG(v, SEG_FS)->base;
    case 0xc0000101: return (u8 *)&SEG(v, SEG_GS)->base;
    case 0xc0000102: return &ENV(v, u8, X_KERNELGSBASE);
    case 0xc0000103: return &ENV(v, u8, X_TSC_AUX);
    case 0x17a: return (u8 *)&((struct x86 *)v->arch)->mc[MCG_STATUS];
    case 0x401: return (u8 *)&((struct x86 *)v->arch)->mc[MC0_STATUS];
    case 0x402: return (u8 *)&((struct x86 *)v->arch)->mc[MC0_ADDR];
    case 0x403: return (u8 *)&((struct x86 *)v->arch)->mc[MC0_MISC];
    default: return NULL;
    }
}

/* Values that WRMSR refuses with #GP (SDM 4, table 2-2). */
static bool msr_valid(u32 msr, u64 val)
{
    switch (msr) {
    case 0x175: case 0x176: case 0xc0000082: case 0xc0000083: case 0xc0000100: case 0xc0000101: case 0xc0000102:
        return canonical(val);
    case 0x277:
        for (int i = 0; i < 64; i += 8)
            if ((val >> i & 0xff) > 7 || (val >> i & 0xff) == 2 || (val >> i & 0xff) == 3)
                return false;
        return true;
    case 0x17a: case 0x401:
        return val == 0;
    case 0xc0000084: case 0xc0000103:
        return val >> 32 == 0;
    default:
        return true;
    }
}

static bool write_efer(struct vcpu *v, u64 val)
{
    u64 old = ENV(v, u64, X_EFER);

    if (val & ~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE))
        return false;
    if ((CR(v, 0) & CR0_PG) && ((val ^ old) & EFER_LME))
        return false;
    ENV(v, u64, X_EFER) = (val & ~(u64)EFER_LMA) | (old & EFER_LMA);
    if ((val ^ old) & EFER_NXE)
        vcpu_flush_tlb(v);
    return true;
}

static bool read_msr(struct vcpu *v, u32 msr, u64 *val)
{
    const u8 *p = cpu_msr(v, msr);

    *val = 0;
    if (p)
        memcpy(val, p, 8);
    else if (msr == 0xc0000080)
        *val = ENV(v, u64, X_EFER);
    else if (msr == 0x174)
        *val = ENV(v, u32, X_SYSENTER_CS);
    else if (msr == 0x10)
        *val = vcpu_ticks(v, TSC_HZ) + ENV(v, u64, X_TSC_OFFSET);
    else if (msr == 0x3b)                               /* IA32_TSC_ADJUST: a write of the TSC moves it by the same amount */
        *val = ENV(v, u64, X_TSC_OFFSET);
    else
        return vcpu_io(v, IO_REG_READ, msr, 8, val) != IO_FAULT;
    return true;
}

static bool write_msr(struct vcpu *v, u32 msr, u64 val)
{
    u8 *p = cpu_msr(v, msr);

    if (!msr_valid(msr, val))
        return false;
    if (p)
        memcpy(p, &val, 8);
    else if (msr == 0xc0000080)
        return write_efer(v, val);
    else if (msr == 0x174)
        ENV(v, u32, X_SYSENTER_CS) = (u32)val & 0xffff;
    else if (msr == 0x10)
        ENV(v, u64, X_TSC_OFFSET) = val - vcpu_ticks(v, TSC_HZ);
    else if (msr == 0x3b)
        ENV(v, u64, X_TSC_OFFSET) = val;
    else
        return vcpu_io(v, IO_REG_WRITE, msr, 8, &val) != IO_FAULT;
    return true;
}

static void do_msr(struct vcpu *v, const struct insn *i)
{
    u32 msr = (u32)REG(v, G_RCX);
    u64 val = (REG(v, G_RDX) << 32) | (u32)REG(v, G_RAX);
    bool write = i->opcode == 0x30, ok = write ? write_msr(v, msr, val) : read_msr(v, msr, &val);

    if (!ok) {
        x86_raise(v, V_GP, 0, true);
        return;
    }
    if (!write) {
        REG(v, G_RAX) = (u32)val;
        REG(v, G_RDX) = val >> 32;
    }
    skip(v, i);
}

/* May this control register hold this value? (SDM 2, MOV to control registers) */
static bool cr_valid(struct vcpu *v, u32 cr, u64 val)
{
    const u32 cr4_known = 0x1ff | CR4_OSFXSR | 1u << 10 | 1u << 16 | CR4_SMEP;      /* VME..PCE, OSXMMEXCPT, FSGSBASE */
    u64 cr4 = CR(v, 4);
    bool lma = ENV(v, u64, X_EFER) & EFER_LMA;

    switch (cr) {
    case 0:
        if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val >> 29 & 1) && !(val >> 30 & 1)))
            return false;
        if ((val & CR0_PG) && !(CR(v, 0) & CR0_PG) && (ENV(v, u64, X_EFER) & EFER_LME) && !(cr4 & CR4_PAE))
            return false;
        return (val & CR0_PG) || !(HFLAGS(v) & HF_CS64);
    case 3:
        return !lma || val >> MAXPHYADDR == 0;
    case 4:
        return !(val & ~(u64)cr4_known) && (!lma || (val & CR4_PAE));
    default:
        return true;
    }
}

static void do_mov_cr(struct vcpu *v, const struct insn *i)
{
    u32 cr = (i->modrm >> 3 & 7) | (i->rex & 4 ? 8 : 0), reg = (i->modrm & 7) | (i->rex & 1 ? 8 : 0);
    bool write = i->opcode == 0x22;
    u64 val = write ? REG(v, reg) : 0;

    if (!(HFLAGS(v) & HF_CS64))
        val = (u32)val;
    if (cr == 8) {
        if ((write && val > 15) || vcpu_io(v, write ? IO_REG_WRITE : IO_REG_READ, IO_X86_CR8, 8, &val) == IO_FAULT) {
            x86_raise(v, V_GP, 0, true);
            return;
        }
        if (!write)
            REG(v, reg) = val;
        skip(v, i);
    } else if (write && !cr_valid(v, cr, val)) {
        x86_raise(v, V_GP, 0, true);
    } else if (v->m->paged && write && cr == 0 && ((val ^ CR(v, 0)) & CR0_PG)) {
        vcpu_io(v, IO_REG_WRITE, IO_X86_PAGING, 8, &val);
    }
}

/* Selector operand of LTR; false: it cannot be read, and the native instruction will say why. */
static bool ltr_selector(struct vcpu *v, const struct insn *i, const u8 *b, u32 n, u64 *sel)
{
    u32 mod = i->modrm >> 6, rm = i->modrm & 7, at = i->len;
    u64 ea = 0;
    i64 disp = 0;
    u16 half;

    if (mod == 3) {
        *sel = REG(v, rm | (i->rex & 1 ? 8 : 0)) & 0xffff;
        return true;
    }
    bool sib = rm == 4, no_base = mod == 0 && rm == 5;
    u8 s = sib && at < n ? b[at++] : 0;
    if (sib) {
        u32 index = (s >> 3 & 7) | (i->rex & 2 ? 8 : 0);
        no_base = mod == 0 && (s & 7) == 5;
        if (index != 4)
            ea += REG(v, index) << (s >> 6);
        rm = s & 7;
    }
    u32 size = mod == 1 ? 1 : mod == 2 || no_base ? 4 : 0;
    if (at + size > n)
        return false;
    if (size == 1)
        disp = (signed char)b[at];
    else if (size == 4)
        disp = (int)((u32)b[at] | (u32)b[at + 1] << 8 | (u32)b[at + 2] << 16 | (u32)b[at + 3] << 24);
    ea += (u64)disp;
    if (!no_base)
        ea += REG(v, rm | (i->rex & 1 ? 8 : 0));
    else if (!sib && (HFLAGS(v) & HF_CS64))
        ea += ENV(v, u64, X_EIP) + at + size;           /* RIP-relative */
    if (i->addr32 || !(HFLAGS(v) & HF_CS64))
        ea = (u32)ea;
    if (i->seg != SEG_DS || !(HFLAGS(v) & HF_CS64))
        ea += SEG(v, i->seg)->base;
    if (guest_read(v, ea, &half, 2) != S2_OK)
        return false;
    *sel = half;
    return true;
}

static void on_sensitive(uc_engine *uc, u64 addr, u32 size, struct vcpu *v)
{
    u8 b[15];
    struct insn i;
    u64 sel;

    (void)uc, (void)size;
    u32 n = x86_code_bytes(v, addr, b, sizeof b);
    if (!parse(v, b, n, &i))
        return;
    switch (i.opcode) {
    case 0x30: case 0x32:
        if (cpl(v) == 0)                                /* otherwise #GP comes natively */
            do_msr(v, &i);
        break;
    case 0x20: case 0x22:
        if (cpl(v) == 0)
            do_mov_cr(v, &i);
        break;
    case 0xc7:
        if ((i.modrm & 0xf8) == 0xf0)                   /* RDRAND: CPUID does not offer it */
            x86_raise(v, V_UD, 0, false);
        break;
    default:
        if ((i.modrm >> 3 & 7) != 3 || cpl(v) || !(HFLAGS(v) & HF_PE))
            break;
        /* 16-bit addressing is not decoded: nothing that runs here uses LTR with it */
        if ((i.modrm >> 6 != 3 && (!(HFLAGS(v) & HF_CS32) || (i.addr32 && !(HFLAGS(v) & HF_CS64)))) ||
            (ltr_selector(v, &i, b, n, &sel) && !(sel & 0xfffc)))
            x86_raise(v, V_GP, 0, true);
    }
}

/* Hook the instruction whose opcode (0x0f) is at page[at], and every address from which prefixes lead to it. */
static void hook(struct vcpu *v, u64 va, const u8 *page, int at)
{
    hook_code_at(v, va + (u64)at, CODE_HOOK, (void *)on_sensitive);
    for (int i = at - 1; i >= 0 && i > at - 15 && is_prefix(page[i]); i--)
        hook_code_at(v, va + (u64)i, CODE_HOOK, (void *)on_sensitive);
}

void sense_x86_64(struct vcpu *v, u64 va, const u8 *page)
{
    const u8 *p = page, *end = page + PAGE_SIZE;

    while ((p = memchr(p, 0x0f, (size_t)(end - p))) != NULL) {
        int at = (int)(p++ - page);
        /* the rest may stand in the next page: then the hook decides */
        if (p == end || (p[0] & 0xfd) == 0x30 || (p[0] & 0xfd) == 0x20 || (p[0] == 0xc7 && (p + 1 == end || (p[1] & 0xf8) == 0xf0)) ||
            (p[0] == 0x00 && (p + 1 == end || (p[1] >> 3 & 7) == 3)))
            hook(v, va, page, at);
        if (p == end)
            break;
    }
    if (is_prefix(page[PAGE_SIZE - 1]))                 /* prefixes here, opcode in the next page */
        hook(v, va, page, PAGE_SIZE - 1);
}
