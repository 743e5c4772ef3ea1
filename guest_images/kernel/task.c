/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Life of a task: init, fork, exit, wait, kill. */
#include "apf.h"
#include "task.h"

static int next_pid = INIT_PID;

/* A new task with kernel stack that starts with entry, invisible to the scheduler. NULL when out of memory or slots. */
static struct task *task_new(struct mm *mm, void (*entry)(void))
{
    struct task *t = NULL;
    lock(&sched_lock);
    for (struct task *i = tasks; i < tasks + NTASK && !t; i++) {
        if (i->state == TASK_FREE)
            t = i;
    }
    if (t) {
        memset(t, 0, sizeof *t);
        t->state = TASK_NEW;
        t->pid = t->tgid = next_pid++;
        t->mm = mm;
        t->prio = PRIO_DEFAULT;
        t->cpus = ~0u;
    }
    unlock(&sched_lock);
    if (!t)
        return NULL;
    t->kstack = (u64)(uptr)kalloc_order(1);
    if (!t->kstack) {
        t->mm = NULL;
        t->state = TASK_FREE;
        return NULL;
    }
    t->ctx = arch_task_setup(kstack_top(t), entry);
    return t;
}

/* Give back a task that never ran or is a reaped zombie; its address space is already gone. */
static void task_free(struct task *t)
{
    kfree_order((void *)(uptr)t->kstack, 1);
    t->kstack = 0;
    t->pid = 0;
    t->parent = NULL;
    t->state = TASK_FREE;
}

static void let_run(struct task *t)
{
    lock(&sched_lock);
    make_runnable(t);
    unlock(&sched_lock);
}

void task_start(void)
{
    unlock(&sched_lock);        /* taken by the scheduler that switched here */
    struct trapframe *tf = task_tf(current());
    trap_exit(tf);
    arch_return_user(tf);
}

enum { MAX_ARGS = 24, ARGS_BYTES = 1024 };

/* Copy the words of args and the argv array to the top of the stack. Returns the new stack pointer, or 0. */
static u64 push_args(struct mm *mm, const char *args, u64 *argc, u64 *argv)
{
    u64 at[MAX_ARGS + 1], n = 0, len = strlen(args) + 1;
    u64 text = USTACK_TOP - ARGS_BYTES;
    char buf[ARGS_BYTES];
    if (len > sizeof buf)
        return 0;
    memcpy(buf, args, len);
    for (u64 i = 0; buf[i] && n < MAX_ARGS;) {
        at[n++] = text + i;
        while (buf[i] && buf[i] != ' ')
            i++;
        while (buf[i] == ' ')
            buf[i++] = 0;
    }
    at[n] = 0;
    *argc = n;
    *argv = text - sizeof at;
    if (copy_to_user(mm, text, buf, len) != 0 || copy_to_user(mm, *argv, at, sizeof at) != 0)
        return 0;
    return *argv & ~15ull;
}

void task_init(const void *image, u64 size, const char *args)
{
    struct mm *mm = mm_new();
    struct task *t = mm ? task_new(mm, task_start) : NULL;
    u64 entry, argc, argv, sp;
    struct region stack = {.start = USTACK_TOP - USTACK_SIZE, .end = USTACK_TOP, .prot = PROT_R | PROT_W};
    if (!t)
        panic("task_init: out of memory");
    int error = elf_load(mm, image, size, &entry);
    if (error)
        panic("task_init: the initrd is not a program for %s (error %d)", ISA_NAME, -error);
    if (vm_add(mm, &stack) != 0 || (sp = push_args(mm, args, &argc, &argv)) == 0)
        panic("task_init: no memory for the stack, or command line too long");
    arch_user_init_tf(task_tf(t), entry, sp, argc, argv);
    let_run(t);
}

/* What fork and thread have in common: t is the current task's child, in the same place with the same files. */
static s64 start_child(struct task *t, void (*change)(struct trapframe *tf, const u64 *args), const u64 *args)
{
    struct task *parent = current();
    s64 pid = t->pid;
    t->parent = parent;
    t->prio = parent->prio;
    t->cpus = parent->cpus;
    memcpy(t->sigactions, parent->sigactions, sizeof t->sigactions);
    memcpy(task_tf(t), task_tf(parent), sizeof(struct trapframe));
    change(task_tf(t), args);
    files_copy(t, parent);
    let_run(t);
    return pid;
}

static void fork_frame(struct trapframe *tf, UNUSED const u64 *args) { tf_set_ret(tf, 0); }

s64 task_fork(void)
{
    struct task *parent = current(), *t = NULL;
    struct mm *mm = mm_new();
    if (!mm)
        return -EAGAIN;
    s64 error = vm_fork(mm, parent->mm) == 0 ? 0 : -ENOMEM;
    if (!error && !(t = task_new(mm, task_start)))
        error = -EAGAIN;
    if (error) {
        mm_put(mm);
        return error;
    }
    t->sig_active = parent->sig_active;
    return start_child(t, fork_frame, NULL);
}

static void thread_frame(struct trapframe *tf, const u64 *args)
{
    tf_set_pc(tf, args[0]);
    tf_set_sp(tf, args[1]);
    tf_set_arg(tf, 0, args[2]);
}

s64 task_thread(u64 pc, u64 sp, u64 arg)
{
    struct task *parent = current(), *t = task_new(parent->mm, task_start);
    if (!t)
        return -EAGAIN;
    mm_get(parent->mm);
    t->tgid = parent->tgid;
    return start_child(t, thread_frame, (u64[]){pc, sp, arg});
}

static NORETURN void kthread_main(void)
{
    unlock(&sched_lock);        /* taken by the scheduler that switched here */
    irq_enable();
    struct task *t = current();
    t->kthread(t->kthread_arg);
    panic("kthread_main: task %d returned", t->pid);
}

struct task *kthread_start(void (*fn)(void *), void *arg)
{
    struct task *t = task_new(NULL, kthread_main);
    if (!t)
        return NULL;
    t->prio = PRIO_MAX;
    t->kthread = fn;
    t->kthread_arg = arg;
    let_run(t);
    return t;
}

/* The machine stops with task 1: its exit code, or 128 + the signal that killed it. */
static NORETURN void init_exit(u32 status)
{
    int sig = WTERMSIG(status);
    apf_shutdown();
    arch_poweroff(sig ? 128 + sig : (int)WEXITSTATUS(status));
}

void task_exit(u32 status)
{
    struct task *t = current();
    struct mm *mm = t->mm;
    lock(&sched_lock);
    t->exiting = true;
    unlock(&sched_lock);
    irq_enable();                       /* devices may have to be waited for */
    if (t->pid == INIT_PID) {
        vm_clear_devices(mm);
        files_close(t);
        init_exit(status);
    }
    t->mm = NULL;                       /* this task does not load it again */
    mm_put(mm);
    files_close(t);
    lock(&sched_lock);
    for (struct task *child = tasks; child < tasks + NTASK; child++) {
        if (child->parent == t)
            child->parent = &tasks[0];
    }
    t->status = status;
    t->state = TASK_ZOMBIE;
    for (struct task *waiter = tasks; waiter < tasks + NTASK; waiter++) {
        if (waiter->chan == t->parent || waiter->chan == &tasks[0])     /* task 1 may have inherited zombies */
            wake_task(waiter);
    }
    sched_exit();
}

/* A child of t in this state, or NULL. sched_lock held. */
static struct task *find_child(const struct task *t, bool zombie)
{
    for (struct task *child = tasks; child < tasks + NTASK; child++) {
        if (child->state != TASK_FREE && child->parent == t && (!zombie || child->state == TASK_ZOMBIE))
            return child;
    }
    return NULL;
}

s64 task_wait(u32 *status)
{
    struct task *t = current(), *child;
    s64 result = -ECHILD;
    lock(&sched_lock);
    while (!(child = find_child(t, true))) {
        if (!find_child(t, false))
            break;
        if (sleep_on(t, &sched_lock, FOREVER, true) == -EINTR) {
            result = -EINTR;
            break;
        }
    }
    if (child) {
        result = child->pid;
        *status = child->status;
        task_free(child);
    }
    unlock(&sched_lock);
    return result;
}

s64 task_kill(s64 pid, u64 sig)
{
    s64 result = -ESRCH;
    if (sig != SIGKILL && sig != SIGTERM)
        return -EINVAL;
    lock(&sched_lock);
    for (struct task *t = tasks; t < tasks + NTASK; t++) {
        if (t->state == TASK_FREE || t->state == TASK_NEW || t->state == TASK_ZOMBIE || t->pid != pid || !t->mm)
            continue;                   /* or it is a kernel thread, or ends already */
        t->killed = (int)sig;
        if (t->killable)
            wake_task(t);
        notice(t);
        result = 0;
    }
    unlock(&sched_lock);
    return result;
}
