/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tasks, their memory, and the scheduler. */
#ifndef VMEMU_TASK_H
#define VMEMU_TASK_H

#include "file.h"
#include "kernel.h"
#include "mutex.h"

enum { NTASK = 64, NREGION = 16, NFD = 8, INIT_PID = 1 };
#define FOREVER (~0ull)

/*
 * User address space layout, the same for every task and architecture. Programs are linked at the text base. The stack lies in
 * the same gigabyte, and mmap far above, so that page tables stay few and all levels are used.
 */
#define UTEXT_MIN 0x10000000ull
#define UHEAP_MAX 0x30000000ull         /* brk stops here */
#define USTACK_TOP 0x3fff0000ull
#define USTACK_SIZE 0x40000ull          /* demand zero; below it is nothing */
#define UMMAP_BASE 0x200000000000ull
#define UMMAP_MAX 0x210000000000ull

/* A range of user addresses with one kind of contents: bytes of a file, then zeros. start == end: unused. */
struct region {
    u64 start, end;                     /* page aligned */
    int prot;                           /* PROT_* */
    bool shared;                        /* fork shares it for good; all of its pages are present */
    const u8 *file;                     /* contents of [file_start, file_end), NULL: all zero */
    u64 file_start, file_end;           /* user addresses */
    struct file *device;                /* its pages are not memory: they have no frames, and the kernel does not touch them */
};

/*
 * An address space. Threads share one; a driver may keep one for as long as its device uses the page table. When the last task
 * leaves it, its contents go (`users` 0); its page table, by then empty, goes with the last reference.
 */
struct mm {
    u32 users, refs;                    /* atomic; all users together count as one reference */
    u64 root;                           /* arch page table, 0: none */
    struct mutex lock;                  /* of what follows, and of the page table */
    struct region regions[NREGION];
    u64 brk_start, brk;                 /* heap; its region exists while brk > brk_start */
    u64 promised;                       /* frames reserved */
};

enum state { TASK_FREE, TASK_NEW, TASK_RUNNABLE, TASK_RUNNING, TASK_SLEEPING, TASK_ZOMBIE };

struct sigaction {
    u64 entry, handler;                 /* entry 0: default */
};

/* sched_lock protects everything but mm, files, sig*, which belong to the task itself. */
struct task {
    enum state state;
    int pid;
    int tgid;                           /* pid of the task that made the address space: the same for all of its threads */
    int prio;
    u32 cpus;                           /* CPUs that may run it, one bit each */
    struct task *parent;
    const void *chan;                   /* sleeping on */
    u64 wake_at;                        /* sleeping until, FOREVER: no limit */
    bool killable;                      /* the sleep ends when the task is killed */
    bool timed_out;                     /* why it ended */
    int killed;                         /* signal that will end it, 0: none */
    int sig_pending;                    /* signal that was sent to it and not taken yet, 0: none ... */
    u64 sig_addr;                       /* ... and its address */
    bool exiting;                       /* it does not go back to user mode */
    u32 status;                         /* of a zombie, for wait */
    u64 kstack;                         /* lowest address */
    struct context *ctx;                /* where to continue, while not running */
    struct mm *mm;                      /* NULL: a kernel thread, or it has ended */
    struct file *files[NFD];
    void (*kthread)(void *);            /* of a kernel thread */
    void *kthread_arg;
    struct sigaction sigactions[NSIG];
    u32 sig_active;                     /* signals whose handler runs, one bit each */
    u64 ran_ns;                         /* time that it has had a CPU */
    bool ahead;                         /* goes before others of its priority, once */
    u64 apf_waits, apf_ns;              /* how often and how long it has slept for pages (apf.h) */
};

/* What one CPU asks others to forget: translations of [start, end) of an address space, or all of it when start == end. */
struct flush {
    u64 root, start, end;
    u32 waiting;                        /* CPUs that have not done it yet, one bit each; atomic */
};

struct cpu {
    struct task *task;                  /* running here, NULL: scheduler or idle */
    struct context *ctx;                /* of the scheduler */
    u64 mm_root;                        /* loaded page table, 0: kernel only. Other CPUs read it */
    u64 since;                          /* the running task has it since then */
    u64 slice_end;                      /* the running task's, FOREVER when idle */
    u64 armed;                          /* time for which the timer is set, FOREVER: off; sched_lock */
    u64 hwid;                           /* what the device tree calls it */
    bool online;                        /* it runs tasks; changed by the CPU itself */
    bool leave;                         /* it shall not run tasks; sched_lock */
    bool idle;                          /* nobody needs to tell it to look for work, or it waits to be told; sched_lock */
    bool need_resched;                  /* set by any CPU, with sched_lock */
    int locks;                          /* spinlocks held */
    int atomic;                         /* sections that must not sleep though interrupts are on; the CPU itself */
    bool apf;                           /* the hypervisor may notify this CPU; set by the CPU itself */
    u32 ipi;                            /* IPI_* not served yet; atomic */
    u32 flush_from;                     /* CPUs whose flush is not done here yet, one bit each; atomic */
    struct flush flush;
};

extern struct cpu cpus[NCPU];
extern struct task tasks[NTASK];
extern struct spinlock sched_lock;

static inline struct cpu *mycpu(void) { return &cpus[arch_cpu()]; }     /* interrupts off */
struct task *current(void);             /* panics outside of a task */
static inline u64 kstack_top(const struct task *t) { return t->kstack + KSTACK_SIZE; }
static inline struct trapframe *task_tf(const struct task *t)
{
    return (struct trapframe *)(uptr)(kstack_top(t) - sizeof(struct trapframe));
}

/* ---- sched.c ---- */
NORETURN void scheduler(void);
void yield(void);                       /* let others of the same priority run */
/*
 * Release l, sleep until wakeup(chan) or the time until (ns, FOREVER: none), take l again. Nothing is missed in between.
 * Returns 0, -EAGAIN when the time came, -EINTR when killable and the task was killed, or has a signal to take. May return early:
 * check your condition.
 */
int sleep_on(const void *chan, struct spinlock *l, u64 until, bool killable);
void wakeup(const void *chan);          /* every sleeper on chan becomes runnable */
void wake_task(struct task *t);         /* the same for one task; sched_lock held */
void wake_for_page(struct task *t);     /* the same for one that has not slept of its own will */
void make_runnable(struct task *t);     /* and let a CPU notice; sched_lock held */
void hand_over(u32 others);             /* this CPU will run none: these others look for work; sched_lock held */
void notice(struct task *t);            /* if it runs, look at it on the way back to user mode; sched_lock held */
void reschedule(void);                  /* reconsider who runs, on the way back to user mode */
NORETURN void sched_exit(void);         /* sched_lock held, task is a zombie: leave it for good */

/* ---- timer.c ---- */
u64 time_ns(void);                      /* since boot; never goes back, on whichever CPU one looks */
/* Set this CPU's timer for the end of its slice, or for the next sleeper if no other CPU sees to it; sched_lock held. */
void timer_arm(u64 due);
u64 timer_expire(u64 now);              /* wake due sleepers, return the next due time; sched_lock held */

/* ---- smp.c ---- */
enum { IPI_RESCHED = 1, IPI_FLUSH = 2, IPI_STOP = 4, IPI_APF = 8 };
void smp_init(void);                    /* start the other CPUs of the device tree */
int cpus_online(void);
u32 online_mask(void);
void send_ipi(struct cpu *c, u32 kind); /* not to oneself */
s64 cpu_set_online(u64 n, bool on);     /* take a CPU out of service or put it back, and wait until it is so */
void cpu_leave(void);                   /* in the scheduler of a CPU that shall leave: comes back when it is called back */
void stop_others(void);                 /* they spin for ever; for panic */
NORETURN void stop_this(void);

/* ---- tlb.c: no lock held ---- */
/* Translations of user addresses [start, end) of the current task's address space are forgotten everywhere when it returns. */
void tlb_flush(const struct mm *mm, u64 start, u64 end);
void tlb_flush_all(const struct mm *mm);
void mm_unload(u64 root);               /* no CPU has it loaded any more; it stays unloaded while its task does not run */
void tlb_serve(void);                   /* do what others ask for; interrupts off */

/* ---- task.c ---- */
void task_init(const void *image, u64 size, const char *args);      /* create task 1 from an ELF file */
s64 task_fork(void);
s64 task_thread(u64 pc, u64 sp, u64 arg);       /* a child in the same address space: enters pc with arg, on that stack */
/* A task of the kernel's own, with the highest priority: calls fn(arg) with interrupts on, which never returns. NULL: no memory. */
struct task *kthread_start(void (*fn)(void *), void *arg);
NORETURN void task_exit(u32 status);
s64 task_wait(u32 *status);
s64 task_kill(s64 pid, u64 sig);

/* ---- mm.c: no lock held ---- */
struct mm *mm_new(void);                /* empty, with one user; NULL: no memory */
void mm_get(struct mm *mm);             /* one more user */
void mm_put(struct mm *mm);             /* one less; may sleep until devices have let go of what was mapped of them */
void mm_grab(struct mm *mm);            /* one more reference: struct and page table stay */
void mm_drop(struct mm *mm);

/* ---- vm.c: with mm->lock held, or before anybody else sees the address space ---- */
/* Add a region of promised memory. r is copied. -EINVAL: overlap, -ENOMEM: too little memory or too many regions. */
int vm_add(struct mm *mm, const struct region *r);
/* Make the page at va accessible. 0, -EFAULT: not allowed, -ENOMEM. */
int vm_fault_locked(struct mm *mm, u64 va, int access);
/* ---- vm.c: they take it ---- */
void vm_clear(struct mm *mm);           /* drop everything; not loaded on any CPU */
void vm_clear_devices(struct mm *mm);   /* drop what is mapped of devices; the current task's */
int vm_fork(struct mm *child, struct mm *parent);
int vm_fault(struct mm *mm, u64 va, int access);
s64 vm_map_device(struct mm *mm, struct file *device, u64 pa);  /* one page of a device, somewhere; takes a reference to it */
void vm_refill(struct mm *mm, u64 va);  /* the page at va has lost its contents: give it those of its first touch */
s64 vm_brk(struct mm *mm, u64 end);
s64 vm_mmap(struct mm *mm, u64 len, u64 prot);
s64 vm_munmap(struct mm *mm, u64 addr, u64 len);

/* ---- uaccess.c: user memory is reached through the linear map. 0 or -EFAULT. They take mm->lock. ---- */
int copy_to_user(struct mm *mm, u64 va, const void *src, u64 n);
int copy_from_user(struct mm *mm, void *dst, u64 va, u64 n);

/* ---- elf.c ---- */
/* Map the file's segments lazily; *entry: where to start. 0, -EINVAL (bad file) or -ENOMEM. */
int elf_load(struct mm *mm, const u8 *image, u64 size, u64 *entry);

/* ---- signal.c ---- */
void signal_fault(struct trapframe *tf, int sig, u64 addr, int access);     /* enter the handler or kill */
/* Send a signal with an address to a process: whichever of its tasks can takes it, on its way to user mode. */
void signal_send(int tgid, int sig, u64 addr);
void signal_deliver(struct trapframe *tf);      /* take what was sent */
bool signal_waits(const struct task *t);        /* is there something that it can take? */
s64 signal_return(struct trapframe *tf, u64 frame);                         /* on success tf is replaced */

/* ---- syscall.c ---- */
s64 syscall(struct trapframe *tf, bool *replaced);      /* *replaced: tf already holds what user mode shall see */

#endif
