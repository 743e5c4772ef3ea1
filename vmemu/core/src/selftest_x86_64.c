/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The facts about Unicorn 2.1.4's private layout that the x86_64 files rest on. Another build is refused here. */
#include "x86_64.h"

#define MAGIC 0x1122334455667000ull

/* A value written through the public interface shows at the offset. */
static int check64(struct vcpu *v, const char *what, int reg, u32 off, u64 value)
{
    u64 old = 0;

    UC.reg_read(v->uc, reg, &old);
    UC.reg_write(v->uc, reg, &value);
    u64 seen = ENV(v, u64, off);
    UC.reg_write(v->uc, reg, &old);
    return seen == value ? 0 : core_fail("Unicorn fact x86-64 %s at offset %u: wrote %#llx, saw %#llx", what, off,
                                         (unsigned long long)value, (unsigned long long)seen);
}

static int check_msr(struct vcpu *v, const char *what, u32 msr, u32 off, u64 value)
{
    uc_x86_msr m = { .rid = msr };
    u64 old = ENV(v, u64, off);

    ENV(v, u64, off) = value;
    UC.reg_read(v->uc, UC_X86_REG_MSR, &m);
    ENV(v, u64, off) = old;
    return m.value == value ? 0 : core_fail("Unicorn fact x86-64 MSR %s at offset %u", what, off);
}

static int check_table(struct vcpu *v, const char *what, int reg, u32 off)
{
    uc_x86_mmr old, probe = { .selector = 0x28, .base = MAGIC, .limit = 0xabc, .flags = DESC_P };
    const struct seg *s = DTABLE(v, off);

    UC.reg_read(v->uc, reg, &old);
    UC.reg_write(v->uc, reg, &probe);
    bool ok = s->base == MAGIC && s->limit == 0xabc;
    if (reg == UC_X86_REG_TR || reg == UC_X86_REG_LDTR)
        ok = ok && s->selector == 0x28 && s->flags == DESC_P;
    UC.reg_write(v->uc, reg, &old);
    return ok ? 0 : core_fail("Unicorn fact x86-64 %s at offset %u", what, off);
}

int selftest_x86_64(struct vcpu *v);
int selftest_x86_64(struct vcpu *v)
{
    static const struct { const char *name; int reg; u32 off; u64 value; } plain[] = {
        { "rax", UC_X86_REG_RAX, X_REGS, MAGIC + 1 },           { "rsp", UC_X86_REG_RSP, X_REGS + 8 * G_RSP, MAGIC + 2 },
        { "r15", UC_X86_REG_R15, X_REGS + 8 * 15, MAGIC + 3 },  { "rip", UC_X86_REG_RIP, X_EIP, MAGIC + 4 },
        { "cr2", UC_X86_REG_CR2, X_CR + 16, MAGIC + 5 },        { "cr3", UC_X86_REG_CR3, X_CR + 24, MAGIC },
        { "fs base", UC_X86_REG_FS_BASE, X_SEGS + 24 * SEG_FS + 8, MAGIC + 7 },
        { "gs base", UC_X86_REG_GS_BASE, X_SEGS + 24 * SEG_GS + 8, MAGIC + 8 },
        { "dr7", UC_X86_REG_DR7, X_DR + 56, 0x400 },
    };
    static const struct { const char *name; u32 msr, off; u64 value; } msrs[] = {
        { "EFER", 0xc0000080, X_EFER, 0x501 },          { "STAR", 0xc0000081, X_STAR, MAGIC + 1 },
        { "LSTAR", 0xc0000082, X_LSTAR, MAGIC + 2 },    { "CSTAR", 0xc0000083, X_CSTAR, MAGIC + 3 },
        { "FMASK", 0xc0000084, X_FMASK, MAGIC + 4 },    { "KERNEL_GS_BASE", 0xc0000102, X_KERNELGSBASE, MAGIC + 5 },
        { "TSC_AUX", 0xc0000103, X_TSC_AUX, MAGIC + 6 }, { "SYSENTER_ESP", 0x175, X_SYSENTER_ESP, MAGIC + 7 },
        { "SYSENTER_EIP", 0x176, X_SYSENTER_EIP, MAGIC + 8 }, { "PAT", 0x277, X_PAT, MAGIC + 9 },
    };
    u64 flags = 0x202, sel = 0x33;

    for (u32 i = 0; i < sizeof plain / sizeof *plain; i++)
        if (check64(v, plain[i].name, plain[i].reg, plain[i].off, plain[i].value))
            return -1;
    for (u32 i = 0; i < sizeof msrs / sizeof *msrs; i++)
        if (check_msr(v, msrs[i].name, msrs[i].msr, msrs[i].off, msrs[i].value))
            return -1;
    if (check_table(v, "gdtr", UC_X86_REG_GDTR, X_GDT) || check_table(v, "idtr", UC_X86_REG_IDTR, X_IDT) ||
        check_table(v, "tr", UC_X86_REG_TR, X_TR) || check_table(v, "ldtr", UC_X86_REG_LDTR, X_LDT))
        return -1;
    /* CR0.TS shows in hflags */
    u64 cr0 = CR(v, 0), with = cr0 | CR0_TS;
    u32 before = HFLAGS(v);
    UC.reg_write(v->uc, UC_X86_REG_CR0, &with);
    u32 after = HFLAGS(v);
    UC.reg_write(v->uc, UC_X86_REG_CR0, &cr0);
    if ((before & HF_TS) || after != (before | HF_TS) || HFLAGS(v) != before)
        return core_fail("Unicorn fact x86-64 hflags at offset %d: %#x, with TS %#x", X_HFLAGS, before, after);
    if (!(ENV(v, u32, X_HFLAGS2) & HF2_GIF))
        return core_fail("Unicorn fact x86-64 hflags2 at offset %d", X_HFLAGS2);
    if (ENV(v, int, X_OLD_EXCEPTION) != -1)
        return core_fail("Unicorn fact x86-64 old_exception at offset %d", X_OLD_EXCEPTION);
    u64 old_sel = SEG(v, SEG_CS)->selector;
    UC.reg_write(v->uc, UC_X86_REG_CS, &sel);
    if (SEG(v, SEG_CS)->selector != 0x33)
        return core_fail("Unicorn fact x86-64 segment caches at offset %d", X_SEGS);
    UC.reg_write(v->uc, UC_X86_REG_CS, &old_sel);
    UC.reg_write(v->uc, UC_X86_REG_RFLAGS, &flags);
    if (!(ENV(v, u64, X_EFLAGS) & FL_IF))               /* IF, unlike the arithmetic flags, is kept in place */
        return core_fail("Unicorn fact x86-64 eflags at offset %d", X_EFLAGS);
    flags = 2;
    UC.reg_write(v->uc, UC_X86_REG_RFLAGS, &flags);
    return 0;
}
