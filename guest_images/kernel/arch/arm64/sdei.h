/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Software delegated exceptions (SDEI, DEN 0054): events that interrupt this CPU whatever it masks, like an NMI. */
#ifndef VMEMU_SDEI_H
#define VMEMU_SDEI_H

#include "smccc.h"

enum sdei_call {
    SDEI_VERSION,
    SDEI_EVENT_REGISTER,
    SDEI_EVENT_ENABLE,
    SDEI_EVENT_DISABLE,
    SDEI_EVENT_CONTEXT,
    SDEI_EVENT_COMPLETE,
    SDEI_EVENT_COMPLETE_AND_RESUME,
    SDEI_EVENT_UNREGISTER,
    SDEI_EVENT_STATUS,
    SDEI_EVENT_GET_INFO,
    SDEI_EVENT_ROUTING_SET,
    SDEI_PE_MASK,
    SDEI_PE_UNMASK,
    SDEI_INTERRUPT_BIND,
    SDEI_INTERRUPT_RELEASE,
    SDEI_EVENT_SIGNAL,
    SDEI_FEATURES,
    SDEI_PRIVATE_RESET,
    SDEI_SHARED_RESET,
};
#define SDEI_FUNCTION(call) (0xc4000020ull + (call))

enum { SDEI_SUCCESS = 0, SDEI_NOT_SUPPORTED = -1, SDEI_INVALID_PARAMETERS = -2, SDEI_DENIED = -3, SDEI_PENDING = -5, SDEI_OUT_OF_RESOURCE = -10 };
enum { SDEI_REGISTERED = 1, SDEI_ENABLED = 2, SDEI_RUNNING = 4 };      /* EVENT_STATUS */
enum { SDEI_HANDLED = 0, SDEI_FAILED = 1 };                             /* EVENT_COMPLETE */

static inline s64 sdei_call(enum sdei_call call, u64 a, u64 b, u64 c, u64 d, u64 e)
{
    return (s64)smccc_call(SDEI_FUNCTION(call), a, b, c, d, e).x0;
}

/* How a handler ends: one of the two COMPLETE calls, and its argument. */
struct sdei_end {
    u64 function, argument;
};

/* What an event interrupted. */
struct sdei_from {
    u64 event, pc, pstate;
};

static inline bool sdei_from_user(const struct sdei_from *from) { return (from->pstate & 0xc) == 0; }   /* exception level 0 */

/*
 * Handlers run with everything masked, on a stack of their own, and may have interrupted the holder of any lock: they take none,
 * do not sleep, and touch pinned memory only.
 */
typedef struct sdei_end sdei_handler(const struct sdei_from *from, void *data);

/* At the top of the stack of one event on one CPU; its address is what registration passes to the entry (vectors.S). */
struct sdei_slot {
    sdei_handler *handler;
    void *data;
    u64 event, unused;                  /* the stack's top is 16-aligned */
};

bool sdei_present(void);                /* version 1 */
/*
 * Register a private event on this CPU, with a stack of its own; the caller enables it. 0, the call's error, or OUT_OF_RESOURCE.
 * Interrupts off.
 */
s64 sdei_attach(u64 event, sdei_handler *handler, void *data);
s64 sdei_detach(u64 event);             /* unregister; not from its handler. 0 or the call's error */

/* Go on where the event came in. */
struct sdei_end sdei_return(u64 status);
/* Go on as if an interrupt had come in instead, when one could have: on the way back trap_exit looks around. */
struct sdei_end sdei_resume_as_irq(const struct sdei_from *from);

#endif
