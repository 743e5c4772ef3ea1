/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The calls in real mode. Only what surely succeeds is done here, the same in every profile; whatever else turns up is left to
 * virtual mode, with a marker that says how far it came. No error code is made here.
 *
 * All four calls are one: a list of entries for consecutive places of a table. Get a reference for each page; exchange the entries;
 * flush; drop the references of the old ones. The order keeps a page alive as long as a device can reach it.
 */
#include "tce.h"

#pragma GCC poison malloc calloc realloc free mmap kernel_pages vmemmap_add virt pfn_to_page get_page put_page page_flags page_count

static void race(struct tce_host *h, u32 step)
{
    if (__builtin_expect(h->race.step != step, 1))
        return;
    struct page *p = lin(h, realmode_pfn_to_page(h, h->race.frame), sizeof *p);
    switch (h->race.action) {
    case RACE_PTE: h->pte_changed = true; break;
    case RACE_COUNT: p->count = h->race.value; h->pte_changed = true; break;    /* others let go of it: so did the guest */
    case RACE_FLAGS: p->flags |= (u32)h->race.value; break;
    case RACE_LOCK: h->table[h->race.frame].locked = h->race.value; break;
    }
}

/* ------------------------------------------------------------- references */

struct got { u64 mapped; bool held; };                  /* host address | permissions; whether a reference is held: never inferred */

static s32 refs(const struct page *p) { return p->count - !!(p->flags & PG_GUEST); }

static bool drop(struct tce_host *h, struct page *p)
{
    if (!helper_put(h, p))
        return false;
    if (refs(p) == 0)
        h->held--;
    return true;
}

/* The guest's page behind a TCE: the nine tests of the 2013 series "KVM: PPC: Add support for multiple-TCE hcalls", in its order. */
static int get_one(struct tce_host *h, u64 tce, struct got *g)
{
    struct s2_view pte, again;
    u64 gpa = tce & TCE_PAGE;

    *g = (struct got){ 0 };
    h->pte_changed = false;
    race(h, 1);
    if (!h->core->s2_look(h->m, gpa, &pte))
        return R_NO_MEMORY_SLOT;
    race(h, 2);
    if (!pte.resident)
        return R_NOT_PRESENT;
    u64 real = (u64)pte.frame << PAGE_SHIFT;
    race(h, 3);
    race(h, 4);
    if (!(pte.flags & 2))                               /* guest memory is always writable, so it must be dirty already */
        return R_NOT_DIRTY;
    race(h, 5);
    if (!(pte.flags & 1))
        return R_NOT_YOUNG;
    race(h, 6);
    u64 at = realmode_pfn_to_page(h, pte.frame);
    if (!at)
        return R_NO_PAGE_STRUCT;
    struct page *p = lin(h, at, sizeof *p);
    g->mapped = real | (tce & TCE_PERMS);
    if (p->flags & PG_LARGE)
        return R_LARGE_MAPPING;
    race(h, 7);
    if (p->flags & PG_COMPOUND && h->helpers == HELPERS_V7)
        return R_COMPOUND;
    if (refs(p) == 0 && h->held >= h->limit)
        return R_LIMIT;
    race(h, 8);
    if (!helper_get(h, p))
        return p->flags & PG_COMPOUND ? R_COMPOUND : R_COUNT_ZERO;
    if (refs(p) == 1)
        h->held++;
    g->held = true;
    race(h, 9);
    if (!h->core->s2_look(h->m, gpa, &again) || !again.resident || again.frame != pte.frame || h->pte_changed) {
        g->held = !drop(h, p);
        return R_CHANGED;
    }
    return R_NONE;
}

static int put_one(struct tce_host *h, u64 mapped)
{
    u64 at = realmode_pfn_to_page(h, mapped >> PAGE_SHIFT);

    if (!at)
        return R_NO_PAGE_STRUCT;
    struct page *p = lin(h, at, sizeof *p);
    if (h->bugs & BUG_DIRTY_COMPOUND && mapped & TCE_WRITE && p->flags & PG_TAIL)
        breach(h, "the head of a compound page, at %#llx, was marked dirty", (unsigned long long)p->head);
    return p->flags & PG_COMPOUND ? R_COMPOUND : drop(h, p) ? R_NONE : R_LAST_REFERENCE;
}

/* -------------------------------------------------------------- one change */

struct change {
    struct tce_host *h;
    struct tce_cpu *c;
    struct tce_table *t;
    u64 index;
    u32 n;
    u64 *given, *mapped;                                /* the CPU's two pages */
    bool indirect;
};

static int stop(struct change *x, enum marker marker, u32 num, int why)
{
    x->c->marker = marker;
    x->c->num = num;
    x->c->total = x->n;
    x->c->index = x->index;
    x->c->table = (u32)(x->t - x->h->table);
    return why;
}

/* Switch: clear the batch's first entry where the one that failed is meant. */
static void clear_first(struct change *x)
{
    u64 *given = table_slot(x->h, x->t, GIVEN, x->index), *mapped = table_slot(x->h, x->t, MAPPED, x->index);

    if (!mapped || !*mapped || put_one(x->h, be64(*mapped)))
        return;
    *given = *mapped = 0;
    table_flush(x->h);
}

static int get_all(struct change *x)
{
    struct tce_host *h = x->h;

    for (u32 i = 0; i < x->n; i++) {
        struct got g = { 0 };
        int why = x->given[i] & TCE_PERMS ? get_one(h, x->given[i], &g) : R_NONE;
        x->mapped[i] = g.mapped;
        if (!why)
            continue;
        if (g.held || (h->bugs & BUG_PAGE_OUT && (why == R_COMPOUND || why == R_COUNT_ZERO)))
            x->c->stray = g.mapped;
        if (h->bugs & BUG_ABSENT_SUCCESS && x->n == 1 && why == R_NOT_PRESENT)
            return -1;
        if (h->bugs & BUG_ALL_ONES && x->n == 1 && why >= R_COMPOUND && why <= R_CHANGED) {
            x->mapped[0] = TCE_PAGE | (x->given[0] & TCE_PERMS);
            return stop(x, MARK_PUT_TCE, 1, why);
        }
        if (h->bugs & BUG_CLEAR_FIRST && x->indirect)
            clear_first(x);
        return stop(x, i ? MARK_GET_PAGE : MARK_NONE, i, why);
    }
    return R_NONE;
}

/* Is every table page there that must hold something? Zero into a page that is not is no change. */
static bool has_pages(const struct change *x)
{
    for (u32 i = 0; i < x->n; i++)
        if ((x->given[i] && !table_slot(x->h, x->t, GIVEN, x->index + i)) ||
            (x->mapped[i] && !table_slot(x->h, x->t, MAPPED, x->index + i)))
            return false;
    return true;
}

static int drop_old(struct change *x, u32 i)
{
    u64 old = x->mapped[i];
    const u64 *now = table_slot(x->h, x->t, MAPPED, x->index + i);

    if (!old)
        return R_NONE;
    if (now && be64(*now) == old && (x->given[i] ^ old) & TCE_PERMS)
        x->h->early_drops++;                            /* a device can still reach it */
    return put_one(x->h, old);
}

static void exchange(struct change *x, u32 i)
{
    u64 *given = table_slot(x->h, x->t, GIVEN, x->index + i), *mapped = table_slot(x->h, x->t, MAPPED, x->index + i);
    u64 old = mapped ? be64(*mapped) : 0;

    if (given)
        *(volatile u64 *)given = be64(x->given[i]);
    if (mapped)
        *(volatile u64 *)mapped = be64(x->mapped[i]);
    x->h->delta += !!x->mapped[i] - !!old;
    x->mapped[i] = old;
}

/* Switch: the old page is let go before its entry is cleared and flushed. */
static void drop_early(struct change *x)
{
    for (u32 i = 0; i < x->n; i++) {
        const u64 *now = table_slot(x->h, x->t, MAPPED, x->index + i);
        u64 wanted = x->mapped[i];
        x->mapped[i] = now ? be64(*now) : 0;
        bool gone = drop_old(x, i) == R_NONE;
        x->mapped[i] = wanted;
        exchange(x, i);
        if (gone)
            x->mapped[i] = 0;
    }
    table_flush(x->h);
}

static int change(struct change *x)
{
    struct tce_host *h = x->h;
    int why = get_all(x);

    if (why)
        return why < 0 ? R_NONE : why;
    if (!has_pages(x))
        return stop(x, MARK_PUT_TCE, x->n, R_NO_TABLE_PAGE);
    if (!table_lock(h, x->t))
        return stop(x, MARK_PUT_TCE, x->n, R_LOCKED);
    if (h->bugs & BUG_EARLY_DROP) {
        drop_early(x);
    } else {
        for (u32 i = 0; i < x->n; i++)
            exchange(x, i);
        table_flush(h);
    }
    table_unlock(x->t);
    h->entries += x->n;
    for (u32 i = 0; i < x->n; i++) {
        why = drop_old(x, i);
        if (why)
            return stop(x, MARK_DROP_OLD, i, why);
    }
    return R_NONE;
}

/* -------------------------------------------------------------- arguments */

static int find(struct change *x, u64 liobn, u64 ioba, u64 n)
{
    struct tce_table *t = x->t = table_find(x->h, liobn);

    if (!t || !t->in_kernel)
        return R_ARGUMENTS;
    if (t->shift != PAGE_SHIFT)
        return R_PAGE_SIZE;
    x->index = (ioba >> PAGE_SHIFT) - t->first;         /* below the window: huge */
    if (ioba & (PAGE_SIZE - 1) || x->index >= t->size || n > t->size - x->index || n > ENTRIES)
        return R_ARGUMENTS;
    x->n = (u32)n;
    return R_NONE;
}

static bool odd(u64 tce) { return tce & TCE_PERMS && tce & TCE_RESERVED; }

/* Switch: the end of the window is computed in bytes, and wraps; nothing bounds the count. */
static int stuff_wrapping(struct change *x, u64 liobn, u64 ioba, u64 n)
{
    struct tce_table *t = x->t = table_find(x->h, liobn);
    u64 end;

    if (!t || t->shift != PAGE_SHIFT)
        return R_ARGUMENTS;
    end = (t->first + t->size) << PAGE_SHIFT;
    if (ioba < t->first << PAGE_SHIFT || ioba >= end || ioba + (n << PAGE_SHIFT) > end)
        return R_ARGUMENTS;
    for (u64 i = (ioba >> PAGE_SHIFT) - t->first; n && !x->h->dead; i++, n--) {
        u64 *given = table_slot(x->h, t, GIVEN, i);
        if (given)
            *given = 0;
    }
    return R_NONE;
}

static int stuff(struct change *x, const u64 a[4])
{
    int why = find(x, a[0], a[1], a[3]);

    if (x->h->bugs & BUG_WRAP && why == R_ARGUMENTS && !a[2])
        return stuff_wrapping(x, a[0], a[1], a[3]);
    if (why || a[2] & TCE_PERMS)                        /* to map with STUFF is not legal everywhere, and rare */
        return why ? why : R_ARGUMENTS;
    for (u32 i = 0; i < x->n; i++)
        x->given[i] = a[2];
    return change(x);
}

/* The list is copied first: the guest may change it meanwhile (LoPAR 5.4.2.4). */
static int indirect(struct change *x, const u64 a[4])
{
    struct tce_host *h = x->h;
    struct got g;
    int why = find(x, a[0], a[1], a[3]);

    if (why)
        return why;
    if (a[2] & (PAGE_SIZE - 1))
        return R_ARGUMENTS;
    why = get_one(h, a[2] | TCE_READ, &g);
    if (g.held)
        x->c->list_page = g.mapped;
    if (why)
        return why;
    const u64 *list = lin(h, g.mapped & TCE_PAGE, PAGE_SIZE);
    for (u32 i = 0; i < x->n; i++) {
        x->given[i] = be64(list[i]);
        if (!odd(x->given[i]))
            continue;
        if (h->bugs & BUG_LIST_LEAK)
            x->c->list_page = 0;
        if (h->bugs & BUG_LOCK_LEAK)
            table_lock(h, x->t);
        return R_ARGUMENTS;
    }
    x->indirect = true;
    why = change(x);
    if (why)
        return why;
    why = put_one(h, x->c->list_page);
    if (why)
        return stop(x, MARK_PUT_LIST, x->n, why);
    x->c->list_page = 0;
    return R_NONE;
}

static int get_tce(struct change *x, const u64 a[4], u64 *result)
{
    int why = find(x, a[0], a[1], 1);

    if (why)
        return why;
    const u64 *given = table_slot(x->h, x->t, GIVEN, x->index);
    *result = given ? be64(*given) : 0;
    return R_NONE;
}

int real_hcall(struct tce_host *h, struct tce_cpu *c, u32 token, const u64 a[4], u64 *result)
{
    struct change x = { .h = h, .c = c, .given = lin(h, c->given, PAGE_SIZE), .mapped = lin(h, c->mapped, PAGE_SIZE) };

    if (!(h->bugs & BUG_STALE_MARKER))
        c->marker = MARK_NONE;
    switch (token) {
    case H_GET_TCE:
        return get_tce(&x, a, result);
    case H_PUT_TCE: {
        int why = find(&x, a[0], a[1], 1);
        if (why || odd(a[2]))
            return why ? why : R_ARGUMENTS;
        x.given[0] = a[2];
        return change(&x);
    }
    case H_STUFF_TCE:
        return stuff(&x, a);
    default:
        return indirect(&x, a);
    }
}
