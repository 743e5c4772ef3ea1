/* SPDX-License-Identifier: GPL-2.0-or-later */
/* System calls (uapi.h). Every pointer goes through copy_to_user or copy_from_user. */
#include "hooks.h"
#include "task.h"

static s64 sys_write(struct task *t, u64 fd, u64 va, u64 n)
{
    char buf[256];
    u64 done = 0;
    if (fd != 1 && fd != 2)
        return -EINVAL;
    while (done < n && !t->killed) {
        u64 part = n - done < sizeof buf ? n - done : sizeof buf;
        if (copy_from_user(t->mm, buf, va + done, part) != 0)
            return done ? (s64)done : -EFAULT;
        console_write(buf, part);
        done += part;
    }
    return (s64)done;
}

static struct spinlock input_lock = SPINLOCK("input");

/* The next console byte. Input has no interrupt: look once a tick. */
static s64 read_byte(void)
{
    int c;
    lock(&input_lock);
    while ((c = arch_getc()) < 0) {
        if (sleep_on(&input_lock, &input_lock, time_ns() + 1000000000ull / HZ, true) == -EINTR) {
            unlock(&input_lock);
            return -EINTR;
        }
    }
    unlock(&input_lock);
    return c;
}

/* Up to n bytes, ending after a newline. */
static s64 sys_read(struct task *t, u64 fd, u64 va, u64 n)
{
    u64 done = 0;
    if (fd != 0)
        return -EINVAL;
    while (done < n) {
        s64 c = read_byte();
        char byte = (char)c;
        if (c < 0)
            return c;
        if (copy_to_user(t->mm, va + done, &byte, 1) != 0)
            return -EFAULT;
        done++;
        if (byte == '\n')
            break;
    }
    return (s64)done;
}

static s64 sys_wait(struct task *t, u64 va)
{
    u32 status;
    s64 pid = task_wait(&status);
    if (pid > 0 && va && copy_to_user(t->mm, va, &status, sizeof status) != 0)
        return -EFAULT;
    return pid;
}

static s64 sys_sleep(u64 ns)
{
    static char never;          /* nobody wakes this channel */
    u64 now = time_ns(), until = now + ns < now ? FOREVER - 1 : now + ns;
    s64 result = 0;
    lock(&sched_lock);
    while (result == 0 && time_ns() < until)
        result = sleep_on(&never, &sched_lock, until, true);
    unlock(&sched_lock);
    return result == -EAGAIN ? 0 : result;
}

static s64 sys_sigaction(struct task *t, u64 sig, u64 entry, u64 handler)
{
    if ((sig != SIGSEGV && sig != SIGBUS && sig != SIGILL) || entry >= USER_TOP || handler >= USER_TOP)
        return -EINVAL;
    t->sigactions[sig] = (struct sigaction){entry, handler};
    return 0;
}

static s64 sys_setprio(struct task *t, u64 prio)
{
    if (prio > PRIO_MAX)
        return -EINVAL;
    t->prio = (int)prio;
    reschedule();           /* lowered below another's, it gives way at once */
    return 0;
}

static s64 sys_setcpus(struct task *t, u64 mask)
{
    u32 online = online_mask();
    if (mask && !(mask & online))
        return -EINVAL;
    lock(&sched_lock);
    t->cpus = mask ? (u32)(mask & online) : ~0u;
    bool here = t->cpus >> arch_cpu() & 1;
    unlock(&sched_lock);
    if (!here)
        yield();
    return 0;
}

static s64 sys_sysinfo(struct task *t, u64 va)
{
    struct sysinfo info = {mem_size, frames_total(), frames_uncommitted(), (u64)cpus_online()};
    return copy_to_user(t->mm, va, &info, sizeof info);
}

s64 syscall(struct trapframe *tf, bool *replaced)
{
    struct task *t = current();
    u64 a = tf_arg(tf, 0), b = tf_arg(tf, 1), c = tf_arg(tf, 2);
    s64 result;
    switch (tf_nr(tf)) {
    case SYS_exit: task_exit((u32)(a & 0xff) << 8);
    case SYS_write: return sys_write(t, a, b, c);
    case SYS_read: return sys_read(t, a, b, c);
    case SYS_getpid: return t->pid;
    case SYS_yield: yield(); return 0;
    case SYS_fork: return task_fork();
    case SYS_wait: return sys_wait(t, a);
    case SYS_brk: return vm_brk(t->mm, a);
    case SYS_mmap: return vm_mmap(t->mm, a, b);
    case SYS_munmap: return vm_munmap(t->mm, a, b);
    case SYS_time: return (s64)time_ns();
    case SYS_sleep: return sys_sleep(a);
    case SYS_sigaction: return sys_sigaction(t, a, b, c);
    case SYS_sigreturn:
        result = signal_return(tf, a);
        *replaced = result == 0;
        return result;
    case SYS_kill: return task_kill((s64)a, b);
    case SYS_setprio: return sys_setprio(t, a);
    case SYS_sysinfo: return sys_sysinfo(t, a);
    case SYS_getcpu: return arch_cpu();
    case SYS_setcpus: return sys_setcpus(t, a);
    case SYS_hook: return hook(t, a, b, c);
    case SYS_open: return file_open(t, a);
    case SYS_close: return file_close(t, a);
    case SYS_ioctl: return file_ioctl(t, a, b, c);
    case SYS_mapfile: return file_map(t, a, b, c);
    case SYS_thread: return a < USER_TOP && b < USER_TOP ? task_thread(a, b, c) : -EINVAL;
    default: return -ENOSYS;
    }
}
