/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Client architecture support (LoPAR 2.9, "ibm,client-architecture-support"): the partition says what it can, the platform answers
 * with what both can. One thing matters here: cooperative memory over-commitment (CMO), without which the platform keeps page states
 * and expropriation notifications to itself (12.3.8 R1-1).
 */
#include "cmo.h"
#include "ppc64.h"

bool cmo_agreed;

enum { VECTOR5_BYTES = 8, CMO_BYTE = 4, CMO_BIT = 0x80 };      /* bytes of a vector count from 1, after its length */

struct option_vector {
    u8 length_less_1, byte;
};

static const struct {
    u32 pvrs[2][2];                     /* mask and value; the last value has bits outside of its mask */
    u8 vectors_less_1;
    struct option_vector empty[4];      /* 1 to 4: nothing to ask for */
    u8 length_less_1, vector5[VECTOR5_BYTES];
} __attribute__((packed)) wants = {
    .pvrs = {{0xffff0000, 0x00800000}, {0, 0xffffffff}},        /* any POWER10 */
    .vectors_less_1 = 4,
    .length_less_1 = VECTOR5_BYTES - 1,
    .vector5 = {[CMO_BYTE - 1] = CMO_BIT},
};

void cas_negotiate(void)
{
    static u8 answer[1 + VECTOR5_BYTES];        /* length, and that many bytes */
    if (!hypertas_has("hcall-cmo"))
        return;
    s64 r = hcall(H_CAS, kva_to_pa(&wants), kva_to_pa(answer), sizeof answer, 0, NULL);
    cmo_agreed = r == H_SUCCESS && answer[0] >= CMO_BYTE && answer[CMO_BYTE] & CMO_BIT;
}
