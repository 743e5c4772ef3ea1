/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Between the files of the self-test of SDEI and the async PF service: the event under test, and checks. */
#ifndef VMEMU_SDEI_EDGE_H
#define VMEMU_SDEI_EDGE_H

#include "kernel.h"
#include "sdei.h"

enum { EVENT = 0 };                     /* private, normal: the one that software can signal */

struct edge_test {
    const char *name;
    void (*run)(void);
};
extern const struct edge_test edge_call_tests[], edge_handler_tests[], edge_service_tests[];
extern const int edge_call_count, edge_handler_count, edge_service_count;

void edge_expect(const char *what, s64 got, s64 want);

static inline s64 edge_call(enum sdei_call call, const u64 x[5]) { return sdei_call(call, x[0], x[1], x[2], x[3], x[4]); }
/* CALL(PE_MASK), CALL(EVENT_STATUS, 0)... and the same with the result that must come */
#define CALL(name, ...) edge_call(SDEI_##name, (const u64[5]){__VA_ARGS__})
#define EXPECT(want, name, ...) edge_expect(#name "(" #__VA_ARGS__ ")", CALL(name, ##__VA_ARGS__), want)

/* What the handler does, besides counting; NULL: nothing. */
typedef void edge_body(const struct sdei_from *from);

/* Register the event with this body, and enable it. */
void edge_begin(edge_body *body);
s64 edge_register(void);                /* without enabling */
void edge_end(void);                    /* the event is unregistered afterwards, whatever it was */

extern int edge_taken;                  /* times that the handler was entered */
extern struct sdei_end edge_how;        /* how it ends; set anew by edge_begin */

u64 edge_self(void);                    /* MPIDR, as EVENT_SIGNAL wants it */
#define SIGNAL() EXPECT(SDEI_SUCCESS, EVENT_SIGNAL, EVENT, edge_self())

/* sdei_edge_entry.S */
extern u64 edge_seen[18];               /* x0..x17 at entry of the handler; x0 and x1 are not recorded */
extern char edge_entry[], edge_landing[], edge_probe_back[];
/* HVC with x0..x17 from x, which then holds what came back. Condition flags are N and V before; returns those after it. */
u64 edge_probe(u64 x[18]);

#endif
