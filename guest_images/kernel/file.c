/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "file.h"
#include "task.h"

enum { NFILE = 64, NDEVICE = 4, PATH_MAX = 32 };

static struct file files[NFILE];
static const struct device *devices[NDEVICE];
static struct spinlock files_lock = SPINLOCK("files");

void device_register(const struct device *d)
{
    int i = 0;
    while (i < NDEVICE && devices[i])
        i++;
    if (i == NDEVICE)
        panic("device_register: no room for %s", d->path);
    devices[i] = d;
}

void file_get(struct file *f) { __atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED); }

void file_put(struct file *f)
{
    lock(&files_lock);
    bool last = f->refs == 1;           /* it stays 1, so that the slot is not taken before the device is done */
    if (!last)
        __atomic_fetch_sub(&f->refs, 1, __ATOMIC_RELAXED);
    unlock(&files_lock);
    if (!last)
        return;
    f->device->release(f);
    __atomic_store_n(&f->refs, 0, __ATOMIC_RELEASE);
}

void files_copy(struct task *to, const struct task *from)
{
    for (int fd = 0; fd < NFD; fd++) {
        to->files[fd] = from->files[fd];
        if (to->files[fd])
            file_get(to->files[fd]);
    }
}

void files_close(struct task *t)
{
    for (u64 fd = 0; fd < NFD; fd++)
        file_close(t, fd);
}

static struct file *file_new(const struct device *d)
{
    struct file *found = NULL;
    lock(&files_lock);
    for (struct file *f = files; f < files + NFILE && !found; f++) {
        if (__atomic_load_n(&f->refs, __ATOMIC_ACQUIRE) == 0)
            found = f;
    }
    if (found)
        *found = (struct file){.refs = 1, .device = d};
    unlock(&files_lock);
    return found;
}

/* The NUL-terminated text at va. */
static int copy_path(struct task *t, char *path, u64 va)
{
    for (int i = 0; i < PATH_MAX; i++) {
        if (copy_from_user(t->mm, path + i, va + (u64)i, 1) != 0)
            return -EFAULT;
        if (!path[i])
            return 0;
    }
    return -ENOENT;
}

s64 file_open(struct task *t, u64 va)
{
    char path[PATH_MAX];
    u64 fd = 0;
    int d = 0, error = copy_path(t, path, va);
    if (error)
        return error;
    while (d < NDEVICE && devices[d] && strcmp(devices[d]->path, path) != 0)
        d++;
    if (d == NDEVICE || !devices[d])
        return -ENOENT;
    while (fd < NFD && t->files[fd])
        fd++;
    struct file *f = fd < NFD ? file_new(devices[d]) : NULL;
    if (!f)
        return -EMFILE;
    s64 result = f->device->open(f);
    if (result) {
        f->refs = 0;
        return result;
    }
    t->files[fd] = f;
    return (s64)fd;
}

s64 file_close(struct task *t, u64 fd)
{
    struct file *f = fd < NFD ? t->files[fd] : NULL;
    if (!f)
        return -EBADF;
    t->files[fd] = NULL;
    file_put(f);
    return 0;
}

s64 file_ioctl(struct task *t, u64 fd, u64 command, u64 arg)
{
    struct file *f = fd < NFD ? t->files[fd] : NULL;
    return f ? f->device->ioctl(f, command, arg) : -EBADF;
}

s64 file_map(struct task *t, u64 fd, u64 len, u64 offset)
{
    struct file *f = fd < NFD ? t->files[fd] : NULL;
    return f ? f->device->map(f, len, offset) : -EBADF;
}
