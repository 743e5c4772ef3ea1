/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The boot option without which this program has nothing to do (vmemu/machine/elf.py, NOTE_WANTS). */
    .section .note.vmemu, "a", %note
    .balign 4
    .4byte 2f - 1f
    .4byte 4f - 3f
    .4byte 4            /* type: a boot option */
1:  .asciz "vmemu"
2:  .balign 4
3:  .asciz "tce=papr"
4:  .balign 4
    .section .note.GNU-stack, "", %progbits
