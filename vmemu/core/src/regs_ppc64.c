/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registers that are plain SPRs in the engine. The numbers are those of vmemu/isa/ppc64/registers.py; a test compares them. */
#include "ppc64.h"
#include "gen_regs_ppc64.h"

static const u16 spr_plus_one[N_PPC64] = {
    [R_PPC64_DSISR] = 1 + 18, [R_PPC64_DAR] = 1 + 19, [R_PPC64_SRR0] = 1 + 26, [R_PPC64_SRR1] = 1 + 27,
    [R_PPC64_AMR] = 1 + 29, [R_PPC64_PIDR] = 1 + 48, [R_PPC64_IAMR] = 1 + 61, [R_PPC64_DSCR] = 1 + 17,
    [R_PPC64_TFHAR] = 1 + 128, [R_PPC64_TFIAR] = 1 + 129, [R_PPC64_TEXASR] = 1 + 130, [R_PPC64_UCTRL] = 1 + 136,
    [R_PPC64_TIDR] = 1 + 144, [R_PPC64_CTRL] = 1 + 152, [R_PPC64_FSCR] = 1 + 153, [R_PPC64_UAMOR] = 1 + 157,
    [R_PPC64_PSPB] = 1 + 159, [R_PPC64_DAWR] = 1 + 180, [R_PPC64_RPR] = 1 + 186, [R_PPC64_CIABR] = 1 + 187,
    [R_PPC64_DAWRX] = 1 + 188, [R_PPC64_VRSAVE] = 1 + 256, [R_PPC64_SPRG0] = 1 + 272, [R_PPC64_SPRG1] = 1 + 273,
    [R_PPC64_SPRG2] = 1 + 274, [R_PPC64_SPRG3] = 1 + 275, [R_PPC64_LPCR] = 1 + 318, [R_PPC64_PIR] = 1 + 1023,
    [R_PPC64_SIER] = 1 + 784, [R_PPC64_MMCR2] = 1 + 785, [R_PPC64_MMCRA] = 1 + 786, [R_PPC64_PMC1] = 1 + 787,
    [R_PPC64_PMC2] = 1 + 788, [R_PPC64_PMC3] = 1 + 789, [R_PPC64_PMC4] = 1 + 790, [R_PPC64_PMC5] = 1 + 791,
    [R_PPC64_PMC6] = 1 + 792, [R_PPC64_MMCR0] = 1 + 795, [R_PPC64_SIAR] = 1 + 796, [R_PPC64_SDAR] = 1 + 797,
    [R_PPC64_MMCR1] = 1 + 798, [R_PPC64_MMCRC] = 1 + 851, [R_PPC64_BESCR] = 1 + 806, [R_PPC64_EBBHR] = 1 + 804,
    [R_PPC64_EBBRR] = 1 + 805, [R_PPC64_TAR] = 1 + 815, [R_PPC64_PPR] = 1 + 896, [R_PPC64_IC] = 1 + 848,
    [R_PPC64_TACR] = 1 + 888, [R_PPC64_TCSCR] = 1 + 889, [R_PPC64_CSIGR] = 1 + 890, [R_PPC64_SPMC1] = 1 + 892,
    [R_PPC64_SPMC2] = 1 + 893, [R_PPC64_MMCRS] = 1 + 894, [R_PPC64_WORT] = 1 + 895, [R_PPC64_ACOP] = 1 + 31,
};

int ppc64_spr_of(u32 reg) { return reg < N_PPC64 ? (int)spr_plus_one[reg] - 1 : -1; }
