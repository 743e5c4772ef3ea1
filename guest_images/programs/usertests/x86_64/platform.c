/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../platform.h"

/* CF, PF, ZF, SF are bits 0, 2, 6, 7 */
int flags_over_syscall(int f)
{
    u64 in = (f & 1) | (f & 2) << 1 | (f & 4) << 4 | (f & 8) << 4 | 2, out, nr = SYS_getpid;
    __asm__ volatile("pushq %2\n popfq\n syscall\n pushfq\n popq %1" : "+a"(nr), "=&r"(out) : "r"(in)
                     : "rcx", "r11", "memory", "cc");
    return (int)((out & 1) | (out >> 1 & 2) | (out >> 4 & 4) | (out >> 4 & 8));
}

/* DF, NT, AC: the kernel's string instructions, IRET and alignment must not notice. DF is cleared again for our own code. */
void hostile_flags(void)
{
    u64 nr = SYS_yield;
    __asm__ volatile("pushfq\n orq $0x44400, (%%rsp)\n popfq\n syscall\n cld" : "+a"(nr)::"rcx", "r11", "memory", "cc");
}

#define INSN(name, text) static void name(void) { __asm__ volatile(text ::: "memory", "rax", "rcx", "rdx"); }
INSN(i_cli, "cli")
INSN(i_hlt, "hlt")
INSN(i_cr0, "mov %%cr0, %%rax")
INSN(i_cr3, "xor %%eax, %%eax\n mov %%rax, %%cr3")
INSN(i_wrmsr, "mov $0xc0000082, %%ecx\n wrmsr")
INSN(i_rdmsr, "mov $0xc0000080, %%ecx\n rdmsr")
INSN(i_invlpg, "invlpg (%%rsp)")
INSN(i_in, "mov $0x3f8, %%edx\n in %%dx, %%al")
INSN(i_lidt, "lidt (%%rsp)")
INSN(i_iret_vector, "int $0x20")
INSN(i_swapgs, "swapgs")
INSN(i_sysret, "sysretq")
INSN(i_ud2, "ud2")
INSN(i_divide, "xor %%ecx, %%ecx\n div %%ecx")

void (*const privileged[])(void) = {i_cli, i_hlt, i_cr0, i_cr3, i_wrmsr, i_rdmsr, i_invlpg, i_in, i_lidt, i_iret_vector,
                                    i_swapgs, i_sysret, i_ud2, i_divide, NULL};

void stop_machine(void) { __asm__ volatile("outl %0, %1" ::"a"(99), "Nd"((unsigned short)0xf4)); }
