/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The facts of libunicorn that the ppc64 files rely on, checked on a private engine before the first vCPU runs: instructions write
 * known values, the values are looked for at the offsets of ppc64.h.
 */
#include <string.h>

#include "ppc64.h"

#define CODE 0x1000u
#define MAGIC 0x123456789abcdef0ull

struct probe { uc_engine *uc; u8 *env, *cpu; u8 page[4 * PAGE_SIZE] __attribute__((aligned(4096))); int intno; u32 at; };

static bool identity(uc_engine *uc, u64 va, uc_mem_type type, uc_tlb_entry *e, void *user)
{
    (void)uc, (void)type, (void)user;
    e->paddr = va & PAGE_MASK;
    e->perms = UC_PROT_ALL;
    return true;
}

static void on_intr(uc_engine *uc, u32 intno, void *user)
{
    ((struct probe *)user)->intno = (int)intno;
    UC.emu_stop(uc);
}

static void put(struct probe *p, u32 insn)
{
    for (u32 i = 0; i < 4; i++)
        p->page[CODE + p->at++] = (u8)(insn >> (24 - 8 * i));
}

static u32 spr_field(u32 n) { return (n & 31) << 16 | (n >> 5) << 11; }
#define MTSPR(n, r) (0x7c0003a6u | (r) << 21 | spr_field(n))
#define WAIT 0x7c00003cu
#define SC(level) (0x44000002u | (level) << 5)
#define ILLEGAL 0x00000000u

/* Run what put() collected; it must end in an interrupt or in `wait`. */
static uc_err run(struct probe *p)
{
    uc_err e;

    p->intno = -1;
    p->at = 0;
    e = UC.ctl(p->uc, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
    return e ? e : UC.emu_start(p->uc, CODE, 0, 0, 0);
}

static u64 at(struct probe *p, u32 offset)
{
    u64 x;
    memcpy(&x, p->env + offset, 8);
    return x;
}

static bool same(struct probe *p, int uc_reg, u32 offset, u64 mask)
{
    u64 x = MAGIC & mask, zero = 0;

    if (UC.reg_write(p->uc, uc_reg, &x) || (at(p, offset) & mask) != x)
        return false;
    return !UC.reg_write(p->uc, uc_reg, &zero) && !(at(p, offset) & mask);
}

static const char *registers(struct probe *p)
{
    u64 pvr = at(p, ENV_SPR + 8 * SPR_PVR);

    if (pvr != PVR_POWER10)
        return "the default CPU model is POWER10";
    for (u32 i = 0; i < 32; i++)
        if (!same(p, UC_PPC_REG_0 + (int)i, ENV_GPR + 8 * i, ~0ull) || !same(p, UC_PPC_REG_FPR0 + (int)i, ENV_VSR + 16 * i + 8, ~0ull))
            return "offsets of GPR and FPR";
    for (u32 i = 0; i < 8; i++)
        if (!same(p, UC_PPC_REG_CR0 + (int)i, ENV_CRF + 4 * i, 15))
            return "offsets of the CR fields";
    if (!same(p, UC_PPC_REG_LR, ENV_LR, ~0ull) || !same(p, UC_PPC_REG_CTR, ENV_CTR, ~0ull) || !same(p, UC_PPC_REG_PC, ENV_NIP, ~0ull))
        return "offsets of LR, CTR, PC";
    return NULL;
}

static const char *special(struct probe *p)
{
    static const u16 numbers[] = { SPR_SRR0, SPR_SRR1, SPR_DAR, SPR_DSISR, 272, 275 };
    u64 magic = MAGIC, state = MSR_SF | MSR_ME;

    UC.reg_write(p->uc, UC_PPC_REG_MSR, &state);
    UC.reg_write(p->uc, UC_PPC_REG_3, &magic);
    for (u32 i = 0; i < sizeof numbers / sizeof *numbers; i++)
        put(p, MTSPR(numbers[i], 3));
    put(p, 0x7c6103a6);                                 /* mtxer r3 */
    put(p, SC(1));
    if (run(p) || p->intno != 8 || *(int *)(p->env + ENV_ERROR_CODE) != 1)
        return "sc 1 is exception 8 with error_code 1";
    if (at(p, ENV_NIP) != CODE + 4 * (sizeof numbers / sizeof *numbers + 2))
        return "PC is past sc in the INTR hook";
    for (u32 i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        u64 x = at(p, ENV_SPR + 8 * numbers[i]);
        if (x != MAGIC && x != (u32)MAGIC)              /* 32-bit ones are cut */
            return "offsets of SRR0, SRR1, DAR, DSISR, SPRG";
    }
    /* MAGIC has SO 1, OV 0, CA 0, OV32 1, CA32 1 at bits 31, 30, 29, 19, 18 */
    if (at(p, ENV_SO) != (MAGIC >> 31 & 1) || at(p, ENV_OV) != (MAGIC >> 30 & 1) || at(p, ENV_CA) != (MAGIC >> 29 & 1) ||
        at(p, ENV_OV32) != (MAGIC >> 19 & 1) || at(p, ENV_CA32) != (MAGIC >> 18 & 1))
        return "offsets of XER";
    return NULL;
}

static const char *interrupts(struct probe *p)
{
    u64 place = 0x2000, user = MSR_SF | MSR_PR, kernel = MSR_SF | MSR_ME;

    UC.reg_write(p->uc, UC_PPC_REG_3, &place);
    memcpy(p->page + place, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    put(p, 0x7c8018a8);                                 /* ldarx r4,0,r3 */
    put(p, ILLEGAL);
    if (run(p) || p->intno != 96 || at(p, ENV_NIP) != CODE + 8)
        return "an illegal instruction is exception 96 with PC + 4";
    if (at(p, ENV_RESERVE_ADDR) != place || at(p, ENV_RESERVE_VAL) != 0x0102030405060708ull)
        return "offsets of the reservation";
    put(p, 0x7fe00008);                                 /* trap */
    if (run(p) || p->intno != 6 || (*(int *)(p->env + ENV_ERROR_CODE) & ~15) != 0x40)
        return "trap is exception 6 with code 0x40";
    if (UC.reg_write(p->uc, UC_PPC_REG_MSR, &user) || at(p, ENV_MSR) != (user | MSR_EE | MSR_IR | MSR_DR))
        return "writing MSR[PR] sets EE, IR and DR";
    put(p, MTSPR(SPR_SRR0, 3));
    if (run(p) || p->intno != 6 || (*(int *)(p->env + ENV_ERROR_CODE) & ~15) != 0x30)
        return "mtspr SRR0 is privileged in problem state";
    UC.reg_write(p->uc, UC_PPC_REG_MSR, &kernel);
    put(p, MTSPR(SPR_SRR0, 3));
    put(p, WAIT);
    if (run(p) || p->intno != -1 || !*(u32 *)(p->cpu + CPU_HALTED) || at(p, ENV_NIP) != CODE + 8)
        return "wait halts with PC past it, and writing MSR changes the translator's mode";
    *(u32 *)(p->cpu + CPU_HALTED) = 0;
    return NULL;
}

int selftest_ppc64(struct vcpu *v)
{
    static struct probe p;
    const char *fact = NULL;
    uc_hook h;

    (void)v;
    memset(&p, 0, sizeof p);
    if (UC.open(UC_ARCH_PPC, UC_MODE_PPC64 | UC_MODE_BIG_ENDIAN, &p.uc))
        return core_fail("Unicorn cannot open ppc64");
    if (UC.ctl(p.uc, UC_CTL_WRITE(UC_CTL_TLB_TYPE, 1), UC_TLB_VIRTUAL) || UC.ctl(p.uc, UC_CTL_WRITE(UC_CTL_UC_USE_EXITS, 1), 1) ||
        UC.mem_map_ptr(p.uc, 0, sizeof p.page, UC_PROT_ALL, p.page) ||
        UC.hook_add(p.uc, &h, UC_HOOK_TLB_FILL, (void *)identity, &p, 1, 0) ||
        UC.hook_add(p.uc, &h, UC_HOOK_INTR, (void *)on_intr, &p, 1, 0)) {
        UC.close(p.uc);
        return core_fail("Unicorn cannot set up ppc64 for its self-test");
    }
    memcpy(&p.cpu, (u8 *)p.uc + UC_CPU, sizeof p.cpu);
    memcpy(&p.env, p.cpu + CPU_ENV, sizeof p.env);
    fact = registers(&p);
    if (!fact)
        fact = special(&p);
    if (!fact)
        fact = interrupts(&p);
    UC.close(p.uc);
    return fact ? core_fail("Unicorn fact no longer true for ppc64: %s", fact) : 0;
}
