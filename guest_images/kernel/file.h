/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files: there are only devices. A file is what open made; descriptors, which fork copies, and mappings refer to it. The device
 * hears of the end when the last of them has gone, in a task that may sleep.
 */
#ifndef VMEMU_FILE_H
#define VMEMU_FILE_H

#include "types.h"

struct task;
struct file;

struct device {
    const char *path;
    s64 (*open)(struct file *f);                            /* 0 or -errno */
    s64 (*ioctl)(struct file *f, u64 command, u64 arg);
    s64 (*map)(struct file *f, u64 len, u64 offset);        /* address in the current task's address space, or -errno */
    void (*release)(struct file *f);
};

struct file {
    u32 refs;                           /* atomic; 0: free */
    const struct device *device;
    void *data;                         /* the device's own */
};

void device_register(const struct device *d);
void file_get(struct file *f);
void file_put(struct file *f);          /* may sleep: no lock held */
void files_copy(struct task *to, const struct task *from);
void files_close(struct task *t);

/* ---- system calls of t, the current task ---- */
s64 file_open(struct task *t, u64 path);
s64 file_close(struct task *t, u64 fd);
s64 file_ioctl(struct task *t, u64 fd, u64 command, u64 arg);
s64 file_map(struct task *t, u64 fd, u64 len, u64 offset);

#endif
