/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of esn-edge share. Numbers are LoPAR's (2.9, "Expropriation/Subvention Notification") unless said otherwise. */
#ifndef ESN_EDGE_H
#define ESN_EDGE_H

#include "user.h"

enum {
    H_SUCCESS = 0, H_BUSY = 1, H_FUNCTION = -2, H_PRIVILEGE = -3, H_PARAMETER = -4, H_RESOURCE = -16, H_P2 = -55
};
enum {
    H_PAGE_INIT = 0x2c, H_REGISTER_VPA = 0xdc, H_CEDE = 0xe0, H_PROD = 0xe8, H_VIO_SIGNAL = 0x104, H_REG_SNS = 0x2f8, H_REG_SNS_RFC = 0x41c,
    H_CAS = 0xf002
};
#define UNIT 0x71000002ull              /* the SNS interrupt: for H_VIO_SIGNAL, */
#define SOURCE 0x1002ull                /* and for the interrupt controller */
#define NO_AREA ~0ull
#define PAGE_STATE(bits) (1ull << 35 | (u64)(bits) << 32)       /* H_PAGE_INIT flags: change, and bits 29 to 31 (IBM) */
enum { ACTIVE = 0, EXPENDABLE = 4, UNUSED = 6 };

enum { VPA_CYCLES = 0xb9, VPA_DISPATCHED = 0x100, VPA_FLAGS = 0x17d, VPA_NUMBER = 0x17e };
enum { EXPROPRIATION = 0x02, RESTORED = 0x01, TRIGGER = 0x80, OVERFLOW = 0x80 };

/* The test fails, and goes on. */
void check(bool good, const char *what);
void check_equal(s64 got, s64 wanted, const char *what);
void test_begin(const char *name);
void test_end(void);

s64 hook(u64 op, u64 a, u64 b);
extern u64 answer[3];                   /* r4 to r6 of the last hypercall */
s64 hypercall(u64 token, u64 a, u64 b, u64 c, u64 d);
u64 gpa(const volatile void *p);

/* ---- memory that is away ---- */
enum { COLD_PAGES = 192 };
extern volatile u64 *cold;              /* COLD_PAGES pages, the first word of each is cold_word */
static inline u64 cold_word(u64 page) { return mix64(page + 1); }
static inline volatile u64 *cold_page(u64 page) { return cold + page * (PAGE_SIZE / 8); }
bool memory_init(u64 pressure_pages);
void push_out(void);                    /* other pages than the cold ones are used until these are away */

void test_calls(void);                  /* calls.c: status of every call at its edges */
void test_ring(void);                   /* ring.c: as a kernel would; this one does not */
void test_kernel(void);                 /* kernel.c: what this kernel makes of it */

#endif
