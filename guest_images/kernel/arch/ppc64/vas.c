/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device /dev/crypto/nx-gzip: one window for each file that is opened. */
#include "vas.h"
#include "ppc64.h"

static const struct vas_owner *owner;
static struct mutex vas_mutex = MUTEX("vas");           /* of opening: the owner's setup, free slots */
static bool ready;
struct vas_window vas_windows[VAS_WINDOWS];

void vas_nap(u64 ns)
{
    static char never;          /* nobody wakes this channel */
    u64 until = time_ns() + ns;
    lock(&sched_lock);
    while (time_ns() < until)
        sleep_on(&never, &sched_lock, until, false);
    unlock(&sched_lock);
}

static struct vas_window *free_window(void)
{
    for (struct vas_window *w = vas_windows; w < vas_windows + VAS_WINDOWS; w++) {
        if (!w->used)
            return w;
    }
    return NULL;
}

/* What the window needs of its opener stays until it is closed: the page table, so that nobody else gets its PID meanwhile. */
static void take_opener(struct vas_window *w, const struct task *t)
{
    *w = (struct vas_window){.pid = t->pid, .tgid = t->tgid, .mm = t->mm};
    mm_grab(w->mm);
}

static void leave_opener(struct vas_window *w)
{
    mm_drop(w->mm);
    w->mm = NULL;
}

static s64 open_window(struct file *f)
{
    int error = ready ? 0 : owner->init();
    struct vas_window *w = error ? NULL : free_window();
    if (error)
        return error;
    ready = true;
    if (!w)
        return -EAGAIN;
    take_opener(w, current());
    error = owner->open(w);
    if (error) {
        leave_opener(w);
        return error;
    }
    __asm__ volatile(".long 0x7c00068c");               /* cpabort: what was copied before is not for this window */
    w->used = true;
    f->data = w;
    return 0;
}

static s64 vas_ioctl(struct file *f, u64 command, u64 arg)
{
    struct vas_tx_win_open_attr attr;
    if (command != VAS_TX_WIN_OPEN)
        return -EINVAL;
    if (copy_from_user(current()->mm, &attr, arg, sizeof attr) != 0)
        return -EFAULT;
    if (attr.version != 1 || (attr.vas_id != -1 && attr.vas_id != 0))
        return -EINVAL;
    mutex_lock(&vas_mutex);
    s64 result = f->data ? -EEXIST : open_window(f);
    mutex_unlock(&vas_mutex);
    return result;
}

static s64 vas_map(struct file *f, u64 len, u64 offset)
{
    const struct vas_window *w = f->data;
    if (!w || len == 0 || len > PAGE_SIZE || offset != 0)
        return -EINVAL;
    return vm_map_device(current()->mm, f, w->paste);
}

static s64 vas_open(UNUSED struct file *f) { return 0; }

static void vas_release(struct file *f)
{
    struct vas_window *w = f->data;
    if (!w)
        return;
    owner->close(w);
    leave_opener(w);
    __atomic_store_n(&w->used, false, __ATOMIC_RELEASE);
}

static const struct device nx_gzip = {
    .path = NX_DEVICE, .open = vas_open, .ioctl = vas_ioctl, .map = vas_map, .release = vas_release,
};

void vas_init(void)
{
    u64 address, size;
    u32 length;
    if (fdt_compatible_reg("ibm,vas", 0, &address, &size))
        owner = &vas_native;
    else if (fdt_prop("/ibm,platform-facilities/ibm,compression-v1", "compatible", &length))
        owner = &vas_powervm;
    else
        return;
    device_register(&nx_gzip);
}
