/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which front-end of expropriation notifications is in use. */
#include "apf.h"
#include "esn.h"

static const struct front_end *const front_ends[] = {&esn_papr, &esn_rfc};
static const struct front_end *used;

const char *arch_apf_init(const char *wanted)
{
    for (u32 i = 0; i < sizeof front_ends / sizeof *front_ends && !used; i++) {
        const struct front_end *f = front_ends[i];
        if ((!wanted || strcmp(wanted, f->name) == 0) && f->init(wanted != NULL))
            used = f;
    }
    return used ? used->name : NULL;
}

void arch_apf_online(void) { used->online(); }
void arch_apf_offline(void) { used->offline(); }

/* Without a front-end the bit means nothing, and the access is tried again until it succeeds. */
bool esn_fault(struct trapframe *tf, u64 addr) { return tf->msr & SRR1_EXPROPRIATED && used && used->fault(tf, addr); }

void esn_idle(void)
{
    if (used)
        used->idle();
}

u64 esn_area(void) { return used ? kva_to_pa(used->area) : 0; }

void esn_quit(void)
{
    if (used)
        used->quit();
}
