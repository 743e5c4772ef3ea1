/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Constants of the ppc64 port; also included by assembler files. */
#ifndef VMEMU_PPC64_PARAM_H
#define VMEMU_PPC64_PARAM_H

#define KBASE 0xc000000000000000        /* quadrant 3; real mode ignores the top bits, so kernel addresses work in both modes */
#define RAM_BASE 0x0
#define USER_TOP 0x0000400000000000
#define LINEAR_MAX 0x1000000000         /* 64 GiB: one table of 1 GiB pages */
#define IO_BASE 0x4000000000            /* 256 GiB: one GiB of devices, in the linear map like RAM */
#define NCPU 16
#define TLB_BROADCAST 1                 /* tlbie reaches every CPU of the partition */
#define ISA_NAME "ppc64"

#endif
