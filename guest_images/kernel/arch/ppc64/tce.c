/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tce.h"
#include "task.h"

enum { BUSY_NS = 50000 };

static u64 cells(const u8 *p, int n)
{
    u64 v = 0;
    for (int i = 0; i < 4 * n; i++)
        v = v << 8 | p[i];
    return v;
}

bool tce_window(const char *path, const char *name, struct dma_window *w)
{
    u32 len;
    const u8 *p = fdt_prop(path, name, &len);
    if (!p || len != 20)
        return false;
    *w = (struct dma_window){cells(p, 1), cells(p + 4, 2), cells(p + 12, 2) / PAGE_SIZE};
    return true;
}

/* H_LongBusyOrder: a page has to come back first, and others can run meanwhile. It is a hint: pages come sooner than the order says. */
static s64 call(u64 token, u64 liobn, u64 ioba, u64 a, u64 b)
{
    static struct spinlock nothing = SPINLOCK("tce");
    s64 r;
    while ((r = hcall(token, liobn, ioba, a, b, NULL)) >= H_LONG_BUSY_1MS && r <= H_LONG_BUSY_100S) {
        lock(&nothing);
        sleep_on(&nothing, &nothing, time_ns() + BUSY_NS, false);
        unlock(&nothing);
    }
    return r;
}

static u64 ioba(const struct dma_window *w, u64 index) { return w->base + index * PAGE_SIZE; }

s64 tce_put(const struct dma_window *w, u64 index, u64 tce) { return call(H_PUT_TCE, w->liobn, ioba(w, index), tce, 0); }

s64 tce_put_list(const struct dma_window *w, u64 index, const u64 *tces, u64 n)
{
    return call(H_PUT_TCE_INDIRECT, w->liobn, ioba(w, index), kva_to_pa(tces), n);
}

s64 tce_clear(const struct dma_window *w, u64 index, u64 n)
{
    s64 r = 0;
    for (u64 part; n && r == 0; n -= part, index += part) {
        part = n < TCE_MOST ? n : TCE_MOST;
        r = call(H_STUFF_TCE, w->liobn, ioba(w, index), 0, part);
    }
    return r;
}

s64 tce_get(const struct dma_window *w, u64 index, u64 *tce)
{
    u64 out[3];
    s64 r = hcall(H_GET_TCE, w->liobn, ioba(w, index), 0, 0, out);
    *tce = out[0];
    return r;
}
