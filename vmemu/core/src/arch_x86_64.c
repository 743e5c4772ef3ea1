/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x86-64: reset state, mode changes made by the host, registers for Python, and the self-test of the private layout.
 * Control state is written straight into CPUX86State: the public interface sets selectors without their caches and never CPL
 * (engine.md 3).
 */
#include <stdlib.h>

#include "gen_regs_x86_64.h"
#include "x86_64.h"

/* ----------------------------------------------------------------- mode */

u64 x86_get_flags(struct vcpu *v)
{
    u64 flags = 0;

    UC.reg_read(v->uc, UC_X86_REG_RFLAGS, &flags);
    return flags;
}

/* Through the public interface: the arithmetic flags live in lazily evaluated fields. */
void x86_set_flags(struct vcpu *v, u64 flags)
{
    flags |= 2;
    UC.reg_write(v->uc, UC_X86_REG_RFLAGS, &flags);
}

/* The translator's mode bits from what determines them. CPL stays: it is state of its own. */
void x86_sync_hflags(struct vcpu *v)
{
    u32 h = HFLAGS(v) & (HF_CPL | HF_INHIBIT), cs = SEG(v, SEG_CS)->flags, ss = SEG(v, SEG_SS)->flags;
    u64 cr0 = CR(v, 0);
    bool lma = ENV(v, u64, X_EFER) & EFER_LMA;

    h |= cr0 & CR0_PE ? HF_PE : 0;
    h |= cr0 & CR0_MP ? HF_MP : 0;
    h |= cr0 & CR0_EM ? HF_EM : 0;
    h |= cr0 & CR0_TS ? HF_TS : 0;
    h |= CR(v, 4) & CR4_OSFXSR ? HF_OSFXSR : 0;
    h |= lma ? HF_LMA : 0;
    if (lma && (cs & DESC_L)) {
        h |= HF_CS32 | HF_SS32 | HF_CS64;
    } else {
        h |= (cs & DESC_B ? HF_CS32 : 0) | (ss & DESC_B ? HF_SS32 : 0);
        if (!(cr0 & CR0_PE) || !(cs & DESC_B) ||
            (SEG(v, SEG_DS)->base | SEG(v, SEG_ES)->base | SEG(v, SEG_SS)->base))
            h |= HF_ADDSEG;
    }
    HFLAGS(v) = h;
}

void x86_load_cs(struct vcpu *v, u32 selector, u64 base, u32 limit, u32 flags)
{
    *SEG(v, SEG_CS) = (struct seg){ selector, 0, base, limit, flags };
    x86_sync_hflags(v);
}

void x86_load_ss(struct vcpu *v, u32 selector, u32 flags, u32 new_cpl)
{
    *SEG(v, SEG_SS) = (struct seg){ selector, 0, 0, 0xffffffff, flags };
    HFLAGS(v) = (HFLAGS(v) & ~HF_CPL) | new_cpl;
}

void x86_raise(struct vcpu *v, u32 vector, u32 error, bool has_error)
{
    v->pend = (struct pending){ .kind = PEND_EXCEPTION, .vector = vector, .error = error, .has_error = has_error };
    vcpu_trap_here(v);
}

/* ---------------------------------------------------------------- reset */

/* 32-bit protected mode, flat, no paging: what a multiboot loader hands over, and what this project's firmware expects. */
static int reset(struct vcpu *v)
{
    const u32 common = DESC_G | DESC_B | DESC_P | DESC_S | DESC_A | DESC_W;
    u64 zero = 0, fcw = 0x37f, tag = 0xffff, mxcsr = 0x1f80;      /* SDM table 9-1 after FNINIT */

    for (int i = 0; i < 16; i++)
        REG(v, i) = 0;
    for (int i = 0; i < 8; i++)
        ENV(v, u64, X_DR + 8 * i) = i == 6 ? 0xffff0ff0 : i == 7 ? 0x400 : 0;
    for (int i = SEG_ES; i <= SEG_GS; i++)
        *SEG(v, i) = (struct seg){ .selector = 0x10, .limit = 0xffffffff, .flags = common };
    *SEG(v, SEG_CS) = (struct seg){ .selector = 0x08, .limit = 0xffffffff, .flags = common | DESC_CODE };
    *DTABLE(v, X_LDT) = (struct seg){ .limit = 0xffff, .flags = DESC_P | 2u << 8 };
    *DTABLE(v, X_TR) = (struct seg){ .limit = 0xffff, .flags = DESC_P | 11u << 8 };
    *DTABLE(v, X_GDT) = (struct seg){ .limit = 0 };
    *DTABLE(v, X_IDT) = (struct seg){ .limit = 0 };
    for (int i = 0; i < 9; i++)
        ENV(v, u64, X_CR + 8 * i) = 0;
    CR(v, 0) = CR0_PE | CR0_ET;
    ENV(v, u64, X_EFER) = 0;
    ENV(v, u32, X_SYSENTER_CS) = 0;
    for (u32 off = X_SYSENTER_ESP; off <= X_KERNELGSBASE; off += 8)
        ENV(v, u64, off) = 0;
    ENV(v, u64, X_TSC_AUX) = 0;
    ENV(v, u64, X_TSC_OFFSET) = 0;
    ENV(v, u64, X_XCR0) = 1;
    ENV(v, u64, X_PAT) = 0x0007040600070406ull;         /* SDM 11.12.4 */
    ENV(v, int, X_OLD_EXCEPTION) = -1;
    ENV(v, u32, X_HFLAGS2) = HF2_GIF;
    HFLAGS(v) = 0;
    x86_sync_hflags(v);
    x86_set_flags(v, 2);
    UC.reg_write(v->uc, UC_X86_REG_FPSW, &zero);
    UC.reg_write(v->uc, UC_X86_REG_FPCW, &fcw);
    UC.reg_write(v->uc, UC_X86_REG_FPTAG, &tag);
    UC.reg_write(v->uc, UC_X86_REG_MXCSR, &mxcsr);
    memset(((struct x86 *)v->arch)->mc, 0, sizeof ((struct x86 *)v->arch)->mc);
    ENV(v, u64, X_EIP) = 0xfff0;
    ENV(v, u32, X_HFLAGS) &= ~(u32)HF_CPL;
    *(u32 *)((u8 *)v->cpu + CPU_HALTED) = 0;
    vcpu_flush_tlb(v);
    return 0;
}

int selftest_x86_64(struct vcpu *v);

static int setup(struct vcpu *v)
{
    v->arch = calloc(1, sizeof(struct x86));
    if (!v->arch)
        return core_fail("no memory");
    return x86_decoder_ready() || selftest_x86_64(v) || x86_install_hooks(v) ? -1 : 0;
}

static void destroy(struct vcpu *v) { free(v->arch); }

/* ------------------------------------------------------------ registers */

static bool in_user(struct vcpu *v) { return cpl(v) == 3; }

/* 64-bit IRET, SYSRET, SYSEXIT: REX.W directly before the opcode. */
static bool is_return(const u8 *code, u32 n)
{
    return n >= 2 && (code[0] & 0xf8) == 0x48 && (code[1] == 0xcf || (n >= 3 && code[1] == 0x0f && (code[2] == 0x07 || code[2] == 0x35)));
}

static u64 get_pc(struct vcpu *v) { return x86_linear_pc(v); }
static u64 entry(struct vcpu *v) { return ENV(v, u64, X_EIP); }
static void set_pc(struct vcpu *v, u64 pc) { ENV(v, u64, X_EIP) = pc - SEG(v, SEG_CS)->base; }

/* Where a register lives when it is a plain field of the environment. */
static u8 *field(struct vcpu *v, u32 i, u32 *size)
{
    static const struct { u16 off, size; } msrs[] = {   /* order of registers.py from `star` on */
        { X_STAR, 8 }, { X_LSTAR, 8 }, { X_CSTAR, 8 }, { X_FMASK, 8 }, { X_KERNELGSBASE, 8 }, { X_SYSENTER_CS, 4 },
        { X_SYSENTER_ESP, 8 }, { X_SYSENTER_EIP, 8 }, { X_TSC_AUX, 8 }, { X_TSC_OFFSET, 8 }, { X_PAT, 8 }, { X_XCR0, 8 },
    };
    static const u8 part[4] = { offsetof(struct seg, selector), offsetof(struct seg, base), offsetof(struct seg, limit),
                                offsetof(struct seg, flags) };
    u32 off;

    *size = 8;
    if (i >= R_X86_64_ES && i <= R_X86_64_TR_FLAGS) {   /* segs[6], ldt, tr follow each other */
        u32 k = i - R_X86_64_ES;
        off = X_SEGS + k / 4 * (u32)sizeof(struct seg) + part[k % 4];
        *size = k % 4 == 1 ? 8 : 4;
    } else if (i >= R_X86_64_GDT_BASE && i <= R_X86_64_IDT_LIMIT) {
        u32 k = i - R_X86_64_GDT_BASE;
        off = X_GDT + k / 2 * (u32)sizeof(struct seg) + part[1 + k % 2];
        *size = k % 2 ? 4 : 8;
    } else if (i >= R_X86_64_STAR && i <= R_X86_64_XCR0) {
        off = msrs[i - R_X86_64_STAR].off;
        *size = msrs[i - R_X86_64_STAR].size;
    } else if (i >= R_X86_64_MCG_STATUS && i <= R_X86_64_MC0_MISC) {
        return (u8 *)&((struct x86 *)v->arch)->mc[i - R_X86_64_MCG_STATUS];
    } else {
        switch (i) {
        case R_X86_64_CR0: off = X_CR; break;
        case R_X86_64_CR2: off = X_CR + 16; break;
        case R_X86_64_CR3: off = X_CR + 24; break;
        case R_X86_64_CR4: off = X_CR + 32; break;
        case R_X86_64_EFER: off = X_EFER; break;
        case R_X86_64_DR0: case R_X86_64_DR1: case R_X86_64_DR2: case R_X86_64_DR3: off = X_DR + 8 * (i - R_X86_64_DR0); break;
        case R_X86_64_DR6: off = X_DR + 48; break;
        case R_X86_64_DR7: off = X_DR + 56; break;
        case R_X86_64_HFLAGS: off = X_HFLAGS; *size = 4; break;
        case R_X86_64_HFLAGS2: off = X_HFLAGS2; *size = 4; break;
        default: return NULL;
        }
    }
    return (u8 *)v->env + off;
}

/* x87 and SSE registers: 10 and 16 bytes through the public interface, half by half. */
static bool wide(u32 i, int *uc_reg, u32 *half)
{
    if (i >= R_X86_64_FP0_LO && i <= R_X86_64_FP7_HI) {
        *uc_reg = UC_X86_REG_FP0 + (int)(i - R_X86_64_FP0_LO) / 2;
        *half = (i - R_X86_64_FP0_LO) % 2;
        return true;
    }
    if (i >= R_X86_64_XMM0_LO && i <= R_X86_64_XMM15_HI) {
        *uc_reg = UC_X86_REG_XMM0 + (int)(i - R_X86_64_XMM0_LO) / 2;
        *half = (i - R_X86_64_XMM0_LO) % 2;
        return true;
    }
    return false;
}

static u64 reg_get(struct vcpu *v, u32 i)
{
    u64 value[2] = { 0, 0 };
    u32 size, half;
    int reg;

    if (i >= N_X86_64)
        return 0;
    if (regs_x86_64_uc[i] >= 0) {
        UC.reg_read(v->uc, regs_x86_64_uc[i], value);
        return value[0];
    }
    if (wide(i, &reg, &half)) {
        UC.reg_read(v->uc, reg, value);
        return value[half];
    }
    u8 *p = field(v, i, &size);
    if (p)
        memcpy(value, p, size);
    return value[0];
}

static int reg_set(struct vcpu *v, u32 i, u64 value)
{
    u64 both[2] = { 0, 0 };
    u32 size, half;
    int reg;

    if (i >= N_X86_64)
        return -1;
    if (i == R_X86_64_RIP) {                            /* the public write would ask a running engine to leave its block */
        ENV(v, u64, X_EIP) = value;
        return 0;
    }
    if (i == R_X86_64_RFLAGS) {
        x86_set_flags(v, value);
        return 0;
    }
    if (regs_x86_64_uc[i] >= 0)
        return UC.reg_write(v->uc, regs_x86_64_uc[i], &value) ? -1 : 0;
    if (wide(i, &reg, &half)) {
        UC.reg_read(v->uc, reg, both);
        both[half] = value;
        return UC.reg_write(v->uc, reg, both) ? -1 : 0;
    }
    u8 *p = field(v, i, &size);
    if (!p)
        return -1;
    memcpy(p, &value, size);
    if (i != R_X86_64_HFLAGS && i != R_X86_64_HFLAGS2 && (i <= R_X86_64_SS_FLAGS || (i >= R_X86_64_CR0 && i <= R_X86_64_EFER)))
        x86_sync_hflags(v);
    if (i >= R_X86_64_CR0 && i <= R_X86_64_EFER)
        vcpu_flush_tlb(v);
    return 0;
}

static bool is_halted(struct vcpu *v) { return *(u32 *)((u8 *)v->cpu + CPU_HALTED) != 0; }
static void clear_halt(struct vcpu *v) { *(u32 *)((u8 *)v->cpu + CPU_HALTED) = 0; }
static u32 code_mode(struct vcpu *v) { return HFLAGS(v) & (HF_CS64 | HF_CS32); }

const struct arch arch_x86_64 = {
    .name = "x86_64", .state_size = sizeof(struct x86), .suffix = "x86_64", .uc_arch = UC_ARCH_X86, .uc_mode = UC_MODE_64, .big_endian = false, .open_bus = true,
    .setup = setup, .reset = reset, .destroy = destroy, .in_user = in_user, .is_return = is_return, .get_pc = get_pc,
    .set_pc = set_pc, .entry = entry, .walk = walk_x86_64,
    .decode = decode_x86_64, .code_mode = code_mode, .sense = sense_x86_64, .page_fault = page_fault_x86_64,
    .mem_error = mem_error_x86_64, .trap = trap_x86_64, .irq_ready = irq_ready_x86_64, .irq_take = irq_take_x86_64,
    .deliver = deliver_x86_64, .is_halted = is_halted, .clear_halt = clear_halt, .reg_get = reg_get, .reg_set = reg_set,
};
