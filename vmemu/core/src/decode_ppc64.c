/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cycle model of a block, POWER9-like: max(front end, resource groups) on entry, and the loop-carried latency when a block follows
 * itself. Widths, units and latencies are LLVM's numbers for pwr9 (Apache-2.0 with LLVM exception), reduced to classes; moves to
 * and from LR and CTR take 5 cycles instead of LLVM's 12. Accuracy is against llvm-mca, not against silicon.
 */
#include <string.h>

#include "ppc64.h"

#define WIDTH 8
#define PASSES 4                                        /* latency per pass = (T(4) - T(2)) / 2 */

/* Resource groups and their units. NBR, SS, x02, x13, xab are dispatch slots; the others execution pipes. */
enum group { NBR, SS, X02, X13, XAB, ALU, LS, EXEC, DP, DIV, BR, GROUPS };
static const u8 units[GROUPS] = { 6, 4, 2, 2, 2, 4, 4, 4, 4, 2, 1 };

/* A dispatch-restricted operation ("r") takes a slot pair of one superslice. */
#define RESTRICTED(times) [NBR] = 3 * (times), [SS] = 2 * (times), [X02] = (times), [X13] = (times), [XAB] = (times)

enum class { C_ALU, C_ROT, C_ROT_RC, C_COUNT, C_MUL, C_DIVW, C_DIVD, C_LOAD, C_LOAD_A, C_LOAD_FS, C_STORE, C_BRANCH, C_FP, C_FDIV, C_FDIVS,
             C_FSQRT, C_VINT, C_VFP, C_SPR, C_SLOW, CLASSES };
static const struct { u8 latency, use[GROUPS]; } table_of[CLASSES] = {
    [C_ALU] = { 2, { [ALU] = 1, [NBR] = 1 } },
    [C_ROT] = { 2, { [ALU] = 1, RESTRICTED(1) } },
    [C_ROT_RC] = { 4, { [ALU] = 2, RESTRICTED(2) } },
    [C_COUNT] = { 3, { [ALU] = 1, [NBR] = 1 } },
    [C_MUL] = { 5, { [DP] = 1, RESTRICTED(1) } },
    [C_DIVW] = { 16, { [DIV] = 8, [NBR] = 1 } },
    [C_DIVD] = { 24, { [DIV] = 8, [NBR] = 1 } },
    [C_LOAD] = { 4, { [LS] = 1, [NBR] = 1 } },
    [C_LOAD_A] = { 6, { [LS] = 1, [ALU] = 1, [NBR] = 2 } },
    [C_LOAD_FS] = { 7, { [LS] = 1, [NBR] = 2 } },
    [C_STORE] = { 1, { [LS] = 1, [EXEC] = 1, RESTRICTED(1) } },
    [C_BRANCH] = { 2, { [BR] = 1, [NBR] = 1, [XAB] = 1 } },
    [C_FP] = { 7, { [DP] = 1, RESTRICTED(1) } },
    [C_FDIV] = { 33, { [DP] = 8, RESTRICTED(1) } },
    [C_FDIVS] = { 22, { [DP] = 5, RESTRICTED(1) } },
    [C_FSQRT] = { 36, { [DP] = 10, RESTRICTED(1) } },
    [C_VINT] = { 2, { [ALU] = 2, [NBR] = 2 } },
    [C_VFP] = { 7, { [DP] = 2, [NBR] = 2 } },
    [C_SPR] = { 5, { [EXEC] = 1, RESTRICTED(1) } },
    [C_SLOW] = { 10, { [EXEC] = 4, RESTRICTED(2) } },   /* synchronisation, privileged moves */
};

/* Registers of the dependence walk */
enum { REG_VSR = 32, REG_CR = 96, REG_CTR = 104, REG_LR, REG_CA, REGS, NONE = 255 };
#define FPR(n) (REG_VSR + (n))
#define VR(n) (REG_VSR + 32 + (n))

struct op { u8 class, src[3], dst[2], update; };        /* update: base register written by an update form, 2 cycles later */

static u32 rt(u32 i) { return i >> 21 & 31; }
static u32 ra(u32 i) { return i >> 16 & 31; }
static u32 rb(u32 i) { return i >> 11 & 31; }
static u8 base(u32 i) { return ra(i) ? (u8)ra(i) : (u8)NONE; }
static u8 crf(u32 i) { return (u8)(REG_CR + (i >> 23 & 7)); }

static struct op make(u32 class, u32 s0, u32 s1, u32 s2, u32 d0, u32 d1)
{
    return (struct op){ (u8)class, { (u8)s0, (u8)s1, (u8)s2 }, { (u8)d0, (u8)d1 }, NONE };
}

static struct op with_update(struct op o, u32 insn)
{
    o.update = (u8)ra(insn);
    return o;
}

static struct op branch(u32 i, u32 target)
{
    u32 bo = rt(i);

    return make(C_BRANCH, bo & 16 ? NONE : REG_CR + (ra(i) >> 2), bo & 4 ? NONE : REG_CTR, target,
                bo & 4 ? NONE : REG_CTR, i & 1 ? REG_LR : NONE);
}

static struct op op19(u32 i)
{
    switch (i >> 1 & 0x3ff) {
    case 16: return branch(i, REG_LR);
    case 528: return branch(i, REG_CTR);
    case 560: return branch(i, NONE);
    case 18: case 150: return make(C_SLOW, NONE, NONE, NONE, NONE, NONE);       /* rfid, isync */
    case 0: return make(C_ROT, REG_CR + (i >> 18 & 7), NONE, NONE, crf(i), NONE); /* mcrf */
    default:
        if ((i >> 1 & 31) == 2)                         /* addpcis */
            return make(C_ALU, NONE, NONE, NONE, rt(i), NONE);
        return make(C_ROT, REG_CR + (ra(i) >> 2), REG_CR + (rb(i) >> 2), NONE, crf(i), NONE);
    }
}

static struct op spr_move(u32 i, bool read)
{
    u32 n = insn_spr(i), reg = n == 8 ? REG_LR : n == 9 ? REG_CTR : n == 1 ? REG_CA : NONE, class = reg == NONE ? C_SLOW : C_SPR;

    return read ? make(class, reg, NONE, NONE, rt(i), NONE) : make(class, rt(i), NONE, NONE, reg, NONE);
}

/* Loads and stores of opcode 31 by bits of their extended opcode; false: not one. */
static bool x_memory(u32 i, struct op *o)
{
    u32 xo = i >> 1 & 0x3ff;

    switch (xo) {
    case 21: case 23: case 87: case 279: case 20: case 84: case 52: case 116: case 532: case 534: case 790: case 533: case 597:
        *o = make(C_LOAD, base(i), rb(i), NONE, rt(i), NONE);
        return true;
    case 53: case 55: case 119: case 311:
        *o = with_update(make(C_LOAD, ra(i), rb(i), NONE, rt(i), NONE), i);
        return true;
    case 341: case 343:
        *o = make(C_LOAD_A, base(i), rb(i), NONE, rt(i), NONE);
        return true;
    case 373: case 375:
        *o = with_update(make(C_LOAD_A, ra(i), rb(i), NONE, rt(i), NONE), i);
        return true;
    case 149: case 151: case 215: case 407: case 660: case 662: case 918: case 661: case 725: case 150: case 214: case 694: case 726:
        *o = make(C_STORE, base(i), rb(i), rt(i), xo == 150 || xo == 214 || xo == 694 || xo == 726 ? REG_CR : NONE, NONE);
        return true;
    case 181: case 183: case 247: case 439:
        *o = with_update(make(C_STORE, ra(i), rb(i), rt(i), NONE, NONE), i);
        return true;
    case 535: case 567:
        *o = make(C_LOAD_FS, base(i), rb(i), NONE, FPR(rt(i)), NONE);
        return true;
    case 599: case 631: case 855: case 887: case 588: case 844: case 876: case 268: case 332: case 364: case 780: case 812:
        *o = make(C_LOAD, base(i), rb(i), NONE, REG_VSR + (rt(i) | (i & 1) << 5), NONE);
        return true;
    case 663: case 695: case 727: case 759: case 983: case 716: case 972: case 1004: case 396: case 908: case 940:
        *o = make(C_STORE, base(i), rb(i), REG_VSR + (rt(i) | (i & 1) << 5), NONE, NONE);
        return true;
    case 7: case 39: case 71: case 103: case 359: case 6: case 38:
        *o = make(C_LOAD, base(i), rb(i), NONE, VR(rt(i)), NONE);
        return true;
    case 135: case 167: case 199: case 231: case 487:
        *o = make(C_STORE, base(i), rb(i), VR(rt(i)), NONE, NONE);
        return true;
    case 54: case 86: case 246: case 278: case 470: case 982: case 1014:        /* cache blocks */
        *o = make(C_STORE, base(i), rb(i), NONE, NONE, NONE);
        return true;
    default:
        return false;
    }
}

static struct op op31(u32 i)
{
    u32 xo = i >> 1 & 0x3ff, cr0 = i & 1 ? REG_CR : NONE;
    struct op o;

    if (x_memory(i, &o))
        return o;
    if ((xo & 31) == 15)                                /* isel */
        return make(C_ROT, base(i), rb(i), REG_CR + (i >> 8 & 7), rt(i), NONE);
    switch (xo) {
    case 0: case 32: case 192: case 224:                /* cmp, cmpl, cmprb, cmpeqb */
        return make(C_ALU, ra(i), rb(i), NONE, crf(i), NONE);
    case 4: case 68:                                    /* tw, td */
        return make(C_ALU, ra(i), rb(i), NONE, NONE, NONE);
    case 339: case 371:
        return spr_move(i, true);
    case 467:
        return spr_move(i, false);
    case 19:                                            /* mfcr, mfocrf */
        return make(C_SPR, REG_CR, NONE, NONE, rt(i), NONE);
    case 144:                                           /* mtcrf, mtocrf */
        return make(C_SPR, rt(i), NONE, NONE, REG_CR, NONE);
    case 83: case 146: case 178: case 598: case 854: case 306: case 274: case 498: case 566:    /* MSR, sync, eieio, TLB */
        return make(C_SLOW, rt(i), NONE, NONE, NONE, NONE);
    case 24: case 792: case 824: case 826: case 827: case 536:        /* slw sraw srawi sradi srw */
        return make(i & 1 ? C_ROT_RC : C_ROT, rt(i), xo == 24 || xo == 792 || xo == 536 ? rb(i) : NONE, NONE, ra(i), cr0);
    case 26: case 58: case 538: case 570: case 122: case 378: case 506:         /* count zeros, population counts */
        return make(C_COUNT, rt(i), NONE, NONE, ra(i), cr0);
    case 922: case 954: case 986: case 154: case 186:   /* extend sign, parity */
        return make(C_ALU, rt(i), NONE, NONE, ra(i), cr0);
    case 28: case 60: case 124: case 284: case 316: case 412: case 444: case 476: case 252: case 508: case 27: case 539: case 794:
        return make(C_ALU, rt(i), rb(i), NONE, ra(i), cr0);     /* logic, doubleword shifts, cmpb */
    default:
        break;
    }
    switch (xo & 0x1ff) {                               /* XO-form: bit 9 is OE */
    case 235: case 233: case 73: case 75: case 9: case 11:
        return make(C_MUL, ra(i), rb(i), NONE, rt(i), cr0);
    case 491: case 459: case 395: case 427: case 267:
        return make(C_DIVW, ra(i), rb(i), NONE, rt(i), cr0);
    case 489: case 457: case 393: case 425: case 265:
        return make(C_DIVD, ra(i), rb(i), NONE, rt(i), cr0);
    case 138: case 136: case 202: case 200: case 234: case 232:                 /* with carry in */
        return make(C_ALU, ra(i), (xo & 0x1ff) < 200 ? rb(i) : NONE, REG_CA, rt(i), REG_CA);
    case 10: case 8:
        return make(C_ALU, ra(i), rb(i), NONE, rt(i), REG_CA);
    case 266: case 40: case 104:
        return make(C_ALU, ra(i), (xo & 0x1ff) == 104 ? NONE : rb(i), NONE, rt(i), cr0);
    default:
        return make(C_SLOW, ra(i), rb(i), NONE, rt(i), NONE);
    }
}

static struct op floating(u32 i, bool single)
{
    u32 xo = i >> 1 & 0x3ff;

    switch (xo & 31) {
    case 18: return make(single ? C_FDIVS : C_FDIV, FPR(ra(i)), FPR(rb(i)), NONE, FPR(rt(i)), NONE);
    case 22: return make(C_FSQRT, FPR(rb(i)), NONE, NONE, FPR(rt(i)), NONE);
    case 25: return make(C_FP, FPR(ra(i)), FPR(i >> 6 & 31), NONE, FPR(rt(i)), NONE);
    case 28: case 29: case 30: case 31: case 23:
        return make(C_FP, FPR(ra(i)), FPR(rb(i)), FPR(i >> 6 & 31), FPR(rt(i)), NONE);
    case 20: case 21:
        return make(C_FP, FPR(ra(i)), FPR(rb(i)), NONE, FPR(rt(i)), NONE);
    default:
        break;
    }
    if (!single && (xo == 0 || xo == 32))               /* fcmpu, fcmpo */
        return make(C_FP, FPR(ra(i)), FPR(rb(i)), NONE, crf(i), NONE);
    return make(C_FP, FPR(rb(i)), NONE, NONE, FPR(rt(i)), NONE);
}

static struct op vsx(u32 i)
{
    u32 t = REG_VSR + (rt(i) | (i & 1) << 5), a = REG_VSR + (ra(i) | (i >> 2 & 1) << 5), b = REG_VSR + (rb(i) | (i >> 1 & 1) << 5);
    u32 xo = i >> 3 & 0xff;
    bool logic = (xo & 0xc7) == 0x82 || xo < 0x40;      /* xxl*, permutes; the arithmetic groups lie above */

    return make(logic ? C_VINT : C_VFP, a, b, NONE, t, NONE);
}

static struct op classify(u32 i)
{
    static const struct op nothing = { C_ALU, { NONE, NONE, NONE }, { NONE, NONE }, NONE };
    u32 op = i >> 26;
    struct op o;

    switch (op) {
    case 2: case 3: return make(C_ALU, ra(i), NONE, NONE, NONE, NONE);
    case 4: return make((i & 0x3f) >= 32 ? C_VINT : (i & 0x7ff) < 0x200 && (i & 0x3f) == 10 ? C_VFP : C_VINT, VR(ra(i)), VR(rb(i)),
                        (i & 0x3f) >= 32 ? VR(i >> 6 & 31) : NONE, VR(rt(i)), NONE);
    case 7: return make(C_MUL, ra(i), NONE, NONE, rt(i), NONE);
    case 8: case 12: case 13: return make(C_ALU, ra(i), NONE, NONE, rt(i), op == 13 ? REG_CR : REG_CA);
    case 10: case 11: return make(C_ALU, ra(i), NONE, NONE, crf(i), NONE);
    case 14: case 15: return make(C_ALU, base(i), NONE, NONE, rt(i), NONE);
    case 16: return branch(i, NONE);
    case 17: return make(C_SLOW, NONE, NONE, NONE, NONE, NONE);
    case 18: return make(C_BRANCH, NONE, NONE, NONE, i & 1 ? REG_LR : NONE, NONE);
    case 19: return op19(i);
    case 20: return make(i & 1 ? C_ROT_RC : C_ROT, rt(i), ra(i), NONE, ra(i), i & 1 ? REG_CR : NONE);
    case 21: case 23: case 30:
        return make(i & 1 ? C_ROT_RC : C_ROT, rt(i), op == 23 ? rb(i) : NONE, NONE, ra(i), i & 1 ? REG_CR : NONE);
    case 24: if (i == 0x60000000) return nothing;       /* nop */
        /* fall through */
    case 25: case 26: case 27: return make(C_ALU, rt(i), NONE, NONE, ra(i), NONE);
    case 28: case 29: return make(C_ALU, rt(i), NONE, NONE, ra(i), REG_CR);
    case 31: return op31(i);
    case 32: case 34: case 40: case 46: return make(C_LOAD, base(i), NONE, NONE, rt(i), NONE);
    case 33: case 35: case 41: return with_update(make(C_LOAD, ra(i), NONE, NONE, rt(i), NONE), i);
    case 42: return make(C_LOAD_A, base(i), NONE, NONE, rt(i), NONE);
    case 43: return with_update(make(C_LOAD_A, ra(i), NONE, NONE, rt(i), NONE), i);
    case 36: case 38: case 44: case 47: return make(C_STORE, base(i), rt(i), NONE, NONE, NONE);
    case 37: case 39: case 45: return with_update(make(C_STORE, ra(i), rt(i), NONE, NONE, NONE), i);
    case 48: case 50: case 49: case 51:
        o = make(op < 50 ? C_LOAD_FS : C_LOAD, base(i), NONE, NONE, FPR(rt(i)), NONE);
        return op & 1 ? with_update(o, i) : o;
    case 52: case 54: case 53: case 55:
        o = make(C_STORE, base(i), FPR(rt(i)), NONE, NONE, NONE);
        return op & 1 ? with_update(o, i) : o;
    case 56: return make(C_LOAD, base(i), NONE, NONE, rt(i), rt(i) | 1);
    case 57: return make(C_LOAD, base(i), NONE, NONE, VR(rt(i)), NONE);
    case 58:
        o = make((i & 3) == 2 ? C_LOAD_A : C_LOAD, base(i), NONE, NONE, rt(i), NONE);
        return (i & 3) == 1 ? with_update(o, i) : o;
    case 59: return floating(i, true);
    case 60: return vsx(i);
    case 61: return (i & 7) == 1 ? make(C_LOAD, base(i), NONE, NONE, REG_VSR + (rt(i) | (i >> 3 & 1) << 5), NONE)
                                 : make(C_STORE, base(i), VR(rt(i)), NONE, NONE, NONE);
    case 62:
        o = make(C_STORE, base(i), rt(i), NONE, NONE, NONE);
        return (i & 3) == 1 ? with_update(o, i) : o;
    case 63: return floating(i, false);
    default: return make(C_SLOW, NONE, NONE, NONE, NONE, NONE);
    }
}

/* One pass of the max-plus walk: when is the last result of the block ready? */
static u32 pass(const struct op *ops, u32 n, u32 *ready)
{
    u32 last = 0;

    for (u32 i = 0; i < n; i++) {
        const struct op *o = &ops[i];
        u32 start = 0;
        for (u32 k = 0; k < 3; k++)
            if (o->src[k] != NONE && ready[o->src[k]] > start)
                start = ready[o->src[k]];
        u32 end = start + table_of[o->class].latency;
        for (u32 k = 0; k < 2; k++)
            if (o->dst[k] != NONE)
                ready[o->dst[k]] = end;
        if (o->update != NONE)
            ready[o->update] = start + table_of[C_ALU].latency;
        if (end > last)
            last = end;
    }
    return last;
}

void ppc64_decode(struct vcpu *v, const u8 *code, u32 size, struct decoded *d)
{
    struct op ops[BLOCK_BYTES_MAX / 4];
    u32 use[GROUPS] = { 0 }, ready[REGS] = { 0 }, n = size / 4, t2 = 0, t4 = 0;
    bool little = msr(v) & MSR_LE;

    for (u32 i = 0; i < n; i++) {
        ops[i] = classify(load32(code + 4 * i, little));
        for (u32 g = 0; g < GROUPS; g++)
            use[g] += table_of[ops[i].class].use[g];
        if (ops[i].update != NONE)
            use[ALU]++, use[NBR]++;
    }
    u32 throughput = n * CYC / WIDTH;
    for (u32 g = 0; g < GROUPS; g++)
        if (use[g] * CYC / units[g] > throughput)
            throughput = use[g] * CYC / units[g];
    for (u32 k = 1; k <= PASSES; k++) {
        t4 = pass(ops, n, ready);
        if (k == 2)
            t2 = t4;
    }
    u32 chain = (t4 - t2) * CYC / 2;
    d->n = n;
    d->cost = throughput > chain / 2 ? throughput : chain / 2;
    d->loop = throughput > chain ? throughput : chain;
}
