/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hypervisor owns the switchboard, as on PowerVM: windows of one credit each, by hypercall (docs/vas.md). Each has an interrupt
 * of its own, one for every fault, and the fault CRB is fetched by a call that also gives the credit back.
 */
#include "ppc64.h"
#include "vas.h"

enum {
    H_ALLOCATE_VAS_WINDOW = 0x388, H_MODIFY_VAS_WINDOW = 0x38c, H_DEALLOCATE_VAS_WINDOW = 0x390, H_QUERY_VAS_CAPABILITIES = 0x398,
    H_GET_NX_FAULT = 0x3a0
};
enum { H_CONSTRAINED = 4, H_LONG_BUSY_1_MSEC = 9900, H_LONG_BUSY_10_MSEC = 9901 };
enum { SLOW_NS = 50000 };
#define MODIFY_USER 0x5c00000000000000ull       /* kill jobs when closed, DR, PR, SF */
#define ANY_DOMAIN (~0ull)
#define NO_ADDRESS (~0ull)

/* Capabilities of the windows that partitions have by default: call type 2 */
enum { DEFAULT_WINDOWS = 2, CAP_WINDOW_TYPE = 8, CAP_USER_MODE = 9, COPY_PASTE = 1 };
#define FEATURE_DEFAULT (1ull << 61)            /* bit 2 */

static u8 buffer[PAGE_SIZE] __attribute__((aligned(4096)));     /* for capabilities */
static u8 window_type;
static struct spinlock fault_lock = SPINLOCK("vas faults");     /* of `pending` and `serving` of all windows */

struct arguments { u64 in[8], out[4]; };        /* r4 to r11; r4 to r7 */

static s64 call(u64 token, struct arguments *a)
{
    register u64 r3 __asm__("r3") = token;
    register u64 r4 __asm__("r4") = a->in[0];
    register u64 r5 __asm__("r5") = a->in[1];
    register u64 r6 __asm__("r6") = a->in[2];
    register u64 r7 __asm__("r7") = a->in[3];
    register u64 r8 __asm__("r8") = a->in[4];
    register u64 r9 __asm__("r9") = a->in[5];
    register u64 r10 __asm__("r10") = a->in[6];
    register u64 r11 __asm__("r11") = a->in[7];
    __asm__ volatile(".long 0x44000022"         /* sc 1 */
                     : "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r11)
                     :: "r0", "r12", "cr0", "ctr", "xer", "memory");
    a->out[0] = r4, a->out[1] = r5, a->out[2] = r6, a->out[3] = r7;
    return (s64)r3;
}

/* The same, again for as long as the hypervisor is busy. */
static s64 call_until_done(u64 token, struct arguments *a)
{
    for (;;) {
        s64 r = call(token, a);
        if (r != H_BUSY && r != H_LONG_BUSY_1_MSEC && r != H_LONG_BUSY_10_MSEC)
            return r;
        vas_nap(r == H_LONG_BUSY_10_MSEC ? 10000000 : 1000000);
    }
}

/* ---- faults ---- */

/* fault_lock held */
static struct vas_window *find_pending(void)
{
    for (struct vas_window *w = vas_windows; w < vas_windows + VAS_WINDOWS; w++) {
        if (w->pending)
            return w;
    }
    return NULL;
}

static void fault_thread(UNUSED void *arg)
{
    static struct nx_crb crb;                   /* in the linear map, on a 128-byte border */
    for (;;) {
        struct vas_window *w;
        lock(&fault_lock);
        while (!(w = find_pending()))
            sleep_on(vas_windows, &fault_lock, FOREVER, false);
        w->pending--;
        w->serving = true;
        unlock(&fault_lock);
        struct arguments a = {.in = {w->id, kva_to_pa(&crb)}};
        s64 r = call(H_GET_NX_FAULT, &a);
        if (bug(BUG_VAS_CLOSE_NO_WAIT))
            vas_nap(SLOW_NS);                   /* it may take as long on a busy machine */
        if (r != H_SUCCESS)
            kprintf("vas: window %u: no fault to be had (%d)\n", w->id, (int)r);
        else
            vas_tell_fault(w, &crb);
        lock(&fault_lock);
        w->serving = false;
        unlock(&fault_lock);
        wakeup(w);
    }
}

/* Each one is counted: the next comes only after the end of this, and one that is missed leaves a program waiting. */
static void fault_interrupt(u32 xirr)
{
    lock(&fault_lock);
    for (struct vas_window *w = vas_windows; w < vas_windows + VAS_WINDOWS; w++) {
        if (w->mm && w->irq == (xirr & 0xffffff))
            w->pending++;
    }
    unlock(&fault_lock);
    wakeup(vas_windows);
    xics_eoi(xirr);
}

/* ---- windows ---- */

static int init(void)
{
    struct arguments a = {.in = {0, kva_to_pa(buffer)}};
    if (call_until_done(H_QUERY_VAS_CAPABILITIES, &a) != H_SUCCESS || !(((u64 *)(void *)buffer)[1] & FEATURE_DEFAULT))
        return -ENODEV;
    a = (struct arguments){.in = {DEFAULT_WINDOWS, kva_to_pa(buffer)}};
    if (call_until_done(H_QUERY_VAS_CAPABILITIES, &a) != H_SUCCESS || !(buffer[CAP_USER_MODE] & COPY_PASTE))
        return -ENODEV;
    window_type = buffer[CAP_WINDOW_TYPE];
    return kthread_start(fault_thread, NULL) ? 0 : -ENOMEM;
}

static void deallocate(const struct vas_window *w)
{
    struct arguments a = {.in = {w->id}};
    s64 r = call_until_done(H_DEALLOCATE_VAS_WINDOW, &a);
    if (r != H_SUCCESS)
        kprintf("vas: window %u cannot be given back (%d)\n", w->id, (int)r);
}

static int open(struct vas_window *w)
{
    struct arguments a = {.in = {window_type, 1, ANY_DOMAIN}};
    s64 r = call_until_done(H_ALLOCATE_VAS_WINDOW, &a);
    if (r != H_SUCCESS)
        return r == H_CONSTRAINED ? -EINVAL : -EIO;
    w->id = (u32)a.out[0];
    w->paste = a.out[1];
    w->irq = (u32)a.out[3];
    a = (struct arguments){.in = {w->id, mfspr(SPR_PID), 0, MODIFY_USER, 0}};
    if (w->paste == NO_ADDRESS || !xics_connect(w->irq, fault_interrupt) || call_until_done(H_MODIFY_VAS_WINDOW, &a) != H_SUCCESS) {
        deallocate(w);
        return -EIO;
    }
    return 0;
}

/*
 * The hypervisor waits for all requests, and for their faults to be fetched: they find the window as long. But it does not know
 * when the program has been told of the last one.
 */
static void close(struct vas_window *w)
{
    deallocate(w);
    lock(&fault_lock);
    while ((w->pending || w->serving) && !bug(BUG_VAS_CLOSE_NO_WAIT))
        sleep_on(w, &fault_lock, FOREVER, false);
    unlock(&fault_lock);
}

const struct vas_owner vas_powervm = {.name = "powervm", .init = init, .open = open, .close = close};
