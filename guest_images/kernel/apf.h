/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous page faults, what all protocols share: the hypervisor says "this page is away" with a token and the task sleeps on
 * it; later it says "that page is here" with the same token and the task goes on.
 *
 * THE WAIT TABLE (apf.c). A sleeper is a node on its own kernel stack, in one of 256 buckets with a lock each. "Here" may overtake
 * "away": a wake that finds nobody leaves a marker from a pinned pool, and whoever comes to sleep on that token takes it and goes on.
 *
 * FRONT-ENDS (arch/<isa>/apf.c). An architecture that has a protocol defines the arch_apf_* functions below; without them there
 * are none. It takes the hypervisor's notifications out of its traps before the common handlers see them: "away" ends in
 * token_wait, "here" in token_wake.
 */
#ifndef VMEMU_APF_H
#define VMEMU_APF_H

#include "types.h"

/*
 * Sleep until the token's page is here. Interrupts off, no lock held, in a trap from user mode, or from the kernel where interrupts
 * were on. The sleep is uninterruptible and charged to the task. Where no task may sleep (may_sleep) the CPU halts instead, open
 * to interrupts. False: the wake had come first. Either way the fault is dealt with, and the access is to be tried again.
 */
bool token_wait(u64 token);

/* Wake every sleeper of a token that is notified once for each time it is woken. Nobody there: leave a marker. Interrupts off. */
void token_wake(u64 token);
void token_wake_one(u64 token);         /* the first sleeper only, which is enough where nobody shares a token */

/*
 * The same for a token that any number of tasks may have been told (PAPR gives a page one number however many touch it). A marker
 * would serve one latecomer only, or nobody for ever; so it serves all that come, and goes once every CPU that was in a task when
 * the wake came has been on its way out of the kernel: whoever comes after that was told a newer number.
 */
void token_wake_shared(u64 token);

/* Wake every sleeper that was told on this CPU. Markers stay: whom they are for is still on his way. Interrupts off. */
void token_wake_all(void);
void token_wake_everybody(void);        /* the same for every CPU */

/* This CPU has no notification in hand: on the way to user mode, or without a task. Interrupts off, no lock held. */
void token_quiet(void);

/* May what runs here be put to sleep? Not without a task, not with a lock, not where cpu.atomic says no. Interrupts off. */
bool may_sleep(void);

/*
 * What the host may read at any time (note.S; vmemu/machine/elf.py has the order). Changed atomically.
 */
struct apf_counters {
    u64 sleeping;           /* tasks and halted CPUs that wait for a token now */
    u64 markers;            /* early wakes that nobody has come for yet */
    u64 waits;              /* tokens waited for, early ones not counted */
    u64 wakes;              /* wakes that found somebody */
    u64 early;              /* waits that found a marker */
    u64 halts;              /* waits that halted the CPU */
    u64 broadcasts;         /* token_wake_all */
    u64 spins;              /* wakes that had to wait for a marker */
    u64 asleep_ns;          /* all waits together */
};
extern struct apf_counters apf_counters;

/* Markers at most from now on; for tests of what happens without. */
void token_limit_markers(u64 n);

/* ---- apf_cpu.c: from boot to poweroff ---- */

/* The word after apf= on the command line: a front-end's name, or "off". */
void apf_option(const char *name, size_t len);
void apf_init(void);            /* once, CPU 0: find the front-end */
void apf_cpu_online(void);      /* this CPU tells the hypervisor that it takes notifications; interrupts off */
void apf_cpu_offline(void);     /* no more of them on this CPU, and nobody waits for one that it was told; interrupts off */
void apf_cpu_stop(void);        /* the same without the second half, which takes locks: the machine stops, or the kernel panics */
void apf_serve(void);           /* IPI_APF */
void apf_shutdown(void);        /* no CPU leaves the hypervisor memory to write to that belongs to the next kernel; no lock held */
extern const char *apf_name;    /* of the front-end that is in use, or "off" */

/* ---- arch -> here; all optional. Interrupts off ---- */

/*
 * Does the machine offer a protocol that this kernel speaks? wanted: the one that the command line asks for, NULL: the best.
 * Returns the front-end's name, or NULL. CPU 0, before any other runs.
 */
const char *arch_apf_init(const char *wanted);
/* Register this CPU. The hypervisor may have tokens of an earlier life: call token_wake_all if the protocol does not tell. */
void arch_apf_online(void);
/* Take this CPU's registration back. Also called in a panic: no locks, no wakeups. */
void arch_apf_offline(void);

#endif
