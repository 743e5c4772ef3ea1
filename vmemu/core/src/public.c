/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The functions of public.h. */
#include "api.h"

static u32 vcpu_number(const struct vcpu *v) { return v->id; }

static int hcall_answer(struct machine *m, u32 nr, hcall_fn fn, void *ctx)
{
    u32 i = 0;

    while (i < m->nanswers && m->answers[i].nr != nr)
        i++;
    if (!fn) {
        if (i == m->nanswers)
            return -1;
        m->answers[i] = m->answers[--m->nanswers];
        return 0;
    }
    if (i < m->nanswers || i == MAX_ANSWERS)
        return -1;
    m->answers[m->nanswers++] = (struct answer){ nr, fn, ctx };
    return 0;
}

static int frames_watch(struct machine *m, const struct frame_watch *watch, void *ctx)
{
    if (watch && m->watch)
        return -1;
    m->watch = watch;
    m->watch_ctx = ctx;
    return 0;
}

static bool s2_look(const struct machine *m, u64 gpa, struct s2_view *view)
{
    i64 i = s2_index(m, gpa);

    if (i < 0)
        return false;
    *view = (struct s2_view){ m->s2[i].state == S2_RESIDENT, m->s2[i].flags, m->s2[i].frame };
    return true;
}

static u32 frame_count(const struct machine *m) { return m->nframes; }
static bool frame_used(const struct machine *m, u32 f) { return f < m->nframes && m->frames[f].page != NO_FRAME; }

const void *core_api(void)
{
    static const struct core_api api = {
        .version = CORE_API_VERSION, .vcpu_number = vcpu_number, .reg_get = vcpu_reg_get, .reg_set = vcpu_reg_set,
        .hcall_answer = hcall_answer, .frames_watch = frames_watch, .s2_look = s2_look, .frame_bytes = s2_frame,
        .frame_count = frame_count, .frame_used = frame_used, .frame_free = s2_free_frame,
    };

    return &api;
}
