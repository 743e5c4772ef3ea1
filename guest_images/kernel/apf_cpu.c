/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asynchronous page faults from boot to poweroff: which front-end, and who may be notified when. */
#include "apf.h"
#include "task.h"

const char *apf_name = "off";

static char wanted[16];                 /* from the command line; empty: what the machine offers */
static bool found;
static u32 leaving;                     /* CPUs that shall unregister because the machine stops, one bit each; atomic */

__attribute__((weak)) const char *arch_apf_init(const char *name)
{
    (void)name;
    return NULL;
}
__attribute__((weak)) void arch_apf_online(void) {}
__attribute__((weak)) void arch_apf_offline(void) {}

void apf_option(const char *name, size_t len)
{
    if (len == 0 || len >= sizeof wanted)
        panic("apf_option: no front-end has a name of %d letters", (int)len);
    memcpy(wanted, name, len);
    wanted[len] = 0;
}

void apf_init(void)
{
    if (strcmp(wanted, "off") == 0)
        return;
    const char *name = arch_apf_init(wanted[0] ? wanted : NULL);
    if (!name && wanted[0])             /* a lab run must not test nothing */
        panic("apf_init: no front-end \"%s\" for this machine", wanted);
    if (!name)
        return;
    apf_name = name;
    found = true;
    if (!quiet)
        kprintf("vmemu kernel %s: async page faults by %s\n", ISA_NAME, apf_name);
    apf_cpu_online();
}

void apf_cpu_online(void)
{
    if (!found || mycpu()->apf)
        return;
    arch_apf_online();
    mycpu()->apf = true;
}

void apf_cpu_stop(void)
{
    if (!mycpu()->apf)
        return;
    mycpu()->apf = false;
    arch_apf_offline();
}

void apf_cpu_offline(void)
{
    if (!mycpu()->apf)
        return;
    apf_cpu_stop();
    token_wake_all();
}

void apf_serve(void)
{
    u32 me = 1u << arch_cpu();
    token_quiet();
    if (!(__atomic_load_n(&leaving, __ATOMIC_ACQUIRE) & me))
        return;
    apf_cpu_stop();
    __atomic_fetch_and(&leaving, ~me, __ATOMIC_ACQ_REL);
}

void apf_shutdown(void)
{
    irq_disable();
    u32 others = online_mask() & ~(1u << arch_cpu());
    __atomic_store_n(&leaving, others, __ATOMIC_RELEASE);
    for (u32 left = others; left; left &= left - 1)
        send_ipi(&cpus[__builtin_ctz(left)], IPI_APF);
    while (__atomic_load_n(&leaving, __ATOMIC_ACQUIRE)) {
        tlb_serve();                    /* they may wait for us */
        arch_relax();
    }
    apf_cpu_stop();
    token_quiet();
}
