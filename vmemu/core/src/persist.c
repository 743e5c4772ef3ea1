/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a snapshot on disk and a recording need of the flat state: copies that Python writes to a file, checks of what comes back
 * (a file is input), and short digests.
 */
#include <stdlib.h>
#include <string.h>

#include "core.h"

void persist_memory_save(const struct machine *m, struct saved_memory *to, u32 *frames, u32 *free_list)
{
    *to = (struct saved_memory){
        .npages = m->npages, .nframes = m->nframes, .nfree = m->nfree, .hand = m->hand, .serial = m->serial,
        .slot_next = m->slot_next, .nslot_free = m->nslot_free, .c_store = m->c_store, .timing = m->timing, .stats = m->stats,
    };
    for (u32 f = 0; f < m->nframes; f++) {
        frames[2 * f] = m->frames[f].page;
        frames[2 * f + 1] = m->frames[f].serial;
    }
    memcpy(free_list, m->free_list, (size_t)m->nfree * sizeof *free_list);
}

/* Slots that only snapshots in memory still own are free in the file: they come first, so that they are used last. */
u32 persist_slots(const struct machine *m, u32 *out)
{
    u8 *known = calloc(m->slot_next + 1, 1);
    u32 n = 0;

    if (!known)
        return 0;
    for (u32 i = 0; i < m->npages; i++)
        if (m->s2[i].slot != NO_SLOT && m->s2[i].slot < m->slot_next)
            known[m->s2[i].slot] = 1;
    for (u32 i = 0; i < m->nslot_free; i++)
        known[m->slot_free[i]] = 1;
    for (u32 i = 0; i < m->slot_next; i++)
        if (!known[i])
            out[n++] = i;
    memcpy(out + n, m->slot_free, (size_t)m->nslot_free * sizeof *out);
    free(known);
    return n + m->nslot_free;
}

/* Once each, and below the limit: 0 when some index is neither. */
static bool distinct(const u32 *list, u32 n, u32 limit, u8 *seen)
{
    for (u32 i = 0; i < n; i++) {
        if (list[i] >= limit || seen[list[i]])
            return false;
        seen[list[i]] = 1;
    }
    return true;
}

static bool consistent(const struct machine *m, const struct saved_memory *s, const struct s2_page *s2, const u32 *frames,
                       const u32 *free_list, const u32 *slot_free, u8 *frame_seen, u8 *slot_seen)
{
    u32 resident = 0;

    if (!distinct(free_list, s->nfree, m->nframes, frame_seen) || !distinct(slot_free, s->nslot_free, s->slot_next, slot_seen))
        return false;
    for (u32 i = 0; i < s->npages; i++) {
        const struct s2_page *p = &s2[i];
        if (p->state == S2_NONE || p->state > S2_BAD || (p->state == S2_SWAPPED && p->slot == NO_SLOT))
            return false;
        if (p->state == S2_RESIDENT) {
            if (p->frame >= m->nframes || frame_seen[p->frame] || frames[2 * p->frame] != i)
                return false;
            frame_seen[p->frame] = 1;
            resident++;
        } else if (p->frame != NO_FRAME)
            return false;
        if (p->slot != NO_SLOT) {
            if (p->slot >= s->slot_next || slot_seen[p->slot])
                return false;
            slot_seen[p->slot] = 1;
        }
    }
    for (u32 f = 0; f < m->nframes; f++)
        if (frames[2 * f] == NO_FRAME ? !frame_seen[f] : frames[2 * f] >= m->npages)
            return false;
    return resident + s->nfree == m->nframes;
}

int persist_memory_load(struct machine *m, const struct saved_memory *s, const struct s2_page *s2, const u32 *frames,
                        const u32 *free_list, const u32 *slot_free)
{
    if (s->npages != m->npages || s->nframes != m->nframes)
        return core_fail("it holds %u pages in %u frames, the machine has %u in %u", s->npages, s->nframes, m->npages, m->nframes);
    u32 slots = m->c_store ? m->nslots : s->slot_next;
    u8 *frame_seen = calloc(m->nframes, 1), *slot_seen = calloc((size_t)slots + 1, 1);
    bool fine = frame_seen && slot_seen && s->slot_next <= slots && s->nslot_free <= s->slot_next && s->nfree <= m->nframes &&
                s->hand < m->nframes && s->timing.depth >= 1 && s->timing.depth <= 64 &&
                consistent(m, s, s2, frames, free_list, slot_free, frame_seen, slot_seen);
    free(frame_seen);
    free(slot_seen);
    if (!fine)
        return core_fail("its page tables contradict each other");
    memcpy(m->s2, s2, (size_t)m->npages * sizeof *m->s2);
    for (u32 f = 0; f < m->nframes; f++) {
        s2_drop_code(m, f);
        m->frames[f] = (struct frame){ .page = frames[2 * f], .serial = frames[2 * f + 1] };
    }
    memcpy(m->free_list, free_list, (size_t)s->nfree * sizeof *free_list);
    for (u32 i = 0; i < m->npages; i++)
        m->s2_live[i / S2_CHUNK] |= s2[i].state != S2_ZERO;
    for (m->nfree_low = 0; m->nfree_low < s->nfree && free_list[m->nfree_low] == m->nframes - 1 - m->nfree_low; m->nfree_low++)
        ;
    m->nfree = s->nfree, m->hand = s->hand, m->serial = s->serial;
    if (m->c_store) {
        memcpy(m->slot_free, slot_free, (size_t)s->nslot_free * sizeof *slot_free);
        memset(m->slot_born, 0, (size_t)s->slot_next * sizeof *m->slot_born);
        m->slot_next = s->slot_next, m->nslot_free = s->nslot_free;
    }
    m->timing = s->timing;
    m->stats = s->stats;
    m->ndropped = 0;
    s2_flush_all(m);
    return 0;
}

u32 persist_vcpu_size(void) { return sizeof(struct saved_vcpu); }

void persist_vcpu_save(struct vcpu *v, void *out)
{
    struct saved_vcpu s;

    memset(&s, 0, sizeof s);                            /* padding is written too */
    saved_vcpu_take(&s, v);
    memcpy(out, &s, sizeof s);
}

int persist_vcpu_load(struct vcpu *v, const void *in)
{
    static struct saved_vcpu s;

    memcpy(&s, in, sizeof s);
    if (s.block.size > BLOCK_BYTES_MAX || s.block.n > BLOCK_BYTES_MAX || (s.state.open && s.state.done > s.block.n) || s.state.pend.kind > PEND_MEM_ERROR ||
        (s.state.open && !s.block.there))
        return core_fail("the state of vCPU %u contradicts itself", v->id);
    saved_vcpu_load(&s, v);
    return 0;
}

u32 table_dump(const struct table *t, u64 *out)
{
    u32 n = 0;

    for (u64 i = 0; i <= t->mask && n < t->live; i++)
        if (t->keys[2 * i]) {
            out[2 * n] = t->keys[2 * i];
            out[2 * n + 1] = t->keys[2 * i + 1];
            n++;
        }
    return n;
}

void digest_registers(struct vcpu *v, u32 n, u16 *out)
{
    for (u32 i = 0; i < n; i++) {
        u64 value = v->m->arch->reg_get(v, i);
        u32 crc = crc32c(&value, sizeof value);
        out[i] = (u16)(crc ^ crc >> 16);
    }
}

/* Zero pages count as nothing, wherever they lie: whether one is still resident is no part of its content. */
void digest_pages(struct machine *m, u32 shift, u32 *out)
{
    static const u8 zero[PAGE_SIZE];
    u32 none = crc32c(zero, PAGE_SIZE);

    memset(out, 0, (((size_t)m->npages + (1u << shift) - 1) >> shift) * sizeof *out);
    for (u32 i = 0; i < m->npages; i++) {
        const struct s2_page *p = &m->s2[i];
        u32 crc = none;
        if (p->state == S2_RESIDENT)
            crc = crc32c(m->ram + ((size_t)p->frame << PAGE_SHIFT), PAGE_SIZE);
        else if (p->state == S2_SWAPPED)
            crc = p->crc;
        else if (p->state == S2_BAD)
            crc = ~none;
        if (crc != none)
            out[i >> shift] += (crc ^ none) * (2 * i + 0x9e3779b1u);
    }
}
