/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * apf-edge [NAME...]: corner cases of KVM's asynchronous page faults, seen from the guest (Linux Documentation/virt/kvm/x86/
 * msr.rst says what should happen). It needs much less memory resident than there is, and page-ins that take their time:
 *
 *     vmemu boot apf-edge -m 64M --resident 8M --apf kvm --latency sata --smp 2
 */
#include "edge.h"

struct shared *shared;
struct apf_info start;
u64 ncpu, en, vector;
bool legacy;

static u64 *region;
static u64 next_page;
static bool good;

void check(bool ok, const char *what, int line)
{
    if (ok)
        return;
    good = false;
    printf("  line %d: not so: %s\n", line, what);
}

s64 hook(u64 op, u64 a, u64 b) { return syscall5(SYS_hook, op, a, b, 0, 0); }
s64 wrmsr(u64 msr, u64 value) { return hook(HOOK_WRMSR, msr, value); }

u64 rdmsr(u64 msr)
{
    u64 value = ~0ull;
    CHECK(hook(HOOK_RDMSR, msr, (uptr)&value) == 0);
    return value;
}

struct apf_info info(void)
{
    struct apf_info i = {0};
    hook(HOOK_APF_INFO, (uptr)&i, 0);
    return i;
}

void on_cpu(u64 cpu) { setcpus(1ull << cpu % ncpu); }

static u64 contents(u64 page) { return mix64(page + 1); }

/* Fill the region from its start: of what is written first, nothing is resident afterwards. */
static void fill(void)
{
    region = mmap(REGION_PAGES * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    for (u64 i = 0; region && i < REGION_PAGES; i++)
        region[i * WORDS] = contents(i);
}

u64 away_page(void) { return next_page++; }
const void *page_address(u64 page) { return region + page * WORDS; }

void touch(u64 page)
{
    if (*(volatile u64 *)(region + page * WORDS) != contents(page))
        exit(1);
}

static void toucher(u64 cpu, u64 page)
{
    on_cpu(cpu);
    __atomic_fetch_add(&shared->begun, 1, __ATOMIC_ACQ_REL);
    touch(page);
    shared->waits[page] = info().own_waits;
    exit(0);
}

int touch_on(u64 cpu, u64 page)
{
    u64 before = shared->begun;
    int pid = fork();
    if (pid == 0)
        toucher(cpu, page);
    CHECK(pid > 0);
    while (pid > 0 && __atomic_load_n(&shared->begun, __ATOMIC_ACQUIRE) == before)
        sleep_ns(MS / 50);
    return pid;
}

bool until_asleep(u64 n)
{
    for (u64 end = time_ns() + 20 * MS; time_ns() < end; sleep_ns(MS / 50)) {
        if (info().sleeping == n)
            return true;
    }
    return false;
}

void all_end(u64 n)
{
    for (u64 i = 0; i < n; i++) {
        u32 status = ~0u;
        CHECK(wait(&status) > 0);
        CHECK(status == 0);
    }
    CHECK(info().sleeping == 0);
}

/* As the kernel had it. */
void registers_back(void)
{
    if (!legacy)
        wrmsr(MSR_INT, vector);
    CHECK(wrmsr(MSR_EN, en) == 0);
}

static bool wanted(int argc, char **argv, const char *name)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0)
            return true;
    }
    return argc <= 1;
}

/* Nothing of a test may be left for the next. */
static bool run(const struct edge *e)
{
    on_cpu(0);
    en = rdmsr(MSR_EN);
    vector = legacy ? 0 : rdmsr(MSR_INT);
    start = info();
    shared->begun = 0;
    good = true;
    e->run();
    sleep_ns(2 * MS);
    struct apf_info after = info();
    CHECK(after.sleeping == 0);
    CHECK(after.markers == start.markers);
    CHECK(rdmsr(MSR_EN) == en);
    printf("%s  %s\n", good ? "PASS" : "FAIL", e->name);
    return good;
}

int main(int argc, char **argv)
{
    u32 ran = 0, failed = 0;
    struct sysinfo s = {0};
    sysinfo(&s);
    ncpu = s.boot_ncpu;
    start = info();
    legacy = strcmp(start.name, "kvm-2010") == 0;
    if (!start.active) {
        printf("apf-edge: FAIL: no asynchronous page faults here (%s)\n", start.name);
        return 1;
    }
    shared = mmap(sizeof *shared, UPROT_READ | UPROT_WRITE | UPROT_SHARED);
    fill();
    if (!shared || !region) {
        printf("apf-edge: FAIL: no memory\n");
        return 1;
    }
    for (const struct edge *e = edges; e->name; e++) {
        if (!(e->profiles & (legacy ? LEGACY : CURRENT)) || !wanted(argc, argv, e->name))
            continue;
        ran++;
        failed += !run(e);
    }
    if (failed || !ran)
        printf("apf-edge: FAIL (%u of %u)\n", failed, ran);
    else
        printf("apf-edge: PASS (%u cases, %s)\n", ran, start.name);
    return failed || !ran;
}
