/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * x86-64: private layout of Unicorn 2.1.4's CPUX86State, and what the x86_64 files share.
 *
 * Offsets were computed from the library's sources and are checked by selftest_x86_64(): a value written through the public
 * interface must be read back through the pointer, and the other way round.
 * "SDM" is Intel's Software Developer's Manual, volume 3 unless said otherwise.
 */
#ifndef VMEMU_X86_64_H
#define VMEMU_X86_64_H

#include <string.h>

#include "core.h"

/* ---- CPUX86State and CPUState ---- */
enum {
    X_REGS = 0, X_EIP = 128, X_EFLAGS = 136, X_HFLAGS = 176, X_HFLAGS2 = 180, X_SEGS = 184, X_LDT = 328, X_TR = 352,
    X_GDT = 376, X_IDT = 400, X_CR = 424, X_EFER = 592, X_SYSENTER_CS = 4800, X_SYSENTER_ESP = 4808, X_SYSENTER_EIP = 4816,
    X_STAR = 4824, X_LSTAR = 4840, X_CSTAR = 4848, X_FMASK = 4856, X_KERNELGSBASE = 4864, X_TSC_AUX = 4896, X_XCR0 = 4904,
    X_PAT = 5280, X_ERROR_CODE = 5384, X_EXC_IS_INT = 5388, X_EXC_NEXT_EIP = 5392, X_DR = 5400, X_OLD_EXCEPTION = 5496,
    X_TSC_OFFSET = 5512,
    CPU_HALTED = 33176
};
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS };
enum { G_RAX, G_RCX, G_RDX, G_RBX, G_RSP, G_RBP, G_RSI, G_RDI, G_R11 = 11 };

struct seg { u32 selector, pad; u64 base; u32 limit, flags; };  /* flags: bits 8..23 of a descriptor's upper half, in place */

#define ENV(v, type, off) (*(type *)((u8 *)(v)->env + (off)))
#define REG(v, n) ENV(v, u64, X_REGS + 8 * (n))
#define SEG(v, n) ((struct seg *)((u8 *)(v)->env + X_SEGS) + (n))
#define DTABLE(v, off) ((struct seg *)((u8 *)(v)->env + (off)))
#define CR(v, n) ENV(v, u64, X_CR + 8 * (n))
#define HFLAGS(v) ENV(v, u32, X_HFLAGS)

/* ---- bits ---- */
enum {                                                  /* hflags: the translator's copy of the mode */
    HF_CPL = 3, HF_INHIBIT = 1 << 3, HF_CS32 = 1 << 4, HF_SS32 = 1 << 5, HF_ADDSEG = 1 << 6, HF_PE = 1 << 7,
    HF_MP = 1 << 9, HF_EM = 1 << 10, HF_TS = 1 << 11, HF_LMA = 1 << 14, HF_CS64 = 1 << 15, HF_OSFXSR = 1 << 22
};
enum { HF2_GIF = 1, HF2_NMI = 1 << 2 };                 /* NMI: one is being served; IRET clears it natively */
#define CR0_PE 1u
#define CR0_MP 2u
#define CR0_EM 4u
#define CR0_TS 8u
#define CR0_ET 16u
#define CR0_WP (1u << 16)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define CR4_MCE (1u << 6)
#define CR4_OSFXSR (1u << 9)
#define CR4_SMEP (1u << 20)
#define EFER_SCE 1u
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define EFER_NXE (1u << 11)
#define FL_TF (1u << 8)
#define FL_IF (1u << 9)
#define FL_NT (1u << 14)
#define FL_RF (1u << 16)
#define FL_VM (1u << 17)
/* descriptor flags, as in struct seg */
#define DESC_A (1u << 8)
#define DESC_W (1u << 9)
#define DESC_C (1u << 10)
#define DESC_CODE (1u << 11)
#define DESC_S (1u << 12)
#define DESC_DPL_SHIFT 13
#define DESC_P (1u << 15)
#define DESC_L (1u << 21)
#define DESC_B (1u << 22)
#define DESC_G (1u << 23)

enum { V_DE = 0, V_DB = 1, V_NMI = 2, V_BP = 3, V_OF = 4, V_UD = 6, V_DF = 8, V_TS = 10, V_NP = 11, V_SS = 12, V_GP = 13,
       V_PF = 14, V_AC = 17, V_MC = 18 };
enum irq_x86_64 { IRQ_INTR = 1, IRQ_NMI = 2, IRQ_MCE = 4 };

/* #PF error code (SDM 4.7) */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };
/* walk.fault values that are no #PF */
#define FAULT_NONCANONICAL (1u << 31)                   /* #GP(0), or #SS(0) for the stack */
#define FAULT_UNMODELLED (1u << 30)                     /* paging without long mode */

#define MAXPHYADDR 40                                   /* CPUID 0x80000008 of the pc board says the same */
#define TSC_HZ 2000000000ull                            /* the CPU's nominal clock: TSC ticks are cycles */

/* pend.aux: set for INT n, INT3, INTO; the length of the instruction stands above, so that a fault in delivery restarts it */
#define AUX_SOFT 1u
#define AUX_UNMODELLED 2u                               /* paging without long mode: cannot go on */
#define AUX_SHUTDOWN 4u                                 /* machine check that the guest cannot take */
#define AUX_LEN_SHIFT 8

enum { MCG_STATUS, MC0_STATUS, MC0_ADDR, MC0_MISC };    /* order of registers.py */
#define MCG_RIPV 1u
#define MCG_EIPV 2u
#define MCG_MCIP 4u

struct x86 {                                            /* v->arch */
    u64 mc[4];
    char why[160];                                      /* text of the last EXIT_FATAL */
};

static inline bool canonical(u64 va) { return (u64)((i64)(va << 16) >> 16) == va; }
static inline bool long_mode(struct vcpu *v) { return HFLAGS(v) & HF_LMA; }
static inline u32 cpl(struct vcpu *v) { return HFLAGS(v) & HF_CPL; }

/* Linear address of the current instruction: what block hooks call the address. */
static inline u64 x86_linear_pc(struct vcpu *v)
{
    u64 pc = SEG(v, SEG_CS)->base + ENV(v, u64, X_EIP);
    return HFLAGS(v) & HF_CS64 ? pc : (u32)pc;
}

/* arch_x86_64.c */
void x86_set_flags(struct vcpu *, u64 rflags);
u64 x86_get_flags(struct vcpu *);
void x86_load_cs(struct vcpu *, u32 selector, u64 base, u32 limit, u32 flags);
void x86_load_ss(struct vcpu *, u32 selector, u32 flags, u32 new_cpl);
void x86_sync_hflags(struct vcpu *);
/* Make `vector` pending and leave emu_start; from hooks only. */
void x86_raise(struct vcpu *, u32 vector, u32 error, bool has_error);

/* walk_x86_64.c */
enum walk_status x86_walk_as(struct vcpu *, u64 va, enum access, bool user, struct walk *);
enum walk_status walk_x86_64(struct vcpu *, u64 va, enum access, struct walk *);
/* Up to `len` code bytes at linear address pc; returns how many could be had (resident pages only, rights of the current mode). */
u32 x86_code_bytes(struct vcpu *, u64 pc, u8 *buf, u32 len);

/* entry_x86_64.c */
void page_fault_x86_64(struct vcpu *, const struct walk *, u64 va, enum access);
void mem_error_x86_64(struct vcpu *, u64 gva, u64 gpa, enum access);
bool trap_x86_64(struct vcpu *, struct vm_exit *);
bool irq_ready_x86_64(struct vcpu *);
bool irq_take_x86_64(struct vcpu *, struct vm_exit *);

/* deliver_x86_64.c */
enum s2_result deliver_x86_64(struct vcpu *);

/* sense_x86_64.c, insn_x86_64.c */
void sense_x86_64(struct vcpu *, u64 va, const u8 *page);
int x86_install_hooks(struct vcpu *);

/* decode_x86_64.c */
void decode_x86_64(struct vcpu *, const u8 *code, u32 size, struct decoded *);
int x86_decoder_ready(void);                            /* 0, or core_fail() */

#endif
