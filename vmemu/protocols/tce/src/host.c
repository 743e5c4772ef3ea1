/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Making and ending the host kernel, and the way in from core's run loop. */
#include <stdlib.h>
#include <string.h>

#include "api.h"

static const u32 tokens[OPS] = { [OP_GET] = H_GET_TCE, [OP_PUT] = H_PUT_TCE, [OP_STUFF] = H_STUFF_TCE, [OP_INDIRECT] = H_PUT_TCE_INDIRECT };

static enum op op_of(u32 token)
{
    enum op op = OP_GET;

    while (op < OP_INDIRECT && tokens[op] != token)
        op++;
    return op;
}

int tce_real_call(struct tce_host *h, u32 cpu, u32 token, const u64 a[4], u64 *result)
{
    h->delta = 0;
    h->real = true;
    int why = real_hcall(h, &h->cpu[cpu], token, a, result);
    h->real = false;
    h->refused[why]++;
    if (!why)
        h->calls[op_of(token)]++;
    return why;
}

static int on_hcall(void *ctx, struct vcpu *v, uint64_t *cycles, const char **why)
{
    struct tce_host *h = ctx;
    u64 token = h->core->reg_get(v, h->reg3), a[4], result = 0, before = h->entries;

    if (!h->real_mode || token >> 32)                   /* core looks at 32 bits of the token */
        return HCALL_EXIT;
    for (u32 i = 0; i < 4; i++)
        a[i] = h->core->reg_get(v, h->reg3 + 1 + i);
    int refused = tce_real_call(h, h->core->vcpu_number(v), (u32)token, a, &result);
    *cycles = h->cost.call + (h->entries - before) * h->cost.entry;
    if (h->dead) {
        *why = h->why;
        return HCALL_DIED;
    }
    if (refused)
        return HCALL_EXIT;
    h->core->reg_set(v, h->reg3, 0);
    if (token == H_GET_TCE)
        h->core->reg_set(v, h->reg3 + 1, result);
    else if (h->tell_delta)
        h->core->reg_set(v, h->reg3 + 1, (u64)h->delta << PAGE_SHIFT);
    return HCALL_DONE;
}

/* Room for page structs, their list, the CPUs' pages and tables; address space only. */
static u64 linear_size(const struct tce_host *h, u64 npages, u64 table_bytes)
{
    u64 blocks = (npages * h->page_bytes >> h->block_shift) + 2;

    return table_bytes + blocks * ((1ull << h->block_shift) + PAGE_SIZE + sizeof(struct backing)) + (64ull << 20);
}

struct tce_host *tce_new(const void *core, void *machine, u32 reg3, const struct tce_shape *shape)
{
    const struct core_api *api = core;
    struct tce_host *h = api->version == CORE_API_VERSION ? calloc(1, sizeof *h) : NULL;

    if (!h)
        return NULL;
    h->core = api;
    h->m = machine;
    h->reg3 = reg3;
    h->nframes = machine ? h->core->frame_count(h->m) : 0;
    h->page_bytes = shape->page_bytes;
    h->block_shift = shape->block_shift;
    h->flat = shape->flat;
    h->helpers = shape->helpers;
    h->limit = ~0ull;
    h->flushes = 1;
    u64 npages = h->nframes > shape->pages ? h->nframes : shape->pages;
    if (h->page_bytes < sizeof(struct page) || h->page_bytes % 8 || h->page_bytes > 256 || h->block_shift < PAGE_SHIFT || h->block_shift > 24 ||
        h->helpers >= HELPERS_N || lin_init(h, linear_size(h, npages, shape->table_bytes)) || vmemmap_init(h, npages)) {
        tce_free(h);
        return NULL;
    }
    for (u32 i = 0; i < MAX_CPUS; i++) {                /* preallocated: real mode cannot (nothing can be allocated when a call comes) */
        h->cpu[i].given = kernel_pages(h, 1);
        h->cpu[i].mapped = kernel_pages(h, 1);
    }
    if (machine && h->core->frames_watch(h->m, &page_watch, h)) {
        h->m = NULL;
        tce_free(h);
        return NULL;
    }
    for (u32 f = 0; machine && f < h->nframes; f++)
        if (h->core->frame_used(h->m, f))
            page_watch.taken(h, f);
    return h;
}

void tce_free(struct tce_host *h)
{
    if (!h)
        return;
    for (u32 i = 0; h->m && i < OPS; i++)
        h->core->hcall_answer(h->m, tokens[i], NULL, NULL);
    if (h->m)
        h->core->frames_watch(h->m, NULL, NULL);
    vmemmap_end(h);
    lin_end(h);
    free(h);
}

int tce_answer(struct tce_host *h)
{
    for (u32 i = 0; i < OPS; i++)
        if (h->core->hcall_answer(h->m, tokens[i], on_hcall, h))
            return -1;
    return 0;
}

int tce_add_table(struct tce_host *h, u64 liobn, u64 base, u64 entries, u32 shift, bool in_kernel)
{
    struct tce_table *t = &h->table[h->ntables];
    u64 units = entries << (shift - PAGE_SHIFT);

    if (h->ntables == MAX_TABLES || table_find(h, liobn))
        return -1;
    *t = (struct tce_table){ .liobn = liobn, .first = base >> shift, .size = entries, .shift = shift, .in_kernel = in_kernel };
    t->dir[GIVEN] = kernel_pages(h, (u32)(((entries + ENTRIES - 1) / ENTRIES * 8 + PAGE_SIZE - 1) >> PAGE_SHIFT));
    t->dir[MAPPED] = kernel_pages(h, (u32)(((units + ENTRIES - 1) / ENTRIES * 8 + PAGE_SIZE - 1) >> PAGE_SHIFT));
    if (!t->dir[GIVEN] || !t->dir[MAPPED])
        return -1;
    return (int)h->ntables++;
}

/* After the machine was taken back to another instant: tables empty, counts as core's frames have it. The caller fills the tables. */
void tce_reset(struct tce_host *h)
{
    for (u32 i = 0; i < h->ntables; i++)
        for (int half = GIVEN; half <= MAPPED; half++) {
            const struct tce_table *t = &h->table[i];
            u64 units = half == GIVEN ? t->size : t->size << (t->shift - PAGE_SHIFT);
            for (u64 d = 0; d < (units + ENTRIES - 1) / ENTRIES; d++) {
                u64 *dir = lin(h, t->dir[half] + d * 8, 8);
                if (!*dir)
                    continue;
                *(u64 *)lin(h, *dir, 8) = h->lin_free;
                h->lin_free = *dir;
                *dir = 0;
            }
            h->table[i].locked = false;
        }
    for (u32 f = 0; f < h->nframes; f++) {
        u32 *flags = page_flags(h, f);
        if (flags)
            *flags = 0, *page_count(h, f) = 0;
    }
    h->held = 0;
    for (u32 f = 0; f < h->nframes; f++)
        if (h->core->frame_used(h->m, f))
            page_watch.taken(h, f);
    for (u32 i = 0; i < MAX_CPUS; i++)
        h->cpu[i] = (struct tce_cpu){ .given = h->cpu[i].given, .mapped = h->cpu[i].mapped };
    memset(h->iotlb, 0, sizeof h->iotlb);
    h->dead = false;                                    /* that was another life */
    h->why[0] = 0;
}

/* Which directory entries are there, for saving. */
bool tce_has_page(struct tce_host *h, u32 table, u32 half, u64 number)
{
    return *(u64 *)lin(h, h->table[table].dir[half] + number * 8, 8);
}

void *tce_page_bytes(struct tce_host *h, u32 table, u32 half, u64 number)
{
    u64 at = *(u64 *)lin(h, h->table[table].dir[half] + number * 8, 8);

    return at ? lin(h, at, PAGE_SIZE) : NULL;
}

u64 tce_realmode_page(struct tce_host *h, u64 pfn)
{
    h->real = true;
    u64 at = realmode_pfn_to_page(h, pfn);
    h->real = false;
    return at;
}

int tce_add_block(struct tce_host *h, u64 block, u64 phys) { return vmemmap_add(h, block, phys); }
int tce_remove_block(struct tce_host *h, u64 block) { return vmemmap_remove(h, block); }
u64 tce_pages(struct tce_host *h, u32 n) { return kernel_pages(h, n); }

bool tce_helper(struct tce_host *h, u64 pfn, bool get)
{
    h->real = true;
    u64 at = realmode_pfn_to_page(h, pfn);
    bool done = at && (get ? helper_get : helper_put)(h, lin(h, at, sizeof(struct page)));
    h->real = false;
    return done;
}
