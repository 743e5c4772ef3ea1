/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VAS: windows through which programs send requests to the NX gzip engine. vas.c is the device that programs open; below it is
 * whoever owns the windows: vas_native.c programs them itself, vas_powervm.c asks the hypervisor. vas_fault.c tells programs
 * about translation faults and is the same for both.
 */
#ifndef VMEMU_VAS_H
#define VMEMU_VAS_H

#include "nx.h"
#include "task.h"

/* A send window and whose requests it takes. The owner finds it by its number until no fault of it can come any more. */
struct vas_window {
    bool used;
    u32 id;
    u64 paste;                          /* guest-physical page that programs paste to */
    int pid, tgid;                      /* of the thread that opened it, and of its process. Numbers are never used twice here */
    struct mm *mm;                      /* of the opener: the engine translates with its page table until the window is closed */
    u32 irq;                            /* powervm: its fault interrupt ... */
    u32 pending;                        /* ... how many came that nobody has served ... */
    bool serving;                       /* ... and whether one is being served */
};

struct vas_owner {
    const char *name;
    int (*init)(void);                  /* before the first window; 0 or -errno. Called again after an error */
    int (*open)(struct vas_window *w);  /* fills in id and paste; takes requests from now on. 0 or -errno */
    void (*close)(struct vas_window *w);    /* returns when no request of it is left; may sleep for long */
};
extern const struct vas_owner vas_native, vas_powervm;

void vas_init(void);                    /* at boot: the device, if the device tree has a switchboard */

enum { VAS_WINDOWS = 48 };
extern struct vas_window vas_windows[VAS_WINDOWS];
void vas_nap(u64 ns);                   /* sleep, uninterruptibly */

/* vas_fault.c: a fault CRB of this window. The program's CSB is written, or it gets SIGSEGV, or it is not there any more. */
void vas_tell_fault(const struct vas_window *w, const struct nx_crb *crb);

#endif
