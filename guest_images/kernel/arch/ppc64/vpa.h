/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual processor area (LoPAR 2.9, 11.1.1): the page in which a CPU and the hypervisor tell each other things. The CPU writes what
 * is said to be the OS's, and only its own area: a read-modify-write from elsewhere would race with it.
 */
#ifndef VMEMU_PPC64_VPA_H
#define VMEMU_PPC64_VPA_H

#include "kernel.h"

struct vpa {
    u32 descriptor;                     /* 0x00, OS: 0xd397d781 by tradition */
    u16 size;                           /* 0x04, OS: VPA_SIZE */
    u8 to_b9[0xb9 - 0x06];
    u8 cycles;                          /* 0xb9, OS: VPA_EXPROPRIATION */
    u8 to_100[0x100 - 0xba];
    u32 dispatch_count;                 /* 0x100: even while the CPU runs */
    u8 to_118[0x118 - 0x104];
    u16 rfc_number;                     /* 0x118: where the RFC put the expropriation correlation number (its patch 4) */
    u8 to_17d[0x17d - 0x11a];
    u8 expropriation_flags;             /* 0x17d: VPA_RESTORED (12.3.8.2.1) */
    u16 expropriation_number;           /* 0x17e: correlation number, 0: the page is back already */
    u8 to_280[0x280 - 0x180];
} __attribute__((aligned(1024)));       /* 128 would do, but it must not cross a 4 KiB border */

#define VPA_SIZE 640
#define VPA_DESCRIPTOR 0xd397d781
#define VPA_EXPROPRIATION 0x02          /* cycles: bit 6, interrupt this CPU when a page is away */
#define VPA_RESTORED 0x01               /* expropriation_flags: bit 7, the page comes back as it was; otherwise it is zero */

_Static_assert(__builtin_offsetof(struct vpa, cycles) == 0xb9, "LoPAR 11.1.1");
_Static_assert(__builtin_offsetof(struct vpa, dispatch_count) == 0x100, "LoPAR 11.1.1");
_Static_assert(__builtin_offsetof(struct vpa, rfc_number) == 0x118, "RFC patch 4");
_Static_assert(__builtin_offsetof(struct vpa, expropriation_flags) == 0x17d, "LoPAR 12.3.8.2.1");
_Static_assert(__builtin_offsetof(struct vpa, expropriation_number) == 0x17e, "LoPAR 12.3.8.2.1");

extern struct vpa vpas[NCPU];
static inline volatile struct vpa *my_vpa(void) { return &vpas[arch_cpu()]; }       /* interrupts off */

void vpa_register(void);                /* this CPU's */
void vpa_deregister_all(void);          /* the machine stops: the hypervisor writes to none of them any more */

#endif
