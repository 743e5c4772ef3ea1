/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DMA windows (LoPAR 2.9 5.4.2, "ibm,dma-window"): pages of bus addresses that the hypervisor maps to ours. */
#ifndef VMEMU_PPC64_TCE_H
#define VMEMU_PPC64_TCE_H

#include "ppc64.h"

enum { H_GET_TCE = 0x1c, H_PUT_TCE = 0x20, H_STUFF_TCE = 0x138, H_PUT_TCE_INDIRECT = 0x13c, H_VMEMU_TCE = 0xf0f0 };
enum { H_LONG_BUSY_1MS = 9900, H_LONG_BUSY_100S = 9905 };
enum { TCE_READ = 1, TCE_WRITE = 2 };   /* what the device may do */
enum { TCE_MOST = 512 };                /* entries in one call */

struct dma_window {
    u64 liobn, base, pages;
};

/* The window that a property of a node names: LIOBN, base, size in cells. false: there is none. */
bool tce_window(const char *path, const char *name, struct dma_window *w);

/* Map page `index` of the window, n of them, or take n away. 0 or the hypervisor's error; busy is waited for. */
s64 tce_put(const struct dma_window *w, u64 index, u64 tce);
s64 tce_put_list(const struct dma_window *w, u64 index, const u64 *tces, u64 n);    /* tces: one page, page aligned */
s64 tce_clear(const struct dma_window *w, u64 index, u64 n);
s64 tce_get(const struct dma_window *w, u64 index, u64 *tce);

#endif
