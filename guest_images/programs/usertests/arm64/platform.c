/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "../platform.h"

int flags_over_syscall(int f)
{
    register u64 x8 __asm__("x8") = SYS_getpid;
    register u64 x0 __asm__("x0") = 0;
    u64 out;
    __asm__ volatile("msr nzcv, %3\n svc #0\n mrs %0, nzcv" : "=&r"(out), "+r"(x0) : "r"(x8), "r"((u64)f << 28) : "memory", "cc");
    return (int)(out >> 28);
}

void hostile_flags(void) { __asm__ volatile("msr nzcv, %0" ::"r"(0xf0000000ull) : "cc"); }

#define INSN(name, text) static void name(void) { __asm__ volatile(text ::: "memory", "x0"); }
INSN(i_daif, "msr daifset, #2")
INSN(i_sctlr, "mrs x0, sctlr_el1")
INSN(i_ttbr0, "msr ttbr0_el1, xzr")
INSN(i_vbar, "msr vbar_el1, xzr")
INSN(i_tlbi, "tlbi vmalle1")
INSN(i_ic, "ic ialluis")
INSN(i_timer, "msr cntkctl_el1, xzr")
INSN(i_eret, "eret")
INSN(i_hvc, "hvc #0")
INSN(i_smc, ".inst 0xd4000003")     /* smc #0, which this target has not */
INSN(i_brk, "brk #1")
INSN(i_udf, "udf #0")

void (*const privileged[])(void) = {i_daif, i_sctlr, i_ttbr0, i_vbar, i_tlbi, i_ic, i_timer, i_eret, i_hvc, i_smc, i_brk, i_udf, NULL};

void stop_machine(void)
{
    register u64 x0 __asm__("x0") = 0x84000008;     /* PSCI SYSTEM_OFF (DEN 0022, 5.9) */
    __asm__ volatile("hvc #0" : "+r"(x0)::"x1", "x2", "x3", "memory");
}
