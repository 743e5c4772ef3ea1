/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Run-time abstraction services (LoPAR 2.9, 7.3), through the hypercall that firmware's entry point makes. */
#include "ppc64.h"

/*
 * The argument buffer lies on the stack, which like every kernel object is in the linear map and pinned. Calls need no lock: each is
 * one hypercall.
 */
int rtas_call(const char *service, u32 count, const u32 *args)
{
    u32 buffer[3 + RTAS_ARGS + 1] = {fdt_u32("/rtas", service, 0), count, 1};     /* token, counts, arguments, status */
    if (count > RTAS_ARGS)
        panic("rtas_call: %u arguments", count);
    memcpy(buffer + 3, args, count * sizeof *args);
    s64 r = hcall(H_RTAS, kva_to_pa(buffer), 0, 0, 0, NULL);
    return r ? (int)r : (int)*(volatile u32 *)&buffer[3 + count];
}
