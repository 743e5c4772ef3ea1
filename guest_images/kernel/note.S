/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The vmemu note: guest-physical ranges [lo, hi), in target byte order, that the host must never page out. Here it is the whole
 * kernel image with .bss (so with the pool, all kernel stacks and page tables). And the array in which the host may look up
 * which task each CPU runs: its address and length in words. And the counters of asynchronous page faults (apf.h), likewise.
 */
#include "param.h"

#define APF_COUNTERS 9                  /* words of struct apf_counters; apf.c checks it */

    .section .note.vmemu, "a", %note
    .balign 4
    .4byte 2f - 1f      /* name size */
    .4byte 4f - 3f      /* descriptor size */
    .4byte 1            /* type: pinned ranges */
1:  .asciz "vmemu"
2:  .balign 4
3:  .8byte kernel_phys_start
    .8byte kernel_phys_end
4:  .balign 4
    .4byte 2f - 1f
    .4byte 4f - 3f
    .4byte 2            /* type: running tasks */
1:  .asciz "vmemu"
2:  .balign 4
3:  .8byte running
    .8byte NCPU
4:  .balign 4
    .4byte 2f - 1f
    .4byte 4f - 3f
    .4byte 3            /* type: sleepers */
1:  .asciz "vmemu"
2:  .balign 4
3:  .8byte apf_counters
    .8byte APF_COUNTERS
4:  .balign 4
    .section .note.GNU-stack, "", %progbits
