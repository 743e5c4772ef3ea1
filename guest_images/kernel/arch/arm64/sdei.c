/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SDEI client: private events of this CPU, each with a pinned stack of its own. */
#include "sdei.h"
#include "arm64.h"
#include "kernel.h"

#define VERSION_MAJOR(version) ((version) >> 48 & 0x7fff)       /* bits 62:48; 63 would make it an error */

#define PSTATE_I 0x80ull
#define VECTOR_EL1_IRQ 0x280            /* from VBAR_EL1 (DDI 0487 D1.10.2) */
#define VECTOR_EL0_IRQ 0x480

enum { NEVENT = 4 };                    /* attached at a time on one CPU */

extern char sdei_entry[];               /* vectors.S */

static struct sdei_slot *slots[NCPU][NEVENT];
_Static_assert(sizeof(struct sdei_slot) % 16 == 0, "the stack below it is aligned");

bool sdei_present(void)
{
    s64 version = sdei_call(SDEI_VERSION, 0, 0, 0, 0, 0);

    return version > 0 && VERSION_MAJOR(version) == 1;
}

/* This CPU's slot of an event; none: NULL. */
static struct sdei_slot *find(u64 event)
{
    for (int i = 0; i < NEVENT; i++) {
        struct sdei_slot *slot = slots[arch_cpu()][i];
        if (slot && slot->handler && slot->event == event)
            return slot;
    }
    return NULL;
}

/* A slot that is not in use; they are kept, so that a panic can detach. NULL: too many, or no memory. */
static struct sdei_slot *vacant(void)
{
    for (int i = 0; i < NEVENT; i++) {
        struct sdei_slot **slot = &slots[arch_cpu()][i];
        u8 *page = *slot ? NULL : kalloc();
        if (page)
            *slot = (struct sdei_slot *)(page + PAGE_SIZE) - 1;
        if (*slot && !(*slot)->handler)
            return *slot;
    }
    return NULL;
}

s64 sdei_attach(u64 event, sdei_handler *handler, void *data)
{
    struct sdei_slot *slot = vacant();
    s64 error;

    if (!slot)
        return SDEI_OUT_OF_RESOURCE;
    *slot = (struct sdei_slot){handler, data, event, 0};
    error = sdei_call(SDEI_EVENT_REGISTER, event, (u64)(uptr)sdei_entry, (u64)(uptr)slot, 0, 0);
    if (error)
        slot->handler = NULL;
    return error;
}

s64 sdei_detach(u64 event)
{
    struct sdei_slot *slot = find(event);
    s64 error = sdei_call(SDEI_EVENT_UNREGISTER, event, 0, 0, 0, 0);

    if (!error && slot)
        slot->handler = NULL;
    return error;
}

struct sdei_end sdei_return(u64 status)
{
    return (struct sdei_end){SDEI_FUNCTION(SDEI_EVENT_COMPLETE), status};
}

/*
 * COMPLETE_AND_RESUME overwrites ELR_EL1 and SPSR_EL1. They are dead in user mode, and in the kernel wherever interrupts are on;
 * elsewhere no interrupt could have come.
 */
struct sdei_end sdei_resume_as_irq(const struct sdei_from *from)
{
    u64 vbar = read_sysreg(vbar_el1);

    if (sdei_from_user(from))
        return (struct sdei_end){SDEI_FUNCTION(SDEI_EVENT_COMPLETE_AND_RESUME), vbar + VECTOR_EL0_IRQ};
    if (!(from->pstate & PSTATE_I))
        return (struct sdei_end){SDEI_FUNCTION(SDEI_EVENT_COMPLETE_AND_RESUME), vbar + VECTOR_EL1_IRQ};
    return sdei_return(SDEI_HANDLED);
}

/* Called by sdei_entry on the slot's stack; it makes the call that is returned. */
struct sdei_end sdei_taken(u64 event, struct sdei_slot *slot, u64 pc, u64 pstate)
{
    struct sdei_from from = {event, pc, pstate};

    if (*(u64 *)((u8 *)(slot + 1) - PAGE_SIZE) != 0)
        panic("sdei_taken: stack of event %llx overflowed", event);
    return slot->handler(&from, slot->data);
}

/* COMPLETE came back: there is no way to go on. */
NORETURN void sdei_stuck(s64 error) { panic("sdei: a handler cannot end (%d)", (int)error); }
