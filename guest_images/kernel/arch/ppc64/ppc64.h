/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Private to the ppc64 port: per-CPU area, special registers, hypercalls (LoPAR 2.9, "Hypervisor call functions"). */
#ifndef VMEMU_PPC64_H
#define VMEMU_PPC64_H

#include "kernel.h"
#include "asm.h"

struct paca {
    u64 cpu, kstack, toc, handler;
    u64 save[4];                        /* of the vectors: r10, r11, CTR, CR */
    u64 deadline;                       /* of the timer, in time base ticks; TIMER_OFF: none */
    u64 hwid;                           /* in the device tree, and for the hypervisor */
} __attribute__((aligned(PACA_SIZE)));
_Static_assert(sizeof(struct paca) == PACA_SIZE, "start.S");
extern struct paca pacas[NCPU];

static inline struct paca *paca(void)
{
    struct paca *p;
    __asm__ volatile("mr %0, 13" : "=r"(p));            /* volatile: after a switch it may be another CPU's */
    return p;
}

enum { SPR_DEC = 22, SPR_PID = 48 };
#define mfspr(n) ({ u64 v_; __asm__ volatile("mfspr %0, %1" : "=r"(v_) : "i"(n)); v_; })
#define mtspr(n, v) __asm__ volatile("mtspr %0, %1" ::"i"(n), "r"((u64)(v)) : "memory")

static inline u64 timebase(void)
{
    u64 t;
    __asm__ volatile("mftb %0" : "=r"(t));
    return t;
}

enum {
    H_PUT_TERM_CHAR = 0x58, H_GET_TERM_CHAR = 0x54, H_EOI = 0x64, H_CPPR = 0x68, H_IPI = 0x6c, H_XIRR = 0x74, H_REGISTER_VPA = 0xdc, H_CEDE = 0xe0,
    H_PAGE_INIT = 0x2c, H_VIO_SIGNAL = 0x104, H_REG_SNS = 0x2f8, H_SET_MODE = 0x31c, H_REGISTER_PROC_TBL = 0x37c, H_REG_SNS_RFC = 0x41c,
    H_RTAS = 0xf000, H_CAS = 0xf002, H_VMEMU_EXIT = 0xf0ff
};
enum { H_SUCCESS = 0, H_BUSY = 1, H_FUNCTION = -2 };

/* Does the platform offer this set of hypercalls? Reads the device tree. */
static inline bool hypertas_has(const char *set) { return fdt_has("/rtas", "ibm,hypertas-functions", set); }

/* r3 in and out, r4..r7 in; out[0..2] = r4..r6 when out is not NULL. */
s64 hcall(u64 token, u64 a, u64 b, u64 c, u64 d, u64 *out);

extern char secondary_start[];          /* start.S */

/* vm.c */
void mmu_boot(void);
void *map_device(u64 pa, u64 size);     /* kernel address of a device's registers, for good; NULL: no room */

/* rtas.c: the status of a service of the device tree; it reads the tree, which may be paged out */
enum { RTAS_ARGS = 8 };
int rtas_call(const char *service, u32 count, const u32 *args);

/*
 * xics.c. A handler gets the XIRR and has to end it with xics_eoi: a source interrupts again only after that. It runs with
 * interrupts off and no lock held.
 */
typedef void xics_handler(u32 xirr);
bool xics_connect(u32 source, xics_handler *handler);   /* and let it interrupt this CPU; false: no such source, or too many */
bool xics_route(u32 source, u64 hwid);                  /* let it interrupt that CPU */
void xics_eoi(u32 xirr);
extern u64 xics_strays;                                 /* interrupts of sources without a handler; atomic */
void xics_init_cpu(void);

#endif
