/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions and cycles of an x86 block: a coarse model of a 4-wide Haswell-like core (cycles.md 5 and 7): throughput bound
 * max(fused uops / 4, loads / 2, stores, divider, one multiplier) against the loop-carried chain through registers, flags and
 * equal stack slots. Only dividers, multipliers, floating point, vectors, moves, loads and stores are special; all else is
 * "1 cycle, any ALU", which costs two points of accuracy against a full class table (cycles.md 1).
 *
 * Decoding is capstone's, from the wheel's shared library; about 0.25 us an instruction, once per new block.
 */
#define _GNU_SOURCE
#include <capstone/capstone.h>
#include <dlfcn.h>

#include "x86_64.h"

const char *capstone_path;                              /* set once before the first vCPU */

static struct {
    cs_err (*open)(cs_arch, cs_mode, csh *);
    cs_err (*option)(csh, cs_opt_type, size_t);
    bool (*disasm_iter)(csh, const uint8_t **, size_t *, uint64_t *, cs_insn *);
    cs_insn *(*malloc)(csh);
} CS;
static csh handle[3];                                   /* 16, 32, 64 bit */
static cs_insn *insn;

/* ------------------------------------------------------------- registers */

enum { R_VEC = 16, R_X87 = 32, R_FLAGS = 33, R_NONE = 255, NREGS = 34 };
static u8 reg_of[X86_REG_ENDING];

static void map_registers(void)
{
    static const u16 gpr[16][4] = {
        { X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL }, { X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL },
        { X86_REG_RDX, X86_REG_EDX, X86_REG_DX, X86_REG_DL }, { X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL },
        { X86_REG_RSP, X86_REG_ESP, X86_REG_SP, X86_REG_SPL }, { X86_REG_RBP, X86_REG_EBP, X86_REG_BP, X86_REG_BPL },
        { X86_REG_RSI, X86_REG_ESI, X86_REG_SI, X86_REG_SIL }, { X86_REG_RDI, X86_REG_EDI, X86_REG_DI, X86_REG_DIL },
        { X86_REG_R8, X86_REG_R8D, X86_REG_R8W, X86_REG_R8B }, { X86_REG_R9, X86_REG_R9D, X86_REG_R9W, X86_REG_R9B },
        { X86_REG_R10, X86_REG_R10D, X86_REG_R10W, X86_REG_R10B }, { X86_REG_R11, X86_REG_R11D, X86_REG_R11W, X86_REG_R11B },
        { X86_REG_R12, X86_REG_R12D, X86_REG_R12W, X86_REG_R12B }, { X86_REG_R13, X86_REG_R13D, X86_REG_R13W, X86_REG_R13B },
        { X86_REG_R14, X86_REG_R14D, X86_REG_R14W, X86_REG_R14B }, { X86_REG_R15, X86_REG_R15D, X86_REG_R15W, X86_REG_R15B },
    };

    memset(reg_of, R_NONE, sizeof reg_of);
    for (int r = 0; r < 16; r++) {
        for (int w = 0; w < 4; w++)
            reg_of[gpr[r][w]] = (u8)r;
        reg_of[X86_REG_XMM0 + r] = (u8)(R_VEC + r);
        reg_of[X86_REG_YMM0 + r] = (u8)(R_VEC + r);
    }
    reg_of[X86_REG_AH] = 0, reg_of[X86_REG_CH] = 1, reg_of[X86_REG_DH] = 2, reg_of[X86_REG_BH] = 3;
    for (int r = 0; r < 8; r++) {
        reg_of[X86_REG_ST0 + r] = R_X87;                /* one stack: serial, as a 1987 compiler meant it */
        reg_of[X86_REG_MM0 + r] = R_X87;
    }
}

static bool capstone_load(void)
{
    static const cs_mode modes[3] = { CS_MODE_16, CS_MODE_32, CS_MODE_64 };
    static bool tried;

    if (tried)
        return insn != NULL;
    tried = true;
    void *lib = capstone_path ? dlopen(capstone_path, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!lib)
        return false;
    *(void **)&CS.open = dlsym(lib, "cs_open");
    *(void **)&CS.option = dlsym(lib, "cs_option");
    *(void **)&CS.disasm_iter = dlsym(lib, "cs_disasm_iter");
    *(void **)&CS.malloc = dlsym(lib, "cs_malloc");
    if (!CS.open || !CS.option || !CS.disasm_iter || !CS.malloc)
        return false;
    for (int i = 0; i < 3; i++)
        if (CS.open(CS_ARCH_X86, modes[i], &handle[i]) || CS.option(handle[i], CS_OPT_DETAIL, CS_OPT_ON))
            return false;
    map_registers();
    insn = CS.malloc(handle[2]);
    return insn != NULL;
}

int x86_decoder_ready(void)
{
    return capstone_load() ? 0 : core_fail("capstone cannot be loaded from %s: pip install capstone==5.0.9",
                                           capstone_path ? capstone_path : "(no path)");
}

/* ----------------------------------------------------- one instruction */

struct op { u8 src[6], dst[3], addr[2], nsrc, ndst, naddr, load, store, fused; u16 lat, div, mul; u32 slot; };
enum { NO_SLOT_KEY = 0 };

static void need(struct op *o, u32 reg)
{
    u8 r = reg < X86_REG_ENDING ? reg_of[reg] : R_NONE;

    if (r != R_NONE && o->nsrc < sizeof o->src)
        o->src[o->nsrc++] = r;
}

static void make(struct op *o, u32 reg)
{
    u8 r = reg < X86_REG_ENDING ? reg_of[reg] : R_NONE;

    if (r != R_NONE && o->ndst < sizeof o->dst)
        o->dst[o->ndst++] = r;
}

/* Latency, divider and multiplier time of what is not "1 cycle, any ALU" (cycles.md 5, Haswell). */
static void special(struct op *o, const cs_insn *i, u32 size)
{
    switch (i->id) {
    case X86_INS_DIV:  o->lat = size == 8 ? 37 : 24; o->div = size == 8 ? 20 : 8; o->fused = 10; break;
    case X86_INS_IDIV: o->lat = size == 8 ? 42 : 25; o->div = size == 8 ? 24 : 8; o->fused = 10; break;
    case X86_INS_MUL: case X86_INS_MULX: o->lat = 4; o->mul = 1; o->fused = 2; break;
    case X86_INS_IMUL: case X86_INS_POPCNT: case X86_INS_BSF: case X86_INS_BSR: case X86_INS_TZCNT: case X86_INS_LZCNT:
    case X86_INS_CRC32: case X86_INS_PDEP: case X86_INS_PEXT: case X86_INS_SHLD: case X86_INS_SHRD:
        o->lat = 3; o->mul = 1; break;
    case X86_INS_ADC: case X86_INS_SBB: case X86_INS_BSWAP: case X86_INS_XCHG: o->lat = 2; o->fused = 2; break;
    case X86_INS_CMPXCHG: case X86_INS_XADD: o->lat = 4; o->fused = 4; break;
    case X86_INS_CMPXCHG16B: case X86_INS_CMPXCHG8B: o->lat = 14; o->fused = 10; break;
    case X86_INS_MFENCE: o->lat = 33; o->div = 33; break;
    case X86_INS_CPUID: o->lat = 330; o->div = 330; break;
    case X86_INS_RDTSC: case X86_INS_RDTSCP: o->lat = 24; o->div = 24; break;
    case X86_INS_SYSCALL: case X86_INS_SYSRET: case X86_INS_SYSENTER: case X86_INS_SYSEXIT: o->lat = 40; o->div = 40; break;
    case X86_INS_IRETQ: case X86_INS_IRETD: case X86_INS_IRET: o->lat = 100; o->div = 100; break;
    case X86_INS_ADDSS: case X86_INS_ADDSD: case X86_INS_ADDPS: case X86_INS_ADDPD: case X86_INS_SUBSS: case X86_INS_SUBSD:
    case X86_INS_SUBPS: case X86_INS_SUBPD: case X86_INS_MINSD: case X86_INS_MAXSD: case X86_INS_MINSS: case X86_INS_MAXSS:
    case X86_INS_UCOMISD: case X86_INS_UCOMISS: case X86_INS_COMISD: case X86_INS_COMISS: case X86_INS_FADD: case X86_INS_FSUB:
        o->lat = 3; break;
    case X86_INS_MULSS: case X86_INS_MULSD: case X86_INS_MULPS: case X86_INS_MULPD: case X86_INS_FMUL: case X86_INS_PMULUDQ:
    case X86_INS_PMULLW: case X86_INS_PMADDWD: case X86_INS_PSADBW:
        o->lat = 5; break;
    case X86_INS_PMULLD: o->lat = 10; o->fused = 2; break;
    case X86_INS_CVTSI2SD: case X86_INS_CVTSI2SS: case X86_INS_CVTTSD2SI: case X86_INS_CVTTSS2SI: case X86_INS_CVTSD2SS:
        o->lat = 4; o->fused = 2; break;
    case X86_INS_DIVSS: case X86_INS_DIVPS: o->lat = 12; o->div = 7; break;
    case X86_INS_DIVSD: case X86_INS_DIVPD: case X86_INS_FDIV: o->lat = 17; o->div = 12; break;
    case X86_INS_SQRTSS: o->lat = 11; o->div = 7; break;
    case X86_INS_SQRTSD: case X86_INS_FSQRT: o->lat = 16; o->div = 13; break;
    case X86_INS_MOV: case X86_INS_MOVABS: case X86_INS_MOVAPS: case X86_INS_MOVUPS: case X86_INS_MOVDQA: case X86_INS_MOVDQU:
    case X86_INS_MOVAPD: case X86_INS_MOVSS: case X86_INS_MOVSD:
        o->lat = 0; break;                              /* eliminated at rename, or the latency is the load's */
    default: break;
    }
}

static bool zero_idiom(const cs_x86 *x, u32 id)
{
    return (id == X86_INS_XOR || id == X86_INS_SUB || id == X86_INS_PXOR || id == X86_INS_XORPS || id == X86_INS_XORPD) &&
           x->op_count == 2 && x->operands[0].type == X86_OP_REG && x->operands[1].type == X86_OP_REG &&
           x->operands[0].reg == x->operands[1].reg;
}

static bool fuses_with_jcc(u32 id)
{
    return id == X86_INS_CMP || id == X86_INS_TEST || id == X86_INS_ADD || id == X86_INS_SUB || id == X86_INS_AND ||
           id == X86_INS_INC || id == X86_INS_DEC;
}

/* Same base, same displacement: the same slot, as long as the base does not change between (good enough inside one block). */
static u32 slot_key(const x86_op_mem *m)
{
    if (m->index != X86_REG_INVALID || m->base == X86_REG_INVALID)
        return NO_SLOT_KEY;
    return ((u32)m->base << 20 ^ (u32)m->disp) | 1u << 31;
}

static void operands(struct op *o, const cs_x86 *x, u32 id)
{
    for (u32 k = 0; k < x->op_count; k++) {
        const cs_x86_op *p = &x->operands[k];

        if (p->type == X86_OP_REG) {
            if ((p->access & CS_AC_READ) || (k == 0 && o->lat == 1 && (id == X86_INS_BSF || id == X86_INS_BSR)))
                need(o, p->reg);
            if (p->access & CS_AC_WRITE)
                make(o, p->reg);
        } else if (p->type == X86_OP_MEM) {
            for (int b = 0; b < 2; b++) {
                u32 r = b ? p->mem.index : p->mem.base;
                if (r < X86_REG_ENDING && reg_of[r] != R_NONE && o->naddr < 2)
                    o->addr[o->naddr++] = reg_of[r];
            }
            if (id == X86_INS_LEA || id == X86_INS_NOP)
                continue;
            o->load += (p->access & CS_AC_READ) != 0;
            o->store += (p->access & CS_AC_WRITE) != 0;
            o->slot = slot_key(&p->mem);
        }
    }
}

static void classify(struct op *o, const cs_insn *i)
{
    const cs_x86 *x = &i->detail->x86;
    const u64 tests = X86_EFLAGS_TEST_OF | X86_EFLAGS_TEST_SF | X86_EFLAGS_TEST_ZF | X86_EFLAGS_TEST_PF | X86_EFLAGS_TEST_CF;
    const u64 changes = X86_EFLAGS_MODIFY_CF | X86_EFLAGS_MODIFY_ZF | X86_EFLAGS_MODIFY_SF | X86_EFLAGS_RESET_CF;
    u32 size = x->op_count ? x->operands[0].size : 0;
    bool x87 = i->id == X86_INS_FADD || i->id == X86_INS_FSUB || i->id == X86_INS_FMUL || i->id == X86_INS_FDIV;

    memset(o, 0, sizeof *o);
    o->lat = 1;
    o->fused = 1;
    special(o, i, size);
    if (zero_idiom(x, i->id)) {
        o->lat = 0;
        make(o, x->operands[0].reg);
        o->dst[o->ndst++] = R_FLAGS;
        return;
    }
    operands(o, x, i->id);
    if (!x87) {                                         /* for x87 the field holds its own flags */
        if (x->eflags & tests)
            o->src[o->nsrc < sizeof o->src ? o->nsrc++ : 0] = R_FLAGS;
        if ((x->eflags & changes) && o->ndst < sizeof o->dst)
            o->dst[o->ndst++] = R_FLAGS;
    }
    switch (i->id) {                                    /* implicit operands and stack accesses; the stack engine hides RSP */
    case X86_INS_PUSH: case X86_INS_PUSHFQ: o->store++; break;
    case X86_INS_POP: case X86_INS_POPFQ: o->load++; break;
    case X86_INS_CALL: o->store++; o->fused = 2; break;
    case X86_INS_RET: o->load++; o->fused = 2; break;
    case X86_INS_LEAVE: o->load++; o->fused = 3; break;
    case X86_INS_MUL: case X86_INS_DIV: case X86_INS_IDIV:
        need(o, X86_REG_RAX), make(o, X86_REG_RAX), make(o, X86_REG_RDX);
        if (i->id != X86_INS_MUL)
            need(o, X86_REG_RDX);
        break;
    case X86_INS_LEA:
        o->lat = o->naddr == 2 && x->operands[1].mem.disp ? 3 : 1;
        break;
    default: break;
    }
    if (x->prefix[0] == X86_PREFIX_LOCK)
        o->lat = 18, o->fused = 8, o->div = 18;
    else if (x->prefix[0] == X86_PREFIX_REP || x->prefix[0] == X86_PREFIX_REPNE)
        o->fused += i->id >= X86_INS_MOVSB && i->id <= X86_INS_MOVSQ ? 16 : 0;
    if (o->load && o->store && o->fused < 2)
        o->fused = 2;
}

/* ------------------------------------------------------------- a block */

#define MAX_OPS 512                                     /* Unicorn's own limit for a block */
#define LOAD_LATENCY 5
#define FORWARD 5                                       /* store to load */

static u32 max32(u32 a, u32 b) { return a > b ? a : b; }

/* One pass of the max-plus walk; returns the latest ready time. */
static u32 walk_chain(const struct op *ops, u32 n, u32 ready[NREGS], u32 slots[64][2])
{
    u32 latest = 0;

    for (u32 k = 0; k < n; k++) {
        const struct op *o = &ops[k];
        u32 t = 0;

        if (o->load) {
            for (u32 s = 0; s < o->naddr; s++)
                t = max32(t, ready[o->addr[s]]);
            t += LOAD_LATENCY;
            if (o->slot != NO_SLOT_KEY && slots[o->slot % 61][0] == o->slot)
                t = max32(t, slots[o->slot % 61][1] + FORWARD);
        } else if (!o->store) {
            for (u32 s = 0; s < o->naddr; s++)
                t = max32(t, ready[o->addr[s]]);        /* LEA */
        }
        for (u32 s = 0; s < o->nsrc; s++)
            t = max32(t, ready[o->src[s]]);
        t += o->lat;
        for (u32 d = 0; d < o->ndst; d++)
            ready[o->dst[d]] = t;
        if (o->store && o->slot != NO_SLOT_KEY)
            slots[o->slot % 61][0] = o->slot, slots[o->slot % 61][1] = t;
        latest = max32(latest, t);
    }
    return latest;
}

/* Cycles in CYC per pass when the block follows itself: (T(4) - T(2)) / 2. */
static u32 chain(const struct op *ops, u32 n)
{
    u32 ready[NREGS] = { 0 }, slots[64][2] = { { 0, 0 } }, t2 = 0, t = 0;

    for (int pass = 1; pass <= 4; pass++) {
        t = walk_chain(ops, n, ready, slots);
        if (pass == 2)
            t2 = t;
    }
    return (t - t2) * CYC / 2;
}

static u32 decode_ops(struct vcpu *v, const u8 *code, u32 size, struct decoded *d, struct op *ops, u32 *kept)
{
    u32 mode = HFLAGS(v) & HF_CS64 ? 2 : HFLAGS(v) & HF_CS32 ? 1 : 0, tp = 0, prev = 0;
    u32 fused = 0, loads = 0, stores = 0, div = 0, mul = 0;
    const uint8_t *p = code;
    size_t left = size;
    uint64_t addr = 0;

    while (left) {
        u32 at = (u32)(p - code);
        d->starts[at / 64] |= 1ull << at % 64;
        d->n++;
        if (!CS.disasm_iter(handle[mode], &p, &left, &addr, insn))
            break;                                      /* undefined: the block ends in it */
        if (*kept == MAX_OPS)
            continue;
        struct op *o = &ops[(*kept)++];
        classify(o, insn);
        bool jcc = insn->id >= X86_INS_JAE && insn->id <= X86_INS_JS && insn->id != X86_INS_JMP && insn->id != X86_INS_LJMP;
        fused += jcc && fuses_with_jcc(prev) ? 0 : o->fused;
        loads += o->load, stores += o->store, div += o->div, mul += o->mul;
        prev = insn->id;
    }
    tp = max32(fused * CYC / 4, loads * CYC / 2);
    tp = max32(tp, stores * CYC);
    return max32(tp, max32(div, mul) * CYC);
}

void decode_x86_64(struct vcpu *v, const u8 *code, u32 size, struct decoded *d)
{
    static struct op ops[MAX_OPS];
    u32 kept = 0;

    memset(d, 0, sizeof *d);
    if (size > BLOCK_BYTES_MAX)
        size = BLOCK_BYTES_MAX;
    if (!capstone_load()) {                             /* refused at set-up: see x86_decoder_ready() */
        d->n = 1;
        d->starts[0] = 1;
        d->cost = d->loop = CYC;
        return;
    }
    u32 tp = decode_ops(v, code, size, d, ops, &kept), c = chain(ops, kept);

    d->cost = max32(max32(tp, c / 2), CYC);             /* a block entered by a taken branch: one cycle at least */
    d->loop = max32(max32(tp, c), CYC);
    d->cost = max32(d->cost, d->n * (CYC / 8));
    d->loop = max32(d->loop, d->n * (CYC / 8));
}
