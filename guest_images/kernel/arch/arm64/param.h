/* SPDX-License-Identifier: GPL-2.0-or-later */
/* arm64 constants; also read by the assembler and the linker script's author. */
#ifndef VMEMU_PARAM_H
#define VMEMU_PARAM_H

#ifdef __ASSEMBLER__
#define U(x) x
#else
#define U(x) x##ull
#endif

#define ISA_NAME "arm64"
#define KBASE U(0xffff000000000000)             /* start of the TTBR1 range with 48-bit addresses */
#define RAM_BASE U(0x40000000)
#define USER_TOP U(0x0000400000000000)
#define LINEAR_MAX U(0x2000000000)              /* 128 GiB: entries of the one level-1 table, 1 GiB each */
#define NCPU 16
#define TLB_BROADCAST 1                         /* TLBI ...IS */

/*
 * Physical memory of the virt board.
 *
 *   0000_0000  firmware (64 KiB)
 *   0800_0000  GICv3 distributor (64 KiB)
 *   080a_0000  GICv3 redistributors (128 KiB for each CPU)
 *   0900_0000  PL011 UART
 *   090f_0000  exit device: a 32-bit write ends the machine with that status
 *   4000_0000  RAM; the kernel at +512 KiB, device tree and initrd at the top
 */
#define GICD_BASE U(0x08000000)
#define GICR_BASE U(0x080a0000)
#define GICR_STRIDE U(0x20000)
#define UART_BASE U(0x09000000)

#define BOOT_STACK 16384

/* The frame that vectors.S pushes; offsets checked in trap.c. */
#define TF_SP 248
#define TF_PC 256
#define TF_PSTATE 264
#define TF_SIZE 272

#endif
