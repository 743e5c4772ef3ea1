/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The cases. Each leaves the registers as it found them, nobody asleep and no marker. */
#include "edge.h"

enum { EN_ENABLED = 1, EN_SEND_ALWAYS = 2, EN_VMEXIT = 4, EN_INT = 8 };

static struct cpuid cpuid(u32 leaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(0));
    return r;
}

static u64 words(void) { return (u64)hook(HOOK_APF_WORDS, 0, 0); }
static u32 slot(void) { return (u32)(words() >> 32); }

static void features_told(void)
{
    struct cpuid sign = cpuid(0x40000000), features = cpuid(0x40000001);
    CHECK(cpuid(1).ecx >> 31);
    CHECK(sign.ebx == 0x4b4d564b && sign.ecx == 0x564b4d56 && sign.edx == 0x4d && sign.eax >= 0x40000001);
    CHECK(features.eax >> 4 & 1);
    CHECK((features.eax >> 14 & 1) == !legacy);
}

/* One area a CPU, 64 bytes apart or more. */
static void areas_apart(void)
{
    u64 last = 0;
    for (u64 cpu = 0; cpu < ncpu; cpu++) {
        on_cpu(cpu);
        u64 area = rdmsr(MSR_EN) & ~63ull;
        CHECK((rdmsr(MSR_EN) & 63) == (en & 63));
        CHECK(area == (u64)hook(HOOK_APF_AREA, cpu, 0));
        CHECK(cpu == 0 || area >= last + 64);
        last = area;
    }
    on_cpu(0);
}

static void reserved_bits(void)
{
    CHECK(wrmsr(MSR_EN, en | 0x10) < 0);
    CHECK(wrmsr(MSR_EN, en | 0x20) < 0);
    CHECK(wrmsr(MSR_EN, 0x30) < 0);
    CHECK(cpuid(0x40000001).eax >> 10 & 1 || wrmsr(MSR_EN, en | EN_VMEXIT) < 0);
    if (legacy) {
        CHECK(wrmsr(MSR_EN, en | EN_INT) < 0);
        CHECK(wrmsr(MSR_INT, 0xf3) < 0);
        CHECK(wrmsr(MSR_ACK, 1) < 0);
        return;
    }
    CHECK(wrmsr(MSR_INT, 0x100) < 0);
    CHECK(wrmsr(MSR_INT, 1ull << 63 | vector) < 0);
    CHECK(rdmsr(MSR_INT) == vector);
}

static void area_outside_memory(void)
{
    CHECK(wrmsr(MSR_EN, 0xfee00000 | (en & 63)) < 0);
    CHECK(wrmsr(MSR_EN, 0x7fffffffffc0 | (en & 63)) < 0);
    CHECK(wrmsr(MSR_EN, ~0ull << 12 | (en & 63)) < 0);
    CHECK(rdmsr(MSR_EN) == en);
}

/* Nothing is pending: an acknowledgement has nothing to do, and the register keeps nothing. */
static void acknowledge_nothing(void)
{
    for (u64 value = 0; value < 4; value++) {
        CHECK(wrmsr(MSR_ACK, value) == 0);
        CHECK(rdmsr(MSR_ACK) == 0);
    }
    sleep_ns(MS);
    CHECK(words() == 0);
    CHECK(info().broadcasts == start.broadcasts);
}

/* The registration says that all who sleep shall try again, also when nothing has changed. */
static void enable_wakes_all(void)
{
    for (u64 i = 1; i <= 3; i++) {
        CHECK(wrmsr(MSR_EN, en) == 0);
        sleep_ns(MS);
        CHECK(info().broadcasts == start.broadcasts + i);
        CHECK(words() == 0);
    }
}

/* What was under way is forgotten with EN = 0. Who sleeps for it tries again when it is on again, and once more gets a token. */
static void off_and_on(void)
{
    u64 page = away_page();
    touch_on(0, page);
    CHECK(until_asleep(1));
    CHECK(wrmsr(MSR_EN, 0) == 0);
    CHECK(rdmsr(MSR_EN) == 0);
    sleep_ns(3 * MS);
    CHECK(info().sleeping == 1);
    registers_back();
    all_end(1);
    CHECK(shared->waits[page] >= 1);
}

/* Taken by newer hypervisors from older guests, who then get nothing: pages still come, and nobody sleeps for them. */
static void enabled_without_interrupt(void)
{
    u64 page = away_page();
    CHECK(wrmsr(MSR_EN, en & ~(u64)EN_INT) == 0);
    CHECK(rdmsr(MSR_EN) == (en & ~(u64)EN_INT));
    touch_on(0, page);
    all_end(1);
    CHECK(shared->waits[page] == 0);
    registers_back();
}

/* A slot that is not emptied keeps what is in it, however often that is acknowledged; the rest waits for its turn. */
static void slot_kept(void)
{
    hook(HOOK_APF_HOLD, 1, 0);
    for (int i = 0; i < 3; i++)
        touch_on(0, away_page());
    CHECK(until_asleep(3));
    sleep_ns(5 * MS);
    u32 first = slot();
    CHECK(first != 0 && first != ~0u && (u32)words() == 0);
    CHECK(info().sleeping == 3);
    CHECK(wrmsr(MSR_ACK, 1) == 0);
    sleep_ns(MS);
    CHECK(slot() == first && info().sleeping == 3);
    hook(HOOK_APF_TAKE, 0, 0);
    CHECK(until_asleep(2));
    sleep_ns(MS);
    u32 second = slot();
    CHECK(second != 0 && second != first);
    hook(HOOK_APF_HOLD, 0, 0);
    hook(HOOK_APF_TAKE, 0, 0);          /* the third comes as usual */
    all_end(3);
}

/* Registered anew while a token is in the slot: the broadcast waits until it is taken. */
static void enable_while_pending(void)
{
    hook(HOOK_APF_HOLD, 1, 0);
    touch_on(0, away_page());
    CHECK(until_asleep(1));
    sleep_ns(5 * MS);
    u32 token = slot();
    CHECK(token != 0);
    CHECK(wrmsr(MSR_EN, en) == 0);
    sleep_ns(MS);
    CHECK(slot() == token);
    CHECK(info().broadcasts == start.broadcasts);
    hook(HOOK_APF_HOLD, 0, 0);
    hook(HOOK_APF_TAKE, 0, 0);
    all_end(1);
    sleep_ns(MS);
    CHECK(info().broadcasts == start.broadcasts + 1);
    CHECK(words() == 0);
}

/* Direct boot did this to Cloud Hypervisor, Firecracker and libkrun: registered before the local APIC is enabled. */
static void local_apic_disabled(void)
{
    CHECK(hook(HOOK_APF_NO_LAPIC, 0, 0) == 0);          /* what was in the slot while it was disabled */
    sleep_ns(MS);
    CHECK(info().broadcasts == start.broadcasts + 1);
    touch_on(0, away_page());
    all_end(1);
}

/* The vector is the one in INT when the event comes. */
static void no_vector(void)
{
    CHECK(wrmsr(MSR_INT, 0) == 0);      /* a vector that a local APIC does not deliver */
    touch_on(0, away_page());
    CHECK(until_asleep(1));
    sleep_ns(5 * MS);
    CHECK(info().sleeping == 1 && slot() != 0);
    CHECK(wrmsr(MSR_INT, vector) == 0);
    hook(HOOK_APF_TAKE, 0, 0);
    all_end(1);
}

/* Two CPUs, or two tasks of one, want one page. */
static void same_page(void)
{
    for (u64 cpu = 0; cpu < 2; cpu++) {
        u64 page = away_page();
        touch_on(0, page);
        touch_on(cpu, page);
        all_end(2);
    }
}

/* A CPU that leaves gets nothing more; who slept there goes on somewhere else. */
static void cpu_leaves(void)
{
    if (ncpu == 1)
        return;
    for (int i = 0; i < 3; i++) {
        touch_on(1, away_page());
        CHECK(until_asleep(1));
        CHECK(hook(HOOK_CPU_ONLINE, 1, 0) == 0);
        sleep_ns(5 * MS);
        all_end(1);
        CHECK(hook(HOOK_CPU_ONLINE, 1, 1) == 0);
        touch_on(1, away_page());
        all_end(1);
    }
}

/* Uninterruptible: killed at once, dead when the page is there. */
static void killed_asleep(void)
{
    u32 status = 0;
    int pid = touch_on(0, away_page());
    CHECK(until_asleep(1));
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(info().sleeping == 1);
    CHECK(wait(&status) == pid);
    CHECK(WTERMSIG(status) == SIGKILL);
}

/* The kernel itself touches the page in a system call: only with SEND_ALWAYS it is told, and then the task sleeps. */
static void in_a_system_call(void)
{
    u64 page = away_page(), waits = info().own_waits;
    CHECK(hook(HOOK_ATOMIC_READ, (uptr)page_address(page), 1) >= 0);
    CHECK(info().own_waits - waits == (legacy ? 1 : 0));
    touch(page);
}

/* Where the kernel must not sleep the CPU halts, with interrupts on, whoever halts it. */
static void where_nobody_may_sleep(void)
{
    u64 page = away_page(), waits = info().own_waits;
    CHECK(hook(HOOK_ATOMIC_READ, (uptr)page_address(page), 0) >= 0);
    CHECK(info().halts - start.halts == (legacy ? 1 : 0));
    CHECK(info().own_waits == waits);
    touch(page);
}

const struct edge edges[] = {
    {"features_told", features_told, BOTH},
    {"areas_apart", areas_apart, BOTH},
    {"reserved_bits", reserved_bits, BOTH},
    {"area_outside_memory", area_outside_memory, BOTH},
    {"acknowledge_nothing", acknowledge_nothing, CURRENT},
    {"enable_wakes_all", enable_wakes_all, BOTH},
    {"off_and_on", off_and_on, BOTH},
    {"enabled_without_interrupt", enabled_without_interrupt, CURRENT},
    {"slot_kept", slot_kept, CURRENT},
    {"enable_while_pending", enable_while_pending, CURRENT},
    {"local_apic_disabled", local_apic_disabled, CURRENT},
    {"no_vector", no_vector, CURRENT},
    {"same_page", same_page, BOTH},
    {"cpu_leaves", cpu_leaves, BOTH},
    {"killed_asleep", killed_asleep, BOTH},
    {"in_a_system_call", in_a_system_call, BOTH},
    {"where_nobody_may_sleep", where_nobody_may_sleep, BOTH},
    {0},
};
