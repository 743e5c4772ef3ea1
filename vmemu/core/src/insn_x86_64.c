/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Instructions for which Unicorn has hooks of its own: SYSCALL, SYSENTER, CPUID, RDTSC, RDTSCP, IN, OUT. None of them leaves
 * emu_start in the normal case.
 */
#include "x86_64.h"

static u64 user_mask(u32 size) { return size >= 8 ? ~0ull : (1ull << 8 * size) - 1; }

/* The helper that called us adds the instruction's length to RIP afterwards (2, more with useless prefixes). */
static u64 syscall_length(struct vcpu *v)
{
    u8 b[15];
    u32 n = x86_code_bytes(v, x86_linear_pc(v), b, sizeof b);

    for (u32 i = 0; i + 1 < n; i++)
        if (b[i] == 0x0f)
            return i + 2;
    return 2;
}

static void raise_in_helper(struct vcpu *v, u32 vector, bool has_error, u64 len)
{
    ENV(v, u64, X_EIP) -= len;
    x86_raise(v, vector, 0, has_error);
}

static void enter_kernel(struct vcpu *v, u32 selector, u64 rip, u64 len)
{
    const u32 common = DESC_G | DESC_P | DESC_S | DESC_A | DESC_W;  /* W is R for code */

    event(v->m, v, EV_SYSCALL, REG(v, G_RAX), 0, 0);
    x86_load_ss(v, (selector + 8) & 0xfffc, common | DESC_B, 0);
    x86_load_cs(v, selector & 0xfffc, 0, 0xffffffff, common | DESC_CODE | DESC_L);
    ENV(v, u64, X_EIP) = rip - len;
    v->count[C_SYSCALL]++;
}

/* SDM 2, SYSCALL. */
static void on_syscall(uc_engine *uc, void *user)
{
    struct vcpu *v = user;
    u64 len = syscall_length(v), flags;

    (void)uc;
    if (!(ENV(v, u64, X_EFER) & EFER_SCE) || !(HFLAGS(v) & HF_CS64)) {
        raise_in_helper(v, V_UD, false, len);
        return;
    }
    flags = x86_get_flags(v);
    REG(v, G_RCX) = ENV(v, u64, X_EIP) + len;
    REG(v, G_R11) = flags & ~(u64)FL_RF;
    x86_set_flags(v, flags & ~ENV(v, u64, X_FMASK) & ~(u64)FL_RF);
    enter_kernel(v, ENV(v, u64, X_STAR) >> 32 & 0xffff, ENV(v, u64, X_LSTAR), len);
}

/* SDM 2, SYSENTER. Outside long mode nothing here uses it: undefined there. */
static void on_sysenter(uc_engine *uc, void *user)
{
    struct vcpu *v = user;
    u64 len = syscall_length(v);
    u32 cs = ENV(v, u32, X_SYSENTER_CS);

    (void)uc;
    if (!long_mode(v)) {
        raise_in_helper(v, V_UD, false, len);
    } else if (!(cs & 0xfffc)) {
        raise_in_helper(v, V_GP, true, len);
    } else {
        x86_set_flags(v, x86_get_flags(v) & ~(u64)(FL_VM | FL_IF | FL_RF));
        REG(v, G_RSP) = ENV(v, u64, X_SYSENTER_ESP);
        enter_kernel(v, cs, ENV(v, u64, X_SYSENTER_EIP), len);
    }
}

static int on_cpuid(uc_engine *uc, void *user)
{
    struct vcpu *v = user;
    u64 value[4] = { 0, 0, 0, 0 };

    (void)uc;
    vcpu_io(v, IO_CPUID, REG(v, G_RCX) << 32 | (u32)REG(v, G_RAX), 4, value);
    REG(v, G_RAX) = (u32)value[0];
    REG(v, G_RBX) = (u32)value[1];
    REG(v, G_RCX) = (u32)value[2];
    REG(v, G_RDX) = (u32)value[3];
    return 1;
}

static int on_rdtsc(uc_engine *uc, void *user)
{
    struct vcpu *v = user;
    u64 tsc = vcpu_ticks(v, TSC_HZ) + ENV(v, u64, X_TSC_OFFSET);

    (void)uc;
    REG(v, G_RAX) = (u32)tsc;
    REG(v, G_RDX) = tsc >> 32;
    return 1;
}

static int on_rdtscp(uc_engine *uc, void *user)
{
    on_rdtsc(uc, user);
    REG((struct vcpu *)user, G_RCX) = (u32)ENV((struct vcpu *)user, u64, X_TSC_AUX);
    return 1;
}

/*
 * Unicorn lets every privilege level use every port. Its own helpers for the I/O permission map (SDM 1, 19.5.2) are still there:
 * they raise #GP by a long jump out of this hook, with PC already on the instruction. Nothing on the way holds resources.
 */
static void (*check_io[3])(void *env, u32 port);        /* 1, 2, 4 bytes */

static void check_port(struct vcpu *v, u32 port, u32 size)
{
    u64 flags = ENV(v, u64, X_EFLAGS);

    if ((HFLAGS(v) & HF_PE) && (cpl(v) > (flags >> 12 & 3) || (flags & FL_VM)))
        check_io[size >> 1](v->env, port & 0xffff);
}

static u32 on_in(uc_engine *uc, u32 port, int size, void *user)
{
    u64 value = user_mask((u32)size);                   /* nobody there: all ones */

    (void)uc;
    check_port(user, port, (u32)size);
    vcpu_io(user, IO_PORT_IN, port & 0xffff, (u32)size, &value);
    return (u32)(value & user_mask((u32)size));
}

static void on_out(uc_engine *uc, u32 port, int size, u32 value, void *user)
{
    u64 wide = value & user_mask((u32)size);

    (void)uc;
    check_port(user, port, (u32)size);
    vcpu_io(user, IO_PORT_OUT, port & 0xffff, (u32)size, &wide);
}

int x86_install_hooks(struct vcpu *v)
{
    /* SYSCALL first: helpers leave the shared list once a stop is requested (linux.md 4.2) */
    static const struct { int insn; void *fn; } hooks[] = {
        { UC_X86_INS_SYSCALL, (void *)on_syscall }, { UC_X86_INS_SYSENTER, (void *)on_sysenter },
        { UC_X86_INS_CPUID, (void *)on_cpuid },     { UC_X86_INS_RDTSC, (void *)on_rdtsc },
        { UC_X86_INS_RDTSCP, (void *)on_rdtscp },   { UC_X86_INS_IN, (void *)on_in },
        { UC_X86_INS_OUT, (void *)on_out },
    };
    static const char *const checks[3] = { "helper_check_iob", "helper_check_iow", "helper_check_iol" };
    uc_hook h;

    for (int i = 0; i < 3; i++) {
        *(void **)&check_io[i] = uclib_symbol(checks[i], "x86_64");
        if (!check_io[i])
            return core_fail("libunicorn lacks %s_x86_64", checks[i]);
    }
    for (u32 i = 0; i < sizeof hooks / sizeof *hooks; i++)
        if (UC.hook_add(v->uc, &h, UC_HOOK_INSN, hooks[i].fn, v, 1, 0, hooks[i].insn))
            return core_fail("Unicorn fact x86-64: the hook for instruction %d is refused", hooks[i].insn);
    return 0;
}
