/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The facts about Unicorn that this unit relies on, checked on the library that is really loaded. Each architecture adds its own
 * (selftest_<isa>). A failed fact names itself; vmemu then refuses to run rather than run wrong.
 */
#include <string.h>

#include "api.h"

int selftest_x86_64(struct vcpu *);
int selftest_arm64(struct vcpu *);
int selftest_ppc64(struct vcpu *);

static int no_io(void *ctx, u32 vcpu, int kind, u64 addr, u32 size, u64 *value)
{
    (void)ctx, (void)vcpu, (void)kind, (void)addr, (void)size;
    *value = 0;
    return IO_OK;
}

int core_selftest(const char *isa)
{
    static const struct { const char *isa; int (*test)(struct vcpu *); } tests[] = {
        { "x86_64", selftest_x86_64 }, { "arm64", selftest_arm64 }, { "ppc64", selftest_ppc64 },
    };
    struct machine *m = machine_new(isa, 64, no_io, NULL);
    int r = -1;

    if (!m)
        return -1;
    struct vcpu *v = s2_add_region(m, 0, 64 * PAGE_SIZE) ? NULL : vcpu_new(m);
    for (u32 i = 0; v && i < 3; i++)
        if (!strcmp(tests[i].isa, isa))
            r = tests[i].test(v);
    machine_free(m);
    return r;
}
