/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest side of RFC v0 of August 2021 ("pseries: Asynchronous page fault support"), as it was proposed, including what its reviewer
 * did not like and what the protocol's own document forbids: a panic when the kernel itself is told, SRR1 read from the register
 * instead of the saved frame, a wake that came first answered with "not mine" (so that the ordinary handler goes on, with a DAR that
 * means nothing), one waiter woken for a number, number 0 slept on, no second look at the ring, the byte of every CPU's VPA set by one.
 */
#include "apf.h"
#include "esn.h"
#include "task.h"
#include "vpa.h"

enum { NOTIFY = 0x01 };                 /* the control byte: "bit 0", which is LoPAR's bit 7 */
enum { SPR_SRR1 = 27 };

static struct sns sns __attribute__((aligned(SNS_SIZE)));
static struct spinlock ring_lock = SPINLOCK("sns");
static u32 next;
static bool registered;

static void subvention_interrupt(u32 xirr)
{
    lock(&ring_lock);
    for (u16 number; (number = sns.slot[next]); next = (next + 1) % SNS_SLOTS) {
        u16 old = __atomic_exchange_n(&sns.slot[next], 0, __ATOMIC_ACQ_REL);
        if (old != number)
            panic("sns: %x became %x", number, old);
        token_wake_one(number);
    }
    unlock(&ring_lock);
    xics_eoi(xirr);
}

static bool rfc_fault(struct trapframe *tf, u64 addr)
{
    (void)addr;
    if (!(mfspr(SPR_SRR1) & SRR1_EXPROPRIATED))
        return false;
    if (!tf_from_user(tf))
        panic("rfc: told in the kernel, at %llx", tf->nip);
    return token_wait(my_vpa()->rfc_number);
}

static void rfc_quit(void)
{
    if (registered)
        hcall(H_REG_SNS_RFC, ~0ull, SNS_SIZE, 0, 0, NULL);
    registered = false;
}

static bool rfc_init(bool wanted)
{
    u64 out[3];
    s64 r = hcall(bug(BUG_ESN_RFC_2F8) ? H_REG_SNS : H_REG_SNS_RFC, kva_to_pa(&sns), SNS_SIZE, 0, 0, out);
    if (r != H_SUCCESS) {
        if (wanted)
            kprintf("async page faults by rfc: H_REG_SNS refused (%d)\n", (int)r);
        return false;
    }
    registered = true;
    if (!xics_connect((u32)out[1], subvention_interrupt)) {
        rfc_quit();
        return false;
    }
    sns.trigger |= NOTIFY;
    for (int cpu = 0; cpu < NCPU; cpu++)
        vpas[cpu].cycles |= VPA_EXPROPRIATION;
    return true;
}

static void rfc_online(void) { my_vpa()->cycles |= VPA_EXPROPRIATION; }
static void rfc_offline(void) { my_vpa()->cycles &= (u8)~VPA_EXPROPRIATION; }
static void rfc_idle(void) {}

const struct front_end esn_rfc = {"rfc", rfc_init, rfc_online, rfc_offline, rfc_quit, rfc_fault, rfc_idle, &sns};
