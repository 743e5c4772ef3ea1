/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel and its programs agree on. System call registers: arch.h, trapframe.h; a negative result is -errno. */
#ifndef VMEMU_UAPI_H
#define VMEMU_UAPI_H

enum {
    SYS_exit = 0,       /* (status)                        does not return */
    SYS_write = 1,      /* (fd 1 or 2, buf, len)           bytes written */
    SYS_read = 2,       /* (fd 0, buf, len)                bytes read; waits for the first one */
    SYS_getpid = 3,     /* () */
    SYS_yield = 4,      /* () */
    SYS_fork = 5,       /* ()                              0 in the child */
    SYS_wait = 6,       /* (u32 *status or 0)              pid of a child that ended */
    SYS_brk = 7,        /* (new end or 0)                  end of the heap; -ENOMEM, -EINVAL */
    SYS_mmap = 8,       /* (len, prot)                     zeroed memory, somewhere; UPROT_SHARED: fork shares it */
    SYS_munmap = 9,     /* (addr, len)                     exactly one earlier mmap */
    SYS_time = 10,      /* ()                              ns since boot */
    SYS_sleep = 11,     /* (ns) */
    SYS_sigaction = 12, /* (sig, entry, handler)           entry 0: default action; 1: ignored when it is sent */
    SYS_sigreturn = 13, /* (frame)                         does not return on success */
    SYS_kill = 14,      /* (pid, SIGKILL or SIGTERM) */
    SYS_setprio = 15,   /* (0..PRIO_MAX)                   higher runs first */
    SYS_sysinfo = 16,   /* (struct sysinfo *) */
    SYS_getcpu = 17,    /* ()                              number of the CPU that runs this */
    SYS_setcpus = 18,   /* (mask of CPUs, or 0 for all)    run on these only, from now on; -EINVAL */
    SYS_hook = 19,      /* (HOOK_*, a, b)                  what only tests need; -ENOSYS: not on this machine */
    SYS_open = 20,      /* (path)                          descriptor of a device; -ENOENT, or what the device says */
    SYS_close = 21,     /* (fd)                            -EBADF */
    SYS_ioctl = 22,     /* (fd, command, argument)         -EBADF, -EFAULT, -EINVAL, ... */
    SYS_mapfile = 23,   /* (fd, len, offset)               address at which a page of the device is */
    SYS_thread = 24,    /* (pc, sp, argument)              a child in the same address space; exit ends it alone */
    NSYSCALL
};

/* A token is 0 or positive here; the results of the machine's own (from 32) are in arch/<isa>/hooks.c. */
enum {
    HOOK_TOKEN_WAIT = 1,        /* (token, ns)  1: has slept, 0: the wake had come first; ns: time between being told and waiting */
    HOOK_TOKEN_WAKE = 2,        /* (token) */
    HOOK_TOKEN_WAKE_SHARED = 3, /* (token) */
    HOOK_TOKEN_WAKE_ALL = 4,    /* ()           all that were told on this CPU */
    HOOK_MARKERS = 5,           /* (n)          markers at most, from now on */
    HOOK_APF_INFO = 6,          /* (struct apf_info *) */
    HOOK_ATOMIC_READ = 7,       /* (addr, 0 or 1) a byte of user memory, with interrupts on; 0: where the kernel must not sleep */
    HOOK_CPU_ONLINE = 8,        /* (n, 0 or 1)  take a CPU out of service or put it back; -EINVAL: there is no other */
    HOOK_TOKEN_HALT = 9,        /* (token)      wait where the kernel must not sleep: the CPU halts */
    HOOK_RDMSR = 32,            /* x86-64: (msr, u64 *)        -EINVAL: #GP */
    HOOK_WRMSR = 33,            /* x86-64: (msr, value) */
    HOOK_APF_HOLD = 35,         /* x86-64: (0 or 1)            this CPU's ready interrupt leaves the slot as it is */
    HOOK_APF_TAKE = 36,         /* x86-64: ()                  take what is in the slot now */
    HOOK_APF_WORDS = 37,        /* x86-64: ()                  reason, and token << 32 */
    HOOK_APF_NO_LAPIC = 34,     /* x86-64: ()                  register while the local APIC is disabled: the slot then; enable */
    HOOK_APF_AREA = 38,         /* x86-64: (n)                 physical address of CPU n's area */
    HOOK_SDEI_TEST = 48,        /* arm64: (n)                  failures of the n-th self-test; -EINVAL: no more of them */
    HOOK_SDEI_TAKE = 49,        /* arm64: ()                   count software's event on this CPU */
    HOOK_SDEI_SIGNAL = 50,      /* arm64: (n)                  send it to CPU n */
    HOOK_SDEI_TAKEN = 51,       /* arm64: ()                   how many came since, on all CPUs */
    HOOK_SDEI_RELEASE = 52,     /* arm64: ()                   count no more on this CPU */
    HOOK_HCALL = 64,            /* ppc64: (struct hypercall *) as the kernel, interrupts off */
    HOOK_GPA = 65,              /* ppc64: (addr)               guest-physical address of the caller's byte */
    HOOK_PEEK = 66,             /* ppc64: (gpa)                a byte */
    HOOK_POKE = 67,             /* ppc64: (gpa, byte) */
    HOOK_VPA = 68,              /* ppc64: (n)                  guest-physical address of the kernel's VPA of CPU n */
    HOOK_SNS = 69,              /* ppc64: ()                   and of its SNS area */
    HOOK_STRAY = 70,            /* ppc64: ()                   interrupts so far that nobody had asked for */
    HOOK_ROUTE = 71,            /* ppc64: (source)             let it interrupt this CPU; -EINVAL: there is none */
};

enum { SIGILL = 4, SIGBUS = 7, SIGKILL = 9, SIGSEGV = 11, SIGTERM = 15, NSIG = 32 };
enum { PRIO_DEFAULT = 4, PRIO_MAX = 7 };
enum { UPROT_READ = 1, UPROT_WRITE = 2, UPROT_EXEC = 4, UPROT_SHARED = 8 };
enum {
    EPERM = 1, ENOENT = 2, ESRCH = 3, EINTR = 4, EIO = 5, EBADF = 9, ECHILD = 10, EAGAIN = 11, ENOMEM = 12, EACCES = 13, EFAULT = 14,
    EBUSY = 16, EEXIST = 17, ENODEV = 19, EINVAL = 22, EMFILE = 24, ENOSYS = 38
};

/* wait() status: exit code in bits 15:8, or the killing signal in bits 6:0. */
#define WEXITED(status) (((status) & 0x7f) == 0)
#define WEXITSTATUS(status) (((status) >> 8) & 0xff)
#define WTERMSIG(status) ((status) & 0x7f)

/*
 * A signal enters the program at `entry` (the runtime's assembler) with the stack pointer at the 16-aligned signal frame and
 * four function arguments: sig, fault address, access (0 read, 1 write, 2 execute), handler.
 * sigreturn(frame) continues at the interrupted place.
 */

struct sysinfo {
    unsigned long long ram_bytes;       /* RAM that the kernel uses */
    unsigned long long user_pages;      /* frames for user memory in all */
    unsigned long long free_pages;      /* of them not promised to anyone */
    unsigned long long boot_ncpu;       /* CPUs that run */
};

struct apf_info {
    unsigned long long sleeping, markers, waits, wakes, early, halts, broadcasts, spins, asleep_ns;
    unsigned long long own_waits, own_ns;       /* of the task that asks: pages slept for, and how long */
    unsigned long long active;                  /* 1: this CPU takes notifications */
    char name[16];                              /* the front-end's */
};

struct hypercall {
    unsigned long long token, in[4];            /* r3, r4 to r7 */
    long long status;                           /* r3 */
    unsigned long long out[3];                  /* r4 to r6 */
};

#endif
