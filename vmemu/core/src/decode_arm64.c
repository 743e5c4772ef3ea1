/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cost of a block on a neoverse-n1-like core: 1/3 cycle an instruction, and what the classes keep busy longer than that.
 *
 * Figures: LLVM's neoverse-n1 scheduling model (Apache-2.0 with LLVM exception), as tabulated in the project's cycle notes. The
 * bound is max(front end, load/store units, multiplier, divider, vector unit); chains between instructions are not followed.
 * Only the top-level encoding groups of DDI 0487 C4.1 are told apart: a block costs about 1 ns an instruction to decode, once.
 */
#include "arm64.h"

#define WIDTH 3                                         /* dispatch */

/* Busy time in CYC units, and what an instruction adds to it. */
struct use { u32 uops, mem, mul, div, vec, branch; };

/* Loads and stores (C4.1.4): one or two of the two load/store pipes. */
static void load_store(u32 insn, struct use *u)
{
    bool pair = (insn >> 27 & 7) == 5;
    bool vector = insn >> 26 & 1;
    bool load = (insn >> 22 & 1) || (!pair && !vector && (insn >> 23 & 1));     /* opc 10: sign-extending load */

    if ((insn & 0xbe000000) == 0x0c000000) {            /* ld1..ld4, st1..st4: structures */
        u->uops += 3;
        u->mem += 2;
        u->vec += 2;
        return;
    }
    if ((insn & 0x3f000000) == 0x08000000) {            /* exclusive, acquire, release: the ordering costs */
        u->uops += 2;
        u->mem += 4;
        return;
    }
    if ((insn & 0x3b000000) == 0x18000000)              /* literal: always a load */
        load = true;
    u->mem += pair ? 2 : 1;
    u->uops += pair ? (load ? 2 : 3) : (load ? 1 : 2);
    if (vector)
        u->uops += 1, u->vec += load ? 0 : 1;
    if ((insn & 0x3b200400) == 0x38000400 || ((insn & 0x3a000000) == 0x28000000 && (insn >> 23 & 1)))
        u->uops += 1;                                   /* write-back */
}

/* Data processing, register (C4.1.5) */
static void data_register(u32 insn, struct use *u)
{
    u->uops += 1;
    if ((insn & 0x5fe00000) == 0x1ac00000) {            /* two sources */
        u32 op = insn >> 10 & 0x3f;
        if (op == 2 || op == 3)
            u->div += insn >> 31 ? 20 * CYC : 12 * CYC; /* udiv, sdiv */
    } else if ((insn & 0x1f000000) == 0x1b000000) {     /* three sources */
        bool wide = insn >> 31 && (insn & 0x00200000) == 0;     /* 64 x 64 bits, low or high half; not smaddl and the like */
        u->mul += wide ? 3 * CYC : CYC;
    } else if ((insn & 0x1f000000) == 0x0b000000 && (insn & 0x0020fc00)) {
        u->uops += 1;                                   /* add, sub with a shifted or extended operand */
    }
}

/* Floating point and SIMD (C4.1.6) */
static void vector(u32 insn, struct use *u)
{
    u->uops += 1;
    u->vec += 1;
    if ((insn & 0xff20fc00) == 0x1e201800)              /* fdiv, scalar */
        u->div += insn >> 22 & 1 ? 15 * CYC : 10 * CYC;
    else if ((insn & 0xbfa0fc00) == 0x2e20fc00)         /* fdiv, vector */
        u->div += 20 * CYC;
    else if ((insn & 0xff3ffc00) == 0x1e21c000)         /* fsqrt, scalar */
        u->div += 17 * CYC;
    else if ((insn & 0x9f20fc00) == 0x0e209c00)         /* mul, vector: both halves of V0 */
        u->vec += 2;
}

static void branch_system(u32 insn, struct use *u)
{
    u->uops += 1;
    if ((insn & 0xffc00000) == 0xd5000000) {            /* system: barriers and register moves serialise */
        u32 op0 = insn >> 19 & 3;
        u->div += op0 == 0 && (insn >> 12 & 15) == 2 ? 0 : op0 == 0 ? 8 * CYC : 10 * CYC;
    } else if ((insn & 0xff000000) == 0xd4000000) {     /* svc, hvc, smc, brk */
        u->div += 10 * CYC;
    } else {
        u->branch += 1;
    }
}

void arm64_decode(struct vcpu *v, const u8 *code, u32 size, struct decoded *d)
{
    struct use u = { 0 };
    u32 n = size / 4, best;

    (void)v;
    if (!n)
        n = 1;                                          /* cut by a misaligned PC */
    for (u32 i = 0; i + 4 <= size; i += 4) {
        u32 insn = (u32)code[i] | (u32)code[i + 1] << 8 | (u32)code[i + 2] << 16 | (u32)code[i + 3] << 24;
        switch (insn >> 25 & 15) {                      /* op0 of table C4-1 */
        case 4: case 6: case 12: case 14:
            load_store(insn, &u);
            break;
        case 5: case 13:
            data_register(insn, &u);
            break;
        case 7: case 15:
            vector(insn, &u);
            break;
        case 10: case 11:
            branch_system(insn, &u);
            break;
        default:
            u.uops += 1;
        }
    }
    best = u.uops * CYC / WIDTH;
    if (u.mem * CYC / 2 > best)
        best = u.mem * CYC / 2;
    if (u.vec * CYC / 2 > best)
        best = u.vec * CYC / 2;
    if (u.mul > best)
        best = u.mul;
    best += u.div;                                      /* divider and serialising instructions stop the rest, nearly */
    d->n = n;
    d->cost = best + (u.branch ? CYC / 8 : 0);
    d->loop = best > CYC ? best : CYC;                  /* at most one taken branch a cycle */
}
