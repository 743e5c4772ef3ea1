/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The interface between the common kernel (this folder) and one architecture (arch/<isa>/).
 *
 * FILES. An architecture provides, in arch/<isa>/:
 *   param.h      constants only, usable from .S: KBASE, RAM_BASE, USER_TOP, LINEAR_MAX, KPOOL_PAGES, NCPU, ISA_NAME (list below)
 *   trapframe.h  struct trapframe and the tf_*() accessors as static inline functions
 *   cpu.h        irq_enable/irq_disable/irq_save/irq_restore, arch_cpu, arch_relax as static inline functions
 *   kernel.ld    linker script (see IMAGE)
 *   *.S *.c      everything else; all of them are compiled and linked, no list to maintain
 * The include path is kernel/ then kernel/arch/<isa>/. struct context is private to the architecture.
 *
 * BOOT. Firmware jumps to the ELF entry (physical). Arch code on CPU 0 makes the linear map (all RAM up to LINEAR_MAX at KBASE,
 * big pages, kernel only), moves to virtual addresses on a boot stack of at least 8 KiB in .bss and calls kmain(dtb), dtb being
 * the device tree's linear-map address. arch_write must work from then on, before arch_init. kmain then does: device tree,
 * command line, pinned pool, frames (kalloc works from here), arch_init, first task, scheduler (never returns; the boot stack
 * stays in use as CPU 0's scheduler and idle stack).
 *
 * STACKS. A task's kernel stack is KSTACK_SIZE bytes of pinned pool, aligned to KSTACK_SIZE. A trap from user mode starts at its
 * top: the trapframe is exactly [top - sizeof(struct trapframe), top), and sizeof(struct trapframe) is a multiple of 16. Traps
 * from kernel mode nest below on the same stack. The scheduler tells arch the next task's top with arch_set_kstack.
 *
 * CPUS. CPU 0 starts the others, one after the other (arch_start_cpu). One that starts makes itself like CPU 0 after boot (linear
 * map, arch_cpu() right, interrupts off) and calls cpu_main on the stack it was given. That stack is its scheduler and idle stack.
 *
 * INTERRUPTS. Arch enters every trap_*() below with interrupts off. System calls and what a task has done wrong run with interrupts
 * on (the common code turns them on and off again); all other handlers, the scheduler and every spinlock holder run with interrupts off. The kernel is not
 * preempted: an interrupt taken in kernel mode returns to the same place, and a switch happens only in trap_exit, sleep and exit.
 *
 * LOCKS. Spinlocks disable interrupts while held and are released in the reverse order: other locks -> tasks lock ->
 * pool/frame locks -> console lock. An address space has a mutex, taken with no spinlock held. Who waits for other CPUs to drop
 * translations (tlb.c) holds no lock at all, so that a CPU which spins for a lock with interrupts off is never waited for in vain.
 *
 * IMAGE. kernel.ld defines kernel_start and kernel_end (virtual, page aligned, .bss included), kernel_phys_start and
 * kernel_phys_end (the same minus KBASE, absolute symbols), places .text and .rodata in pages that hold no written data, keeps
 * .note.vmemu in a PT_NOTE segment (note.S makes the contents: the pinned physical range) and puts input sections named
 * .text.boot first.
 */
#ifndef VMEMU_ARCH_H
#define VMEMU_ARCH_H

#include "types.h"

/*
 * param.h defines:
 *   KBASE        u64: virtual address = KBASE + physical address (use UL suffix through _AC-like tricks or plain numbers for .S)
 *   RAM_BASE     physical address where RAM starts
 *   USER_TOP     first address above user space, at most 0x0000400000000000
 *   LINEAR_MAX   bytes of physical address space from 0 that the linear map covers; RAM above it is ignored
 *   KPOOL_PAGES  size of the pinned pool in pages (default 288): page tables, kernel stacks, everything from kalloc
 *   NCPU         most CPUs supported, at most 32
 *   TLB_BROADCAST  1: arch_tlb_flush_page and _all reach every CPU; 0: this one only, and common code sends interrupts
 *   ISA_NAME     "x86_64", "arm64" or "ppc64"
 */
#include "param.h"
#include "trapframe.h"
#include "cpu.h"

#ifndef KPOOL_PAGES
#define KPOOL_PAGES 288
#endif
#define HZ 100
#define KSTACK_SIZE 8192ull

#define ACC_READ 0
#define ACC_WRITE 1
#define ACC_EXEC 2

#define PROT_R 1
#define PROT_W 2
#define PROT_X 4
#define PROT_DEVICE 8                   /* not memory: uncached, in order (only ppc64 has such user pages) */

static inline void *pa_to_kva(u64 pa) { return (void *)(uptr)(KBASE + pa); }
static inline u64 kva_to_pa(const void *kva) { return (u64)(uptr)kva - KBASE; }

struct task;
struct context;
struct trapframe;

/* ---- arch -> common: called by arch code, implemented in this folder --------------------------------------------------- */

/* First C function of the common kernel, CPU 0, interrupts off, on the boot stack. */
NORETURN void kmain(void *dtb);

/* A system call from user mode. The pc in tf already points behind the instruction. Sets the result with tf_set_ret. */
void trap_syscall(struct trapframe *tf);

/*
 * A stage-1 fault at addr (exact byte). access: ACC_*. user: from user mode. present: a valid entry existed, i.e. a rights fault.
 * User faults are resolved or become SIGSEGV; a kernel fault panics. Arch-specific notifications that arrive as faults (async
 * page fault tokens) must be taken out by arch before it calls this.
 */
void trap_fault(struct trapframe *tf, u64 addr, int access, int user, int present);

/* Memory error (machine check, external abort) at addr, ~0 if unknown. User: SIGBUS. Kernel: panic. tf as interrupted. */
void trap_memory_error(struct trapframe *tf, u64 addr);

/* Undefined or privileged instruction, breakpoint, divide error, alignment, disabled FP... User: SIGILL. Kernel: panic. */
void trap_illegal(struct trapframe *tf);

/* The timer armed by arch_timer_set expired. Arch has acknowledged it. The common code arms the next one. */
void trap_timer(struct trapframe *tf);

/* A device or reschedule interrupt that arch has handled and acknowledged; lets the common code reconsider who runs. */
void trap_irq(struct trapframe *tf);

/* The interrupt of arch_send_ipi. Arch has acknowledged it: one that is sent from now on comes again. */
void trap_ipi(struct trapframe *tf);

/*
 * Arch calls this last on every way back to user mode (tf_from_user(tf) true), interrupts off, after the handler above.
 * May switch tasks, deliver signals (edit tf) or not return at all (task killed). Not called for returns to kernel mode.
 */
void trap_exit(struct trapframe *tf);

/* First common function of a CPU that arch_start_cpu started. */
NORETURN void cpu_main(void);

/* First function of a new task, run by the context that arch_task_setup made. */
NORETURN void task_start(void);

/* ---- common -> arch: CPU and devices ------------------------------------------------------------------------------------ */

/* Vectors, interrupt controller, timer, console input. Once, on CPU 0, interrupts off; may use kalloc and fdt_*. */
void arch_init(void);

/* The same for what each CPU has of its own; called by cpu_main on every other CPU. */
void arch_init_cpu(void);

/*
 * Start CPU number `cpu`, which the device tree calls hwid, with this stack. Returns 0 when it is on its way, or the machine's
 * error. The next one is started only after this one has come to cpu_main.
 */
int arch_start_cpu(int cpu, u64 hwid, u64 stack_top);

/* Interrupt the CPU with this number in the device tree: trap_ipi there, also when it is in arch_idle. Interrupts off. */
void arch_send_ipi(u64 hwid);

/* n bytes to the console, synchronously; works before arch_init. Adds no carriage return. */
void arch_write(const char *s, size_t n);

/* One byte from the console, or -1 when none is waiting. Never waits. */
int arch_getc(void);

/*
 * cpu.h, static inline:
 *   void irq_enable(void), irq_disable(void);
 *   u64  irq_save(void);             disable, return the previous state
 *   void irq_restore(u64 state);
 *   int  irq_enabled(void);
 *   int  arch_cpu(void);             0..NCPU-1, of this CPU; stable until the task sleeps, yields or returns to user mode
 *   void arch_relax(void);           hint inside spin loops
 */

/* Enable interrupts and wait for one, without a window in between; return with interrupts off after it was handled. */
void arch_idle(void);

/* Virtual time since boot in ns. Monotonic on one CPU; the clocks of two may differ a little: common code uses time_ns(). */
u64 arch_time_ns(void);

/* One-shot timer: trap_timer once, not earlier than ns_from_now (0: at once). Replaces the earlier one. TIMER_OFF: none. */
#define TIMER_OFF (~0ull)
void arch_timer_set(u64 ns_from_now);

/* Stop the machine with this status. */
NORETURN void arch_poweroff(int status);

/* Make instructions just written through the linear map at [kva, kva + len) visible to instruction fetch. */
void arch_sync_icache(void *kva, u64 len);

/*
 * Optional, with the kernel option "page-states": the frame at pa is about to be used, its contents do not matter yet; or it is free,
 * they matter no more (with a lock held).
 */
void arch_frame_used(u64 pa);
void arch_frame_free(u64 pa);

/* ---- common -> arch: user page tables ------------------------------------------------------------------------------------ */

/*
 * root is a physical address (or any non-zero arch handle). Tables come from kalloc / kalloc_order (zeroed, pinned). va is page
 * aligned and below USER_TOP; pa is page aligned; mappings are always user-accessible, 4 KiB. prot: PROT_* (PROT_R always set).
 */
u64 arch_pt_new(void);                                   /* 0 when out of pool memory */
void arch_pt_free(u64 root);                             /* frees the tables, not what they map; root is on no CPU */
int arch_map(u64 root, u64 va, u64 pa, int prot);        /* 0 or -ENOMEM; replaces an entry, the caller flushes */
u64 arch_unmap(u64 root, u64 va);                        /* physical address that was mapped, or 0; the caller flushes */
u64 arch_lookup(u64 root, u64 va, int *prot);            /* physical address and prot (may be NULL), or 0 */
void arch_tlb_flush_page(u64 va);                        /* of the current address space */
void arch_tlb_flush_all(void);                           /* the whole current address space (after fork made it read-only) */
void arch_switch_mm(u64 root);                           /* make it current, 0: kernel only; no other root's entry is used after */

/* ---- common -> arch: contexts -------------------------------------------------------------------------------------------- */

/* Save callee-saved state on this stack, store the stack pointer to *save, load the other. Interrupts off. */
void arch_switch(struct context **save, struct context *to);

/*
 * Prepare a context on the kernel stack below the trapframe so that the first arch_switch to it calls entry() with interrupts
 * off. kstack_top is the top of the task's stack. Returns the context. entry never returns.
 */
struct context *arch_task_setup(u64 kstack_top, void (*entry)(void));

/* The next trap from user mode on this CPU must use this kernel stack top. Interrupts off, before each switch to a task. */
void arch_set_kstack(u64 kstack_top);

/* Load tf (at the top of the current task's kernel stack) and go to user mode. Interrupts off. */
NORETURN void arch_return_user(struct trapframe *tf);

/* Fill tf for a first entry to user mode: zeroed registers, interrupts on, pc, sp (16-aligned) and two function arguments. */
void arch_user_init_tf(struct trapframe *tf, u64 pc, u64 sp, u64 arg0, u64 arg1);

/* tf came from user memory (sigreturn): force every field that user mode may not choose (mode, flags, selectors, pc range). */
void arch_sanitize_tf(struct trapframe *tf);

/* Print the registers in tf, a few lines, with kprintf (panic and killed tasks). */
void arch_dump_tf(const struct trapframe *tf);

/*
 * trapframe.h, static inline:
 *   u64  tf_nr(const tf)               system call number
 *   u64  tf_arg(const tf, int i)       system call argument 0..4 (x86 rdi rsi rdx r10 r8; arm64 x0-x4; ppc64 r3-r7)
 *   void tf_set_ret(tf, u64 v)         system call result (rax, x0, r3)
 *   u64  tf_pc(const tf); void tf_set_pc(tf, u64 v)
 *   u64  tf_sp(const tf); void tf_set_sp(tf, u64 v)
 *   void tf_set_arg(tf, int i, u64 v)  *function* argument register 0..3 (x86 rdi rsi rdx rcx; arm64 x0-x3; ppc64 r3-r6)
 *   int  tf_from_user(const tf)
 * ppc64: tf_set_pc also sets r12 (ELFv2 global entry).
 * A signal handler is entered at a runtime routine of the program with sp 16-aligned; nothing is pushed by the kernel
 * but the signal frame, no return address is set, so no further register convention is needed.
 */

#endif
