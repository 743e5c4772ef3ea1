/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vpa.h"
#include "ppc64.h"

/* Sub-functions, in bits 16 to 18 of the flags (LoPAR 11.3.2). */
#define REGISTER_VPA (1ull << 45)
#define DEREGISTER_VPA (5ull << 45)

struct vpa vpas[NCPU];

void vpa_register(void)
{
    volatile struct vpa *vpa = my_vpa();
    vpa->descriptor = VPA_DESCRIPTOR;
    vpa->size = VPA_SIZE;
    s64 r = hcall(H_REGISTER_VPA, REGISTER_VPA, paca()->hwid, kva_to_pa(&vpas[arch_cpu()]), 0, NULL);
    if (r != H_SUCCESS)
        panic("vpa_register: H_REGISTER_VPA returned %d", (int)r);
}

void vpa_deregister_all(void)
{
    for (int cpu = 0; cpu < NCPU; cpu++) {
        if (vpas[cpu].size)
            hcall(H_REGISTER_VPA, DEREGISTER_VPA, pacas[cpu].hwid, 0, 0, NULL);
    }
}
