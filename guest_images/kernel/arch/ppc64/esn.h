/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expropriation/subvention notification (LoPAR 2.9, 12.3.8): the ppc64 front-ends of asynchronous page faults (apf.h).
 *
 * A page is away: data or instruction storage interrupt with bit 46 of SRR1, and in the CPU's VPA a correlation number. A page is back:
 * its number in the ring of the partition's one SNS area, and, if the kernel has asked for it, one external interrupt.
 * Two descriptions exist, which differ in nearly every constant: LoPAR's (papr), and that of the only kernel that has ever had a
 * driver (rfc: RFC v0 of August 2021, "pseries: Asynchronous page fault support", with what its reviewer found wrong).
 */
#ifndef VMEMU_PPC64_ESN_H
#define VMEMU_PPC64_ESN_H

#include "ppc64.h"

#define SRR1_EXPROPRIATED 0x20000       /* bit 46 (12.3.8.2.2 R1-7, R1-8) */

enum { SNS_SIZE = 4096, SNS_SLOTS = (SNS_SIZE - 2) / 2 };

/* The area: two control bytes and a ring of correlation numbers; 0: the slot is the hypervisor's to fill. */
struct sns {
    volatile u8 trigger;                /* OS */
    volatile u8 state;                  /* hypervisor: overflow */
    volatile u16 slot[SNS_SLOTS];       /* hypervisor sets, OS clears */
};
_Static_assert(sizeof(struct sns) == SNS_SIZE, "12.3.8.3.1");

struct front_end {
    const char *name;
    bool (*init)(bool wanted);          /* CPU 0. False: not on this machine; wanted: say why */
    void (*online)(void);               /* this CPU */
    void (*offline)(void);              /* this CPU; no locks, no wakeups */
    void (*quit)(void);                 /* the whole partition; from any CPU, also more than once */
    bool (*fault)(struct trapframe *tf, u64 addr);      /* bit 46 is set; false: the ordinary handler shall go on */
    void (*idle)(void);                 /* before this CPU waits for an interrupt */
    const struct sns *area;
};
extern const struct front_end esn_papr, esn_rfc;

/* trap.c: first thing in a storage interrupt. addr: of the access. True: dealt with, try it again. */
bool esn_fault(struct trapframe *tf, u64 addr);
void esn_idle(void);
void esn_quit(void);
u64 esn_area(void);                     /* guest-physical address of the SNS area, 0: none */

#endif
