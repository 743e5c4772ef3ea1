/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ppc64: big-endian partition of a POWER10-like processor under PAPR: HV = 0 always, radix translation, SRR0/SRR1 interrupts.
 * Registers that Unicorn has no number for are read and written in its state directly, at offsets that selftest_ppc64.c checks.
 */
#include <stdlib.h>
#include <string.h>

#include "ppc64.h"
#include "gen_regs_ppc64.h"

/* ------------------------------------------------------------------ state */

void ppc64_set_msr(struct vcpu *v, u64 value) { UC.reg_write(v->uc, UC_PPC_REG_MSR, &value); }

void ppc64_flush_all(struct vcpu *v)
{
    for (u32 i = 0; i < v->m->nvcpus; i++)
        vcpu_flush_tlb(v->m->vcpu[i]);
}

void ppc64_set_process_table(struct machine *m, u64 base, u64 size_log2)
{
    u64 prtbl = size_log2 < 12 ? PRTBL_NONE : (base & PAGE_MASK) | (size_log2 - 12);

    for (u32 i = 0; i < m->nvcpus; i++) {
        ppc64_of(m->vcpu[i])->prtbl = prtbl;
        vcpu_flush_tlb(m->vcpu[i]);
    }
}

static int setup(struct vcpu *v)
{
    v->arch = calloc(1, sizeof(struct ppc64_state));
    if (!v->arch)
        return core_fail("no memory for a vCPU");
    ppc64_of(v)->prtbl = PRTBL_NONE;
    return 0;
}

static void destroy(struct vcpu *v) { free(v->arch); }

/* Reset state of a partition's boot thread (LoPAR, "Processor state at entry"): real mode, 64-bit, machine checks on. */
static int reset(struct vcpu *v)
{
    struct ppc64_state *s = ppc64_of(v);

    memset(env64(v, ENV_GPR), 0, 32 * 8);
    for (u32 off = ENV_LR; off <= ENV_CA32; off += 8)   /* LR CTR CR CFAR XER and its bits */
        *env64(v, off) = 0;
    memset(env64(v, ENV_VSR), 0, 64 * 16);
    memset(env64(v, ENV_VSCR_SAT), 0, 16);
    *env32(v, ENV_VSCR) = 0;
    for (u32 i = 0; i < N_PPC64; i++)
        if (ppc64_spr_of(i) >= 0)
            *spr(v, (u32)ppc64_spr_of(i)) = 0;
    *spr(v, SPR_PVR) = PVR_POWER10;
    *spr(v, SPR_LPCR) = LPCR_UPRT | LPCR_HR | LPCR_GTSE;
    *spr(v, SPR_PIR) = v->id;
    *spr(v, SPR_AMOR) = ~0ull;                          /* the hypervisor lets the partition own all of AMR and IAMR */
    *env64(v, ENV_RESERVE_ADDR) = ~0ull;
    *env64(v, ENV_RESERVE_VAL) = *env64(v, ENV_RESERVE_VAL2) = 0;
    u64 fpscr = 0;
    UC.reg_write(v->uc, UC_PPC_REG_FPSCR, &fpscr);
    ppc64_set_msr(v, MSR_SF | MSR_ME);
    *env64(v, ENV_NIP) = VEC_RESET;
    *s = (struct ppc64_state){ .prtbl = PRTBL_NONE, .stall_insns = ~0ull };
    v->irq_lines = 0;
    vcpu_flush_tlb(v);
    return 0;
}

static bool in_user(struct vcpu *v) { return msr(v) & MSR_PR; }

/* rfid, hrfid, rfscv, in either byte order. */
static bool is_return(const u8 *code, u32 n)
{
    u32 be = n >= 4 ? load32(code, false) : 0, le = n >= 4 ? load32(code, true) : 0;

    return be == 0x4c000024 || be == 0x4c000224 || be == 0x4c0000a4 || le == 0x4c000024 || le == 0x4c000224 || le == 0x4c0000a4;
}

static u64 get_pc(struct vcpu *v) { return *env64(v, ENV_NIP); }
static void set_pc(struct vcpu *v, u64 pc) { *env64(v, ENV_NIP) = pc; }
static u32 code_mode(struct vcpu *v) { return msr(v) & MSR_LE; }
static bool is_halted(struct vcpu *v) { return *(u32 *)((u8 *)v->cpu + CPU_HALTED); }
static void clear_halt(struct vcpu *v) { *(u32 *)((u8 *)v->cpu + CPU_HALTED) = 0; }

/* -------------------------------------------------------------- registers */

#define XER_PARTS { { 31, ENV_SO }, { 30, ENV_OV }, { 29, ENV_CA }, { 19, ENV_OV32 }, { 18, ENV_CA32 } }

static u64 get_xer(struct vcpu *v)
{
    static const struct { u32 bit, off; } part[] = XER_PARTS;
    u64 xer = *env64(v, ENV_XER);

    for (u32 i = 0; i < 5; i++)
        xer |= *env64(v, part[i].off) << part[i].bit;
    return xer;
}

static void set_xer(struct vcpu *v, u64 xer)
{
    static const struct { u32 bit, off; } part[] = XER_PARTS;

    for (u32 i = 0; i < 5; i++) {
        *env64(v, part[i].off) = xer >> part[i].bit & 1;
        xer &= ~(1ull << part[i].bit);
    }
    *env64(v, ENV_XER) = xer;
}

static u64 get_cr(struct vcpu *v)
{
    u64 cr = 0;

    for (u32 i = 0; i < 8; i++)
        cr = cr << 4 | (env32(v, ENV_CRF)[i] & 15);
    return cr;
}

static void set_cr(struct vcpu *v, u64 cr)
{
    for (u32 i = 8; i-- > 0; cr >>= 4)
        env32(v, ENV_CRF)[i] = cr & 15;
}

/* Plain doublewords of the engine's state; 0 = not one (gpr 0 is handled by range). */
static u64 *plain(struct vcpu *v, u32 r)
{
    if (r <= R_PPC64_R31)                               /* they come first */
        return gpr(v, r - R_PPC64_R0);
    /* vsN_hi, vsN_lo pairs: doubleword 0 of VSR N is FPR N for N < 32, VSR 32 + N is VR N */
    if (r >= R_PPC64_VS0_HI && r <= R_PPC64_VS63_LO) {
        u32 i = r - R_PPC64_VS0_HI;
        return env64(v, ENV_VSR + 16 * (i / 2) + (i % 2 ? 0 : 8));
    }
    if (r >= R_PPC64_COPY0 && r <= R_PPC64_COPY15)
        return &ppc64_of(v)->copy[r - R_PPC64_COPY0];
    if (ppc64_spr_of(r) >= 0)
        return spr(v, (u32)ppc64_spr_of(r));
    switch (r) {
    case R_PPC64_LR: return env64(v, ENV_LR);
    case R_PPC64_CTR: return env64(v, ENV_CTR);
    case R_PPC64_CFAR: return env64(v, ENV_CFAR);
    case R_PPC64_PC: return env64(v, ENV_NIP);
    case R_PPC64_RESERVE_ADDR: return env64(v, ENV_RESERVE_ADDR);
    case R_PPC64_RESERVE_VAL: return env64(v, ENV_RESERVE_VAL);
    case R_PPC64_RESERVE_VAL2: return env64(v, ENV_RESERVE_VAL2);
    case R_PPC64_VSCR_SAT_HI: return env64(v, ENV_VSCR_SAT + 8);
    case R_PPC64_VSCR_SAT_LO: return env64(v, ENV_VSCR_SAT);
    case R_PPC64_PRTBL: return &ppc64_of(v)->prtbl;
    case R_PPC64_COPIED: return &ppc64_of(v)->copied;
    case R_PPC64_STALL_INSNS: return &ppc64_of(v)->stall_insns;
    default: return NULL;
    }
}

static u64 reg_get(struct vcpu *v, u32 r)
{
    u32 word = 0;
    u64 *p = r < N_PPC64 ? plain(v, r) : NULL;

    if (p)
        return *p;
    switch (r) {
    case R_PPC64_CR: return get_cr(v);
    case R_PPC64_XER: return get_xer(v);
    case R_PPC64_MSR: return msr(v);
    case R_PPC64_VSCR: return *env32(v, ENV_VSCR);
    case R_PPC64_STALLS: return ppc64_of(v)->stalls;
    default: break;
    }
    if (r < N_PPC64 && regs_ppc64_uc[r] >= 0)           /* FPSCR: its rounding mode lives elsewhere too */
        UC.reg_read(v->uc, regs_ppc64_uc[r], &word);
    return word;
}

static int reg_set(struct vcpu *v, u32 r, u64 value)
{
    u32 word = (u32)value;
    u64 *p = r < N_PPC64 ? plain(v, r) : NULL;

    if (p) {
        bool translation = r == R_PPC64_PRTBL || r == R_PPC64_PIDR || r == R_PPC64_AMR || r == R_PPC64_IAMR || r == R_PPC64_LPCR;
        if (translation && *p != value)
            vcpu_flush_tlb(v);
        *p = value;
        return 0;
    }
    switch (r) {
    case R_PPC64_CR: set_cr(v, value); return 0;
    case R_PPC64_XER: set_xer(v, value); return 0;
    case R_PPC64_MSR: ppc64_set_msr(v, value); return 0;
    case R_PPC64_VSCR: *env32(v, ENV_VSCR) = word; return 0;
    case R_PPC64_STALLS: ppc64_of(v)->stalls = word; return 0;
    default: break;
    }
    if (r >= N_PPC64 || regs_ppc64_uc[r] < 0 || UC.reg_write(v->uc, regs_ppc64_uc[r], &word))
        return core_fail("ppc64 has no register %u", r);
    return 0;
}

const struct arch arch_ppc64 = {
    .name = "ppc64", .state_size = sizeof(struct ppc64_state), .suffix = "ppc64", .uc_arch = UC_ARCH_PPC, .uc_mode = UC_MODE_PPC64 | UC_MODE_BIG_ENDIAN, .big_endian = true,
    .setup = setup, .reset = reset, .destroy = destroy, .in_user = in_user, .is_return = is_return, .get_pc = get_pc, .set_pc = set_pc,
    .walk = ppc64_walk, .decode = ppc64_decode, .code_mode = code_mode, .sense = ppc64_sense,
    .page_fault = ppc64_page_fault, .mem_error = ppc64_mem_error, .trap = ppc64_trap,
    .irq_ready = ppc64_irq_ready, .irq_take = ppc64_irq_take, .deliver = ppc64_deliver,
    .is_halted = is_halted, .clear_halt = clear_halt, .reg_get = reg_get, .reg_set = reg_set,
};
