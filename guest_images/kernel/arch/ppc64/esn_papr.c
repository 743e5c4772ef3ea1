/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Expropriation/subvention notification as LoPAR 2.9 describes it (12.3.8).
 *
 * THE INTERRUPT IS ASKED FOR ONE AT A TIME: the hypervisor keeps a copy of the trigger bit. When it posts a number and the two differ,
 * it makes them equal and interrupts; when they are equal it only posts. So flipping the bit asks for one interrupt, and flipping it
 * again before that one came takes the wish back. Hence the bit is flipped exactly once in each interrupt, and nowhere else.
 *
 * NO WAKE-UP IS LOST: a number that comes before the flip is found by the look at the ring after it, one that comes later interrupts.
 * The flip comes after the end of the interrupt, not before it: a source signals again only after H_EOI, and the hypervisor has used up
 * the flip whether or not the signal gets through.
 *
 * A NUMBER BELONGS TO A PAGE, not to a task: everybody who touches it is told the same one, and it is posted once.
 */
#include "apf.h"
#include "cmo.h"
#include "esn.h"
#include "task.h"
#include "vpa.h"

enum { TRIGGER = 0x80, OVERFLOW = 0x80 };       /* bit 0 of either control byte (12.3.8.3.1) */
enum { SPIN_LOOPS = 4096 };
#define ALL_SOURCES 1ull                /* H_VIO_SIGNAL: bit 63, the first source */

static struct sns sns __attribute__((aligned(SNS_SIZE)));
static struct spinlock ring_lock = SPINLOCK("esn ring");
static u32 head;                        /* slot to look at next; ring_lock */
static u64 unit;                        /* for H_VIO_SIGNAL */
static u32 source;
static u32 cpus_on;                     /* CPUs that may be notified; atomic */
static bool registered;
static u32 repairing;

/* ---- the ring ---- */

/* The oldest number, 0: none. Its slot is the hypervisor's again. */
static u16 take(void)
{
    lock(&ring_lock);
    u16 number = sns.slot[head];
    if (number) {
        sns.slot[head] = 0;
        head = (head + 1) % SNS_SLOTS;
    }
    unlock(&ring_lock);
    return number;
}

/* False: the ring was empty. */
static bool drain(void)
{
    bool any = false;
    for (u16 number; (number = take()); any = true)
        token_wake_shared(number);
    return any;
}

static void arm(void)
{
    sns.trigger ^= TRIGGER;
    __asm__ volatile("sync" ::: "memory");      /* before the next look at the ring */
}

/* ---- the area ---- */

static s64 register_area(u64 *out)
{
    memset(&sns, 0, sizeof sns);
    head = 0;
    s64 r = hcall(H_REG_SNS, kva_to_pa(&sns), SNS_SIZE, 0, 0, out);
    registered = r == H_SUCCESS;
    return r;
}

static void deregister_area(void)
{
    registered = false;
    hcall(H_REG_SNS, ~0ull, 0, 0, 0, NULL);
}

/*
 * The ring has overflowed: numbers are lost, and none will be posted any more. The way back is to register again (12.3.8.3.2); what was
 * outstanding is then never posted, so everybody is woken, and whose page is still away is told a new number. In between nobody is told
 * anything, so who was told but does not sleep yet has his number in his CPU's VPA.
 */
static void repair(void)
{
    u64 out[3];
    if (__atomic_exchange_n(&repairing, 1, __ATOMIC_ACQ_REL))
        return;                         /* another CPU is at it */
    if (sns.state & OVERFLOW) {
        kprintf("async page faults: the ring has overflowed\n");
        deregister_area();
        for (int i = 0; i < NCPU; i++) {
            u16 told = ((volatile struct vpa *)&vpas[i])->expropriation_number;
            if (told)
                token_wake_shared(told);
        }
        token_wake_everybody();
        lock(&ring_lock);
        s64 r = register_area(out);
        unlock(&ring_lock);
        if (r != H_SUCCESS)
            panic("esn: H_REG_SNS returned %d after an overflow", (int)r);
        arm();
        drain();
    }
    __atomic_store_n(&repairing, 0, __ATOMIC_RELEASE);
}

/* ---- interrupts ---- */

static void subvention_interrupt(u32 xirr)
{
    drain();
    xics_eoi(xirr);
    if (!bug(BUG_ESN_NO_ARM))
        arm();
    if (!bug(BUG_ESN_NO_RECHECK) && drain() && bug(BUG_ESN_ARM_AGAIN))
        arm();
    if (sns.state & OVERFLOW)
        repair();
}

/*
 * Kernel code that must not sleep, or be interrupted: wait a little and try again. If the page is still away, the hypervisor says so,
 * with the same number. The number's post will find nobody, and leave nothing that lasts.
 */
static void spin(void)
{
    for (int i = 0; i < SPIN_LOOPS; i++)
        arch_relax();
}

/* Wrong on purpose: something pageable is touched before the number is saved. */
static void touch_instruction(const struct trapframe *tf)
{
    u32 insn;
    irq_enable();
    copy_from_user(current()->mm, &insn, tf->nip, sizeof insn);
    irq_disable();
}

static bool papr_fault(struct trapframe *tf, u64 addr)
{
    if (bug(BUG_ESN_STALE_NUMBER) && tf_from_user(tf))
        touch_instruction(tf);
    /* Both at once: the next notification overwrites them (12.3.8.2.1). Nothing touched up to here is ever away: all of it is pinned. */
    volatile struct vpa *vpa = my_vpa();
    u16 number = vpa->expropriation_number;
    bool lost = !(vpa->expropriation_flags & VPA_RESTORED);
    bool user = tf_from_user(tf), slept = true;

    if ((number || bug(BUG_ESN_ZERO_SLEEPS)) && (user || tf->msr & MSR_EE))
        slept = token_wait(number);
    else if (number)
        spin();
    if (user && lost) {
        irq_enable();
        vm_refill(current()->mm, addr);
        irq_disable();
    }
    return slept || !bug(BUG_ESN_EARLY_REAL);
}

/* ---- from boot to poweroff ---- */

static bool refuse(bool wanted, const char *what, s64 r)
{
    if (wanted)
        kprintf("async page faults by papr: %s (%d)\n", what, (int)r);
    if (registered)
        deregister_area();
    return false;
}

static bool papr_init(bool wanted)
{
    u64 out[3];
    s64 r;
    if (!hypertas_has("hcall-esn"))
        return refuse(wanted, "the platform has no hcall-esn", H_FUNCTION);
    if (!cmo_agreed)
        return refuse(wanted, "the platform does not agree to memory over-commitment", H_FUNCTION);
    if ((r = register_area(out)) != H_SUCCESS)
        return refuse(wanted, "H_REG_SNS refused", r);
    unit = out[0];
    source = (u32)out[1];
    if (!xics_connect(source, subvention_interrupt))
        return refuse(wanted, "no such interrupt source", source);
    if ((r = hcall(H_VIO_SIGNAL, unit, ALL_SOURCES, 0, 0, NULL)) != H_SUCCESS)
        return refuse(wanted, "H_VIO_SIGNAL refused", r);
    arm();
    return true;
}

static void papr_online(void)
{
    __atomic_fetch_add(&cpus_on, 1, __ATOMIC_ACQ_REL);
    my_vpa()->cycles |= VPA_EXPROPRIATION;
}

static void papr_quit(void)
{
    if (!registered)
        return;
    hcall(H_VIO_SIGNAL, unit, 0, 0, 0, NULL);
    deregister_area();
}

/* The last CPU takes the area along. */
static void papr_offline(void)
{
    my_vpa()->cycles &= (u8)~VPA_EXPROPRIATION;
    if (__atomic_sub_fetch(&cpus_on, 1, __ATOMIC_ACQ_REL) == 0)
        papr_quit();
}

static void papr_idle(void)
{
    if (sns.state & OVERFLOW)           /* which comes without an interrupt if the ring was not ours to begin with */
        repair();
}

const struct front_end esn_papr = {"papr", papr_init, papr_online, papr_offline, papr_quit, papr_fault, papr_idle, &sns};
