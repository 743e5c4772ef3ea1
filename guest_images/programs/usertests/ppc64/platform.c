/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../platform.h"

/* Field 2 of CR, which calls preserve. */
int flags_over_syscall(int f)
{
    u64 out;
    register u64 r0 __asm__("r0") = SYS_getpid;
    register u64 r3 __asm__("r3") = 0;
    __asm__ volatile("mtcrf 0x20, %3\n sc\n mfcr %0" : "=&r"(out), "+r"(r0), "+r"(r3) : "r"((u64)f << 20)
                     : "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "cr0", "cr2", "ctr", "memory");
    return (int)(out >> 20 & 15);
}

/* XER's summary overflow and all of CR */
void hostile_flags(void)
{
    __asm__ volatile("mtxer %0\n mtcrf 0xff, %0" ::"r"(0xe0000000ull) : "cr0", "cr1", "cr2", "cr3", "cr4", "cr5", "cr6", "cr7", "memory");
}

#define INSN(name, text) static void name(void) { __asm__ volatile(text ::: "memory", "r0", "r3"); }
INSN(i_mfmsr, "mfmsr 3")
INSN(i_mtmsrd, "li 3, 0\n mtmsrd 3")
INSN(i_rfid, "rfid")
INSN(i_pid, "mfspr 3, 48")
INSN(i_srr0, "mtspr 26, 3")
INSN(i_sprg0, "mtspr 272, 3")
INSN(i_dec, "mtspr 22, 3")
INSN(i_tlbie, "li 3, 0\n .long 0x7c000264 | 3 << 21 | 1 << 17 | 1 << 16 | 3 << 11")
INSN(i_trap, "trap")
INSN(i_zero, ".long 0")

void (*const privileged[])(void) = {i_mfmsr, i_mtmsrd, i_rfid, i_pid, i_srr0, i_sprg0, i_dec, i_tlbie, i_trap, i_zero, NULL};

void stop_machine(void)
{
    register u64 r3 __asm__("r3") = 0xf0ff;         /* the machine's exit call */
    register u64 r4 __asm__("r4") = 99;
    __asm__ volatile("sc 1" : "+r"(r3), "+r"(r4)::"r0", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "ctr", "cr0", "memory");
}
