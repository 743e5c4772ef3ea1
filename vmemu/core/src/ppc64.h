/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ppc64.h - private to the ppc64 files: Unicorn's private layout, MSR, SPR and fault bits, this architecture's own state.
 *
 * Bit numbers in comments are IBM's (0 = most significant of 64), as in Power ISA 3.1B.
 */
#ifndef VMEMU_PPC64_H
#define VMEMU_PPC64_H

#include "core.h"

/*
 * CPUPPCState and CPUState of libunicorn 2.1.4, in bytes. selftest_ppc64() checks every one of them by running instructions
 * that write the field, so a different build is refused instead of corrupted.
 */
enum {
    UC_CPU = 440,                                       /* struct uc_struct: CPUState * */
    CPU_ENV = 296,                                      /* CPUState: env_ptr */
    CPU_HALTED = 33176,                                 /* CPUState: u32 halted */
    ENV_GPR = 0,
    ENV_LR = 512,
    ENV_CTR = 520,
    ENV_CRF = 528,                                      /* u32[8], CR0 first */
    ENV_CFAR = 560,
    ENV_XER = 568,                                      /* without SO OV CA OV32 CA32, which follow as one u64 each */
    ENV_SO = 576,
    ENV_OV = 584,
    ENV_CA = 592,
    ENV_OV32 = 600,
    ENV_CA32 = 608,
    ENV_RESERVE_ADDR = 616,
    ENV_RESERVE_VAL = 624,
    ENV_RESERVE_VAL2 = 632,
    ENV_MSR = 640,
    ENV_NIP = 680,
    ENV_SPR = 2840,                                     /* u64[1024] */
    ENV_VSCR = 76568,                                   /* u32 */
    ENV_VSR = 76576,                                    /* 64 x 16 bytes; on a little-endian host doubleword 0 is the second u64 */
    ENV_VSCR_SAT = 77600,                               /* 16 bytes, non-zero = VSCR[SAT] */
    ENV_ERROR_CODE = 77728                              /* int */
};
#define PVR_POWER10 0x00800100u                         /* the default model, the only one that works (engine.md 3) */

/* Machine state register, Power ISA Book III 3.2.1 */
#define MSR_SF (1ull << 63)
#define MSR_EE (1ull << 15)
#define MSR_PR (1ull << 14)
#define MSR_ME (1ull << 12)
#define MSR_IR (1ull << 5)
#define MSR_DR (1ull << 4)
#define MSR_LE (1ull << 0)

enum ppc64_spr {
    SPR_DSISR = 18, SPR_DAR = 19, SPR_DEC = 22, SPR_SRR0 = 26, SPR_SRR1 = 27, SPR_AMR = 29, SPR_PIDR = 48, SPR_IAMR = 61,
    SPR_TBRL = 268, SPR_TBRU = 269, SPR_TBWL = 284, SPR_TBWU = 285, SPR_TBU40 = 286, SPR_PVR = 287,
    SPR_SPURR = 308, SPR_PURR = 309, SPR_HDEC = 310, SPR_LPCR = 318, SPR_AMOR = 349, SPR_VTB = 849, SPR_UAMR = 13, SPR_PIR = 1023
};
#define LPCR_AIL(lpcr) ((lpcr) >> 23 & 3)               /* bits 39:40, alternate interrupt location */
#define LPCR_ILE (1ull << 25)                           /* bit 38, interrupts are taken little-endian */
#define LPCR_UPRT (1ull << 22)                          /* bit 41, process tables in use */
#define LPCR_HR (1ull << 20)                            /* bit 43, host (and here guest) radix */
#define LPCR_GTSE (1ull << 10)                          /* bit 53, the guest may execute tlbie */

/* Interrupt vectors, Power ISA Book III 7.5 */
enum {
    VEC_RESET = 0x100, VEC_MCHECK = 0x200, VEC_DSI = 0x300, VEC_DSEG = 0x380, VEC_ISI = 0x400, VEC_ISEG = 0x480,
    VEC_EXTERNAL = 0x500, VEC_ALIGN = 0x600, VEC_PROGRAM = 0x700, VEC_FPU = 0x800, VEC_DEC = 0x900, VEC_DOORBELL = 0xa00,
    VEC_SYSCALL = 0xc00, VEC_TRACE = 0xd00, VEC_VPU = 0xf20, VEC_VSX = 0xf40, VEC_FACILITY = 0xf60
};
#define AIL3_BASE 0xc000000000004000ull

/* DSISR; for fetches the same positions of SRR1 (Book III 7.5.3, 7.5.5) */
#define DSISR_NOPTE 0x40000000u
#define DSISR_NOEXEC 0x10000000u                        /* SRR1 only: no-execute or guarded */
#define DSISR_PROT 0x08000000u
#define DSISR_STORE 0x02000000u
#define DSISR_KEY 0x00200000u                           /* AMR or IAMR forbids it */
#define DSISR_BADCONFIG 0x00080000u                     /* unsupported radix tree */
#define DSISR_RC 0x00040000u                            /* reference/change update failed */
#define DSISR_PRTABLE 0x00020000u                       /* process table or tree outside memory (as KVM reflects it) */
#define FAULT_SEGMENT 0x00000001u                       /* ours: not a storage but a segment interrupt */

/* SRR1 of a program interrupt (Book III 7.5.9) */
#define SRR1_FP 0x00100000u
#define SRR1_ILLEGAL 0x00080000u
#define SRR1_PRIVILEGED 0x00040000u
#define SRR1_TRAP 0x00020000u
#define SRR1_CLEAR 0x783f0000ull                        /* MSR positions that an interrupt replaces in SRR1: 33:36, 42:47 */

enum irq_ppc64 { IRQ_EXTERNAL = 1, IRQ_DECREMENTER = 2, IRQ_DOORBELL = 4, IRQ_RESET = 8 };

#define TIMEBASE_HZ 512000000ull

#define COPY_BYTES 128

struct ppc64_state {
    u64 prtbl;                                          /* process table: base, and in bits 4:0 log2(bytes) - 12; ~0 = none */
    u64 stall_insns;                                    /* v->insns at the last interrupt entry ... */
    u32 stalls;                                         /* ... and how many entries saw the same: no progress */
    u64 copied, copy[COPY_BYTES / 8];                   /* the copy buffer; copied 1: it is full */
    char why[96];
};
#define PRTBL_NONE (~0ull)
#define STALL_LIMIT 16

static inline struct ppc64_state *ppc64_of(struct vcpu *v) { return v->arch; }
static inline u64 *env64(struct vcpu *v, u32 offset) { return (u64 *)((u8 *)v->env + offset); }
static inline u32 *env32(struct vcpu *v, u32 offset) { return (u32 *)((u8 *)v->env + offset); }
static inline u64 *gpr(struct vcpu *v, u32 n) { return env64(v, ENV_GPR + 8 * n); }
static inline u64 *spr(struct vcpu *v, u32 n) { return env64(v, ENV_SPR + 8 * n); }
static inline u64 msr(struct vcpu *v) { return *env64(v, ENV_MSR); }

static inline u64 be64(u64 x)                           /* guest tables are big-endian whatever MSR[LE] says */
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_bswap64(x);
#else
    return x;
#endif
}
static inline u32 load32(const u8 *p, bool little)
{
    return little ? (u32)p[0] | (u32)p[1] << 8 | (u32)p[2] << 16 | (u32)p[3] << 24
                  : (u32)p[3] | (u32)p[2] << 8 | (u32)p[1] << 16 | (u32)p[0] << 24;
}
static inline u32 insn_spr(u32 insn) { return (insn >> 16 & 31) | (insn >> 11 & 31) << 5; }

/* arch_ppc64.c */
void ppc64_set_msr(struct vcpu *, u64);                 /* and the translator's flags that follow from it */
void ppc64_flush_all(struct vcpu *);                    /* every vCPU: broadcast tlbie */
void ppc64_set_process_table(struct machine *, u64 base, u64 size_log2);
int selftest_ppc64(struct vcpu *);
/* walk_ppc64.c: for a device that shares a process's translations, in problem state; `v` lends its process table */
enum walk_status ppc64_walk_process(struct vcpu *v, u32 pid, u64 va, enum access acc, struct walk *w);
/* regs_ppc64.c */
int ppc64_spr_of(u32 reg);                              /* SPR number of a register index, -1: not a plain SPR */
/* walk_ppc64.c */
enum walk_status ppc64_walk(struct vcpu *, u64 va, enum access, struct walk *);
/* decode_ppc64.c */
void ppc64_decode(struct vcpu *, const u8 *code, u32 size, struct decoded *);
/* entry_ppc64.c */
void ppc64_page_fault(struct vcpu *, const struct walk *, u64 va, enum access);
void ppc64_mem_error(struct vcpu *, u64 gva, u64 gpa, enum access);
bool ppc64_trap(struct vcpu *, struct vm_exit *);
bool ppc64_irq_ready(struct vcpu *);
bool ppc64_irq_take(struct vcpu *, struct vm_exit *);
enum s2_result ppc64_deliver(struct vcpu *);
void ppc64_program(struct vcpu *, u32 srr1);            /* pend a program interrupt at the current PC */
void ppc64_misaligned(struct vcpu *, u64 ea);           /* pend an alignment interrupt */
/* sense_ppc64.c */
void ppc64_sense(struct vcpu *, u64 va, const u8 *page);
bool ppc64_insn(struct vcpu *, u64 pc, u32 *insn);      /* the word at pc in the CPU's byte order */
/* copy_ppc64.c */
bool ppc64_is_copy_paste(u32 insn);
bool ppc64_is_cpabort(u32 insn);
bool ppc64_copy_paste(struct vcpu *, u32 insn, struct vm_exit *);  /* as ppc64_trap */
void ppc64_copy_abort(struct vcpu *);

#endif
