/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Asynchronous page faults of arm64: KVM's "async PF" service as proposed in 2021 (v4 of the series), found through SMCCC.
 *
 * The hypervisor writes reason and token into a buffer of the CPU, and waits until the guest has cleared it. It says "ready" by a
 * PPI, which stays high until IRQ_ACK. It says "not present" only to user mode:
 *
 *   sdei      by an SDEI event. That comes like an NMI, so its handler only notes what the task waits for, and goes on as if an
 *             interrupt had come: on the way back to user mode the task sleeps.
 *   ppi-only  by the same PPI. Its priority is above all others', so it is the first interrupt that the CPU takes after the access,
 *             hence in the task that did the access. If it interrupts the kernel nevertheless, nobody sleeps.
 *
 * Only this CPU hears of a token, first of "not present" and then of "ready", and keeps in `told` what it has taken notice of.
 * So a "ready" for a token that nobody took is known and ignored.
 */
#include "apf.h"
#include "apf_abi.h"
#include "arm64.h"
#include "sdei.h"
#include "task.h"

struct told {
    u32 token;
    bool used;
};

enum { SLOTS_SERVED = 64 };             /* of SERVICE's SLOTS; there is room for twice as many */

/* Of one CPU, pinned. No lock: the SDEI handler comes in user mode's place, where this CPU does nothing else with it. */
struct percpu {
    struct buffer buffer;
    struct told told[2 * SLOTS_SERVED];
    bool tagged;                        /* what runs here must not go back to user mode before this is over: TIF_ASYNC_PF */
    u32 token;
    bool bogus, reported;               /* the first notification that makes no sense */
    u32 bogus_reason, bogus_token;
};
_Static_assert(sizeof(struct percpu) <= PAGE_SIZE, "one page of the pool");

static struct percpu *percpu[NCPU];
static u64 event;                       /* number of the SDEI event, 0: ppi-only */
u32 async_intid = NO_INTID;             /* of the PPI */

static struct percpu *mine(void) { return percpu[arch_cpu()]; }

static void clear(struct buffer *b)
{
    b->token = 0;
    b->reason = REASON_NONE;            /* last: the buffer is free from here on */
}

/* ---- not present ---- */

/* Take notice for the task that user mode belongs to. False: it waits for something already, or there is no room. */
static bool note(struct percpu *me, u32 token)
{
    if (me->tagged)
        return false;
    for (struct told *e = me->told; e < me->told + ARRAY_LEN(me->told); e++) {
        if (e->used)
            continue;
        *e = (struct told){token, true};
        me->token = token;
        me->tagged = true;
        return true;
    }
    return false;
}

/* It does not make sense. Not to be said here and now: an event may have interrupted who prints. */
static void report_later(struct percpu *me)
{
    if (me->bogus)
        return;
    me->bogus_reason = me->buffer.reason;
    me->bogus_token = me->buffer.token;
    me->bogus = true;
}

static void report_once(struct percpu *me)
{
    if (!me->bogus || me->reported)
        return;
    me->reported = true;
    kprintf("apf: reason %u, token %x make no sense, on CPU %d\n", me->bogus_reason, me->bogus_token, arch_cpu());
}

/* "Ready" in the buffer is the PPI's business; anything else that is no "not present" would block the buffer for ever. */
static struct sdei_end not_present(const struct sdei_from *from, void *data)
{
    struct percpu *me = data;
    struct buffer *b = &me->buffer;
    bool taken = false;

    if (b->reason == REASON_NOT_PRESENT)
        taken = sdei_from_user(from) && note(me, b->token);
    else
        report_later(me);
    if (b->reason != REASON_READY && !bug(BUG_SDEI_NO_CLEAR))
        clear(b);
    if (!taken)
        return sdei_return(SDEI_FAILED);
    arch_send_ipi(mycpu()->hwid);       /* somebody else shall run, also if we cannot resume as an interrupt */
    return sdei_resume_as_irq(from);
}

/* On the way to user mode, interrupts off since the notification. "Ready" may have been taken on this way: then a marker is there. */
void async_before_user(void)
{
    struct percpu *me = mine();

    if (!me || !me->tagged)
        return;
    if (bug(BUG_SDEI_STALE_FLAG)) {     /* v4: the flag is looked at, then interrupts go on, then the task sleeps */
        irq_enable();
        isb();
        irq_disable();
    }
    me->tagged = false;
    token_wait(me->token);
}

/* ---- ready ---- */

/* Nobody here has been told anything; who sleeps already is woken by the caller. */
static void forget(struct percpu *me)
{
    me->tagged = false;
    for (struct told *e = me->told; e < me->told + ARRAY_LEN(me->told); e++)
        e->used = false;
}

static void ready(struct percpu *me, u32 token)
{
    if (token == TOKEN_ALL) {
        forget(me);
        token_wake_all();
        return;
    }
    for (struct told *e = me->told; e < me->told + ARRAY_LEN(me->told); e++) {
        if (!e->used || e->token != token)
            continue;
        e->used = false;
        if (bug(BUG_SDEI_STALE_FLAG) && me->tagged && me->token == token)
            me->tagged = false;         /* too late */
        else
            token_wake(token);
        return;
    }
}

/* The PPI, before its end of interrupt: level, so high until it is acknowledged. Then the next "ready" may be there at once. */
void async_irq(struct trapframe *tf)
{
    struct percpu *me = mine();
    struct buffer *b = &me->buffer;
    u32 reason = b->reason, token = b->token;

    if (reason == REASON_READY) {
        clear(b);
        ready(me, token);
    } else if (reason == REASON_NOT_PRESENT && !event) {
        if (tf_from_user(tf))
            note(me, token);
        clear(b);
    } else if (reason != REASON_NOT_PRESENT && (reason || token)) {
        report_later(me);
        clear(b);
    }
    report_once(me);
    if (!bug(BUG_SDEI_NO_ACK))
        service(IRQ_ACK, 0);
}

/* ---- from boot to poweroff ---- */

bool service_present(void)
{
    struct smccc uid;

    if ((s64)smccc_call(SMCCC_VERSION, 0, 0, 0, 0, 0).x0 < SMCCC_1_1)
        return false;
    uid = smccc_call(VENDOR_UID, 0, 0, 0, 0, 0);
    if ((u32)uid.x0 != VENDOR_UID_0 || (u32)uid.x1 != VENDOR_UID_1 || (u32)uid.x2 != VENDOR_UID_2 || (u32)uid.x3 != VENDOR_UID_3)
        return false;
    return smccc_call(VENDOR_FEATURES, 0, 0, 0, 0, 0).x0 & SERVICE_FEATURE;
}

/* The value of a GET function, 0 when it fails. */
static u64 get(u64 function)
{
    struct smccc r = service(function, 0);

    return r.x0 == 0 ? r.x1 : 0;
}

const char *arch_apf_init(const char *wanted)
{
    u64 version, slots, intid;

    if (!service_present())
        return NULL;
    version = get(GET_VERSION);
    slots = get(GET_SLOTS);
    intid = get(GET_IRQ);
    if (version >> 24 || version >> 16 < 1 || slots > SLOTS_SERVED || intid < PPI_FIRST || intid > PPI_LAST || intid == TIMER_PPI)
        return NULL;
    async_intid = (u32)intid;
    if (!wanted || strcmp(wanted, "sdei") == 0) {
        event = sdei_present() ? get(GET_SDEI) : 0;
        if (event)
            return "sdei";
    }
    return !wanted || strcmp(wanted, "ppi-only") == 0 ? "ppi-only" : NULL;
}

/* The event is ours alone on this CPU: whatever an earlier kernel had registered goes. */
static s64 take_event(struct percpu *me)
{
    s64 error = sdei_call(SDEI_PRIVATE_RESET, 0, 0, 0, 0, 0);

    if (!error)
        error = sdei_attach(event, not_present, me);
    if (!error)
        error = sdei_call(SDEI_EVENT_ENABLE, event, 0, 0, 0, 0);
    if (!error)
        sdei_call(SDEI_PE_UNMASK, 0, 0, 0, 0, 0);
    return error;
}

void arch_apf_online(void)
{
    int cpu = arch_cpu();
    s64 error;

    if (!percpu[cpu])
        percpu[cpu] = kalloc();
    if (!percpu[cpu])
        panic("arch_apf_online: no memory");
    error = event ? take_event(mine()) : 0;
    gic_ppi(async_intid, true);
    if (!error)
        error = (s64)service(ENABLE, kva_to_pa(&mine()->buffer) | CONTROL_ENABLED).x0;
    mine()->buffer.enabled = error == 0;
    if (error)
        kprintf("apf: CPU %d cannot take part (%d)\n", cpu, (int)error);
}

/* The hypervisor drops what it has under way, and tells nobody: who calls this wakes the sleepers. */
void arch_apf_offline(void)
{
    struct percpu *me = mine();

    gic_ppi(async_intid, false);
    service(ENABLE, 0);
    me->buffer.enabled = 0;
    if (event)
        sdei_detach(event);
    clear(&me->buffer);
    forget(me);
}
