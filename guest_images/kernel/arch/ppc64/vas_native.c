/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kernel owns the switchboard, as on PowerNV: it programs the window contexts, serves the fault FIFO and brings credits home.
 * Registers and bits: docs/vas.md. Windows 0 and 1 are the engine's receive window and the fault window, so that no send window
 * has the number 0, which as a PSWID looks like an error.
 */
#include "ppc64.h"
#include "vas.h"

/* A window's context, in bytes from its start */
enum {
    CONTEXT = 512, PID = 0x018, XLATE_MSR = 0x020, FAULT_TX_WIN = 0x050, HV_INTR_SRC_RA = 0x070, PSWID = 0x078, LFIFO_BAR = 0x0a0,
    LRX_WCRED = 0x0e0, TX_WCRED = 0x0f0, LFIFO_SIZE = 0x100, WINCTL = 0x108, WIN_STATUS = 0x110, LRFIFO_WIN_PTR = 0x128,
    LRX_WCRED_ADDER = 0x190, TX_WCRED_ADDER = 0x1a0
};
#define BIT(n) (1ull << (63 - (n)))     /* IBM's numbers: 0 is the most significant */
#define WINCTL_OPEN BIT(0)
#define WINCTL_REJECT BIT(1)            /* refuse when there is no credit */
#define WINCTL_PIN BIT(2)
#define WINCTL_TX_CREDITS BIT(3)
#define WINCTL_RX_CREDITS BIT(4)
#define WINCTL_FAULT BIT(10)
#define WINCTL_NX BIT(11)
#define STATUS_BUSY BIT(1)
#define XLATE_USER (BIT(0) | BIT(1) | BIT(2) | BIT(3))      /* HV, SF, DR, PR */
#define CREDITS(n) ((u64)(n) << 48)
#define CREDITS_OF(v) ((v) >> 48 & 0xfff)
#define SIZE_LOG2_KIB(n) ((u64)(n) << 60)

enum { RX_WINDOW, FAULT_WINDOW, FIRST_SEND };
enum { RX_ORDER = 3, RX_LOG2_KIB = 5, RX_CREDITS = 256 };                           /* 32 KiB */
enum { FIFO_LOG2_KIB = 12, FIFO_BYTES = 4 << 20, FIFO_ENTRIES = FIFO_BYTES / 128 }; /* 4 MiB */
enum { SEND_CREDITS = 1024, WINDOW_SHIFT = 16 };
enum { CLOSE_POLL_NS = 10000000, WARN_EVERY = 1000, LOST_NS = 20000 };

static struct {
    volatile u8 *contexts;
    u64 paste, port;
    u32 windows;                        /* that the switchboard has */
    volatile struct nx_crb *fifo;
    u32 head;                           /* next entry to look at; the fault thread's */
    struct spinlock lock;
    bool in_progress;                   /* the fault thread looks, or is about to; lock */
} vas = {.lock = SPINLOCK("vas faults")};

static void put(u32 window, u32 reg, u64 value)
{
    *(volatile u64 *)(vas.contexts + window * CONTEXT + reg) = value;
    __asm__ volatile("eieio" ::: "memory");
}

static u64 get(u32 window, u32 reg) { return *(volatile u64 *)(vas.contexts + window * CONTEXT + reg); }

/* ---- faults ---- */

static struct vas_window *find_window(u32 pswid)
{
    for (struct vas_window *w = vas_windows; w < vas_windows + VAS_WINDOWS; w++) {
        if (w->used && w->id == (pswid & 0xffff))
            return w;
    }
    return NULL;
}

/* Unused entries have all ones there; the second mark is for those whose number is being written. */
static bool consumed(volatile const struct nx_crb *entry) { return entry->stamp.pswid == ~0u || entry->ccw & 1; }

/* The next entry's copy. False: there is none, and the next interrupt will start the thread again. */
static bool next_fault(struct nx_crb *crb)
{
    volatile struct nx_crb *entry = &vas.fifo[vas.head];
    lock(&vas.lock);
    bool none = consumed(entry);
    if (none && bug(BUG_VAS_LOST_FAULT)) {
        unlock(&vas.lock);
        vas_nap(LOST_NS);
        lock(&vas.lock);
    }
    if (none)
        vas.in_progress = false;        /* with the look, or an interrupt in between would be for nothing */
    unlock(&vas.lock);
    if (none)
        return false;
    vas.head = (vas.head + 1) % FIFO_ENTRIES;
    memcpy(crb, (const void *)entry, sizeof *crb);
    entry->stamp.pswid = ~0u;
    entry->ccw |= 1;
    __asm__ volatile("sync" ::: "memory");
    put(FAULT_WINDOW, LRX_WCRED_ADDER, CREDITS(1));     /* the engine may use the entry from now on */
    return true;
}

/* False: the loop ends, as it did before the series was merged, and what is left in the FIFO waits for the next fault. */
static bool serve(const struct nx_crb *crb)
{
    static bool warned;
    const struct vas_window *w = find_window(crb->stamp.pswid);
    if (!w) {
        if (!warned)
            kprintf("vas: fault of window %x, which is not open\n", crb->stamp.pswid);
        warned = true;
        return !bug(BUG_VAS_BAD_WINDOW_STOPS);
    }
    vas_tell_fault(w, crb);
    put(w->id, TX_WCRED_ADDER, CREDITS(1));             /* after it: whoever closes the window waits for this */
    return true;
}

static void stop_looking(void)
{
    lock(&vas.lock);
    vas.in_progress = false;
    unlock(&vas.lock);
}

static void fault_thread(UNUSED void *arg)
{
    struct nx_crb crb;
    for (;;) {
        lock(&vas.lock);
        while (!vas.in_progress)
            sleep_on(&vas, &vas.lock, FOREVER, false);
        unlock(&vas.lock);
        while (next_fault(&crb)) {
            if (!serve(&crb)) {
                stop_looking();
                break;
            }
        }
    }
}

/* Many faults may share an interrupt: what is seen while the thread looks is the thread's. */
static void fault_interrupt(u32 xirr)
{
    lock(&vas.lock);
    bool wake = !vas.in_progress;
    vas.in_progress = true;
    unlock(&vas.lock);
    if (wake)
        wakeup(&vas);
    xics_eoi(xirr);
}

/* ---- setup ---- */

static int open_receive_windows(void)
{
    void *rx = kalloc_order(RX_ORDER);
    u64 fifo = rx ? frames_alloc(FIFO_BYTES / PAGE_SIZE) : 0;
    if (!fifo) {
        if (rx)
            kfree_order(rx, RX_ORDER);
        return -ENOMEM;
    }
    vas.fifo = pa_to_kva(fifo);
    memset(pa_to_kva(fifo), 0xff, FIFO_BYTES);
    put(RX_WINDOW, LFIFO_BAR, kva_to_pa(rx));
    put(RX_WINDOW, LFIFO_SIZE, SIZE_LOG2_KIB(RX_LOG2_KIB));
    put(RX_WINDOW, LRX_WCRED, CREDITS(RX_CREDITS));
    put(RX_WINDOW, WINCTL, WINCTL_OPEN | WINCTL_PIN | WINCTL_NX | WINCTL_RX_CREDITS);
    put(FAULT_WINDOW, LFIFO_BAR, fifo);
    put(FAULT_WINDOW, LFIFO_SIZE, SIZE_LOG2_KIB(FIFO_LOG2_KIB));
    put(FAULT_WINDOW, LRX_WCRED, CREDITS(FIFO_ENTRIES));
    put(FAULT_WINDOW, WINCTL, WINCTL_OPEN | WINCTL_PIN | WINCTL_FAULT | WINCTL_RX_CREDITS | WINCTL_REJECT);
    return get(RX_WINDOW, WINCTL) & get(FAULT_WINDOW, WINCTL) & WINCTL_OPEN ? 0 : -ENODEV;
}

static u64 two_cells(const u32 *p) { return (u64)p[0] << 32 | p[1]; }

static int init(void)
{
    static const char node[] = "/vas";
    u32 reg_bytes, irq_bytes;
    const u32 *reg = fdt_prop(node, "reg", &reg_bytes), *irq = fdt_prop(node, "interrupts", &irq_bytes);
    if (!reg || reg_bytes < 8 * sizeof *reg || !irq || irq_bytes < sizeof *irq)
        return -ENODEV;
    vas.contexts = map_device(two_cells(reg), two_cells(reg + 2));
    vas.paste = two_cells(reg + 4);
    vas.windows = fdt_u32(node, "ibm,vas-windows", 0);
    vas.port = fdt_num(node, "ibm,vas-port", 0);
    int error = vas.contexts ? open_receive_windows() : -ENODEV;
    if (error)
        return error;
    return xics_connect(*irq, fault_interrupt) && kthread_start(fault_thread, NULL) ? 0 : -ENODEV;
}

/* ---- send windows ---- */

static u32 free_number(void)
{
    u32 id = FIRST_SEND;
    while (id < vas.windows && find_window(id))
        id++;
    return id;
}

static int open(struct vas_window *w)
{
    w->id = free_number();
    if (w->id == vas.windows)
        return -EAGAIN;
    w->paste = vas.paste + ((u64)w->id << WINDOW_SHIFT);
    put(w->id, PID, mfspr(SPR_PID));
    put(w->id, XLATE_MSR, XLATE_USER);
    put(w->id, FAULT_TX_WIN, FAULT_WINDOW);
    put(w->id, HV_INTR_SRC_RA, vas.port);
    put(w->id, PSWID, (u64)w->id << 32);                /* of VAS 0 */
    put(w->id, TX_WCRED, CREDITS(SEND_CREDITS));
    put(w->id, LRFIFO_WIN_PTR, RX_WINDOW);
    put(w->id, WINCTL, WINCTL_OPEN | WINCTL_PIN | WINCTL_TX_CREDITS | WINCTL_RX_CREDITS);
    return get(w->id, WINCTL) & WINCTL_OPEN ? 0 : -ENODEV;
}

static u32 credits_out(const struct vas_window *w) { return SEND_CREDITS - (u32)CREDITS_OF(get(w->id, TX_WCRED)); }

/* Requests that are queued, run, or have faulted are waited for; their faults find the window until then. */
static void close(struct vas_window *w)
{
    while (get(w->id, WIN_STATUS) & STATUS_BUSY)
        vas_nap(CLOSE_POLL_NS);
    put(w->id, WINCTL, get(w->id, WINCTL) & ~(WINCTL_PIN | WINCTL_OPEN));
    if (bug(BUG_VAS_FREE_EARLY))
        w->used = false;
    for (u32 n = 1; credits_out(w); n++) {
        if (n % WARN_EVERY == 0)
            kprintf("vas: pid %d stuck closing window %u: %u credits are out\n", w->pid, w->id, credits_out(w));
        vas_nap(CLOSE_POLL_NS);
    }
}

const struct vas_owner vas_native = {.name = "native", .init = init, .open = open, .close = close};
