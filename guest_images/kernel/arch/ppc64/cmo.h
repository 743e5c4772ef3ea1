/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cooperative memory over-commitment (LoPAR 2.9, "Cooperative Memory Over-commitment Option"). */
#ifndef VMEMU_PPC64_CMO_H
#define VMEMU_PPC64_CMO_H

#include "types.h"

extern bool cmo_agreed;                 /* with the platform, at boot; never changes after */
void cas_negotiate(void);               /* CPU 0, once */

/*
 * What the partition will miss of a page if the platform takes it: flags 28 to 31 of H_PAGE_INIT (IBM numbering): change, two bits
 * of state, one modifier (12.3.8.1).
 */
#define PAGE_STATE(bits) (1ull << (63 - 28) | (u64)(bits) << (63 - 31))
enum page_state { PAGE_ACTIVE = 0, PAGE_EXPENDABLE = 4, PAGE_UNUSED = 6 };
/* False: refused. pa is page aligned. */
bool page_set_state(u64 pa, enum page_state state);

#endif
