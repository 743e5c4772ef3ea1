/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Benchmarks that must not cross into Python, and C callbacks for the plain Unicorn that vmemu is compared with. */
#define _GNU_SOURCE
#include <string.h>
#include <time.h>

#include "api.h"

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

double bench_tokens(u32 live, u64 rounds)
{
    struct table t;
    u64 val = 0, sum = 0, next = 1;
    u32 log2 = 4;

    while (1u << log2 < live * 4)
        log2++;
    if (table_init(&t, log2))
        return -1;
    for (; next <= live; next++)
        table_put(&t, next << 12, next);
    double start = now_ns();
    for (u64 i = 0; i < rounds; i++, next++) {          /* the table holds `live` tokens throughout: one comes, the oldest goes */
        table_put(&t, next << 12, next);
        sum += (u64)table_get(&t, (next - live / 2) << 12, &val);
        table_del(&t, (next - live) << 12, &val);
    }
    double ns = (now_ns() - start) / (double)rounds;
    bool right = sum == rounds && t.live == live;
    table_free(&t);
    return right ? ns : -1;
}

/* ------------------------------------------------ callbacks for plain Unicorn */

/* user: u64 counter */
static void count_insn(uc_engine *uc, u64 addr, u32 size, void *user)
{
    (void)uc, (void)addr, (void)size;
    ++*(u64 *)user;
}

/* Identity map, at the rights that are fastest: EXEC on fetches alone (engine.md 1). user: u64 counter */
static bool fill_identity(uc_engine *uc, u64 va, uc_mem_type type, uc_tlb_entry *e, void *user)
{
    (void)uc;
    ++*(u64 *)user;
    e->paddr = va & PAGE_MASK;
    e->perms = type == UC_MEM_FETCH ? UC_PROT_READ | UC_PROT_EXEC : UC_PROT_READ | UC_PROT_WRITE;
    return true;
}

void *bench_callback(const char *which)
{
    static const struct { const char *name; void *fn; } all[] = {
        { "count", (void *)count_insn }, { "identity", (void *)fill_identity },
    };

    for (u32 i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(all[i].name, which))
            return all[i].fn;
    return NULL;
}
