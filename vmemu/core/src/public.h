/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * public.h - what core offers to the C code of rooms above it.
 *
 * Such a room has an extension of its own (cffi_build.py). Nothing is linked: Python hands it core_api(), a table of functions, and
 * pointers to machines and vCPUs. A room registers what it answers and takes it back before the machine is freed.
 *
 * Hypercalls: a call whose number is registered is answered inside the run loop, without an exit to Python. `nr` is what
 * vm_exit.nr would be; the other arguments are registers. PC is past the instruction already. Calls from user mode go to Python.
 *
 * Frames: host frame f lies at frame_bytes(). A room that keeps references to frames watches them: `taken` and `given` tell when a
 * frame begins and ceases to hold a guest page, `busy` keeps one from being reclaimed. None of the three may call back into core.
 */
#ifndef VMEMU_CORE_PUBLIC_H
#define VMEMU_CORE_PUBLIC_H

#include <stdbool.h>
#include <stdint.h>

#define CORE_API_VERSION 1

struct machine;
struct vcpu;

enum hcall_result {
    HCALL_DONE,                                         /* answered: the guest goes on */
    HCALL_EXIT,                                         /* Python must answer it: an exit as if nobody had looked */
    HCALL_DIED                                          /* the host itself is broken: the run ends with this text in *why */
};
/* *cycles: what the work costs the vCPU, in 1/64 cycle, whether it was finished or not. */
typedef int (*hcall_fn)(void *ctx, struct vcpu *, uint64_t *cycles, const char **why);

struct frame_watch {
    bool (*busy)(void *ctx, uint32_t frame);
    void (*taken)(void *ctx, uint32_t frame);
    void (*given)(void *ctx, uint32_t frame);
};

/* A guest page's stage-2 entry. flags: 1 accessed, 2 dirty, 4 pinned. */
struct s2_view { bool resident; uint8_t flags; uint32_t frame; };

struct core_api {
    uint32_t version;
    uint32_t (*vcpu_number)(const struct vcpu *);
    uint64_t (*reg_get)(struct vcpu *, uint32_t index); /* index in the isa room's list */
    int (*reg_set)(struct vcpu *, uint32_t index, uint64_t value);
    int (*hcall_answer)(struct machine *, uint32_t nr, hcall_fn, void *ctx);    /* fn NULL: give it back. -1: taken, or no room */
    int (*frames_watch)(struct machine *, const struct frame_watch *, void *ctx);   /* NULL: no more. -1: somebody watches already */
    bool (*s2_look)(const struct machine *, uint64_t gpa, struct s2_view *);    /* false: not RAM */
    uint8_t *(*frame_bytes)(struct machine *, uint32_t frame, bool write);      /* write: marks it dirty, drops translations */
    uint32_t (*frame_count)(const struct machine *);
    bool (*frame_used)(const struct machine *, uint32_t frame);                 /* it holds a guest page */
    int (*frame_free)(struct machine *, uint32_t frame);                        /* a busy one that was given; its last user is gone */
};

#endif
