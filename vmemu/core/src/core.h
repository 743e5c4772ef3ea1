/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * core.h - the one header of vmemu's C unit.
 *
 * Layers, lowest first; a file uses only what stands above it here:
 *
 *   uclib.c     libunicorn's functions, resolved from the wheel's shared library
 *   ring.c      event ring, drained by Python in batches
 *   tokens.c    hash tables u64 -> u64 (hot token and gfn tables)
 *   crc32c.c    page checksum
 *   stage2.c    guest frame -> host frame, states, reclaim, the built-in `ram:` store
 *   cost.c      blocks: instruction count and cycle cost, a pure function of code bytes
 *   mmu.c       TLB fill = stage-1 walk (walk_<isa>.c) + stage-2 lookup
 *   engine.c    the block hook: counting, limits, remainders of blocks
 *   vcpu.c      machines and vCPUs: opening Unicorn, device windows, address hooks
 *   run.c       run loop and exits
 *   debug.c     traps of a debugger: breakpoints, watchpoints
 *   turns.c     which vCPUs may run
 *   snapshot.c  snapshots in memory
 *   arch_<isa>  walk_<isa>.c  decode_<isa>.c  entry_<isa>.c  sense_<isa>.c behind `struct arch`
 *
 * Time: `cycles` counts 1/64 cycle (CYC), so sums are exact and independent of order.
 */
#ifndef VMEMU_CORE_H
#define VMEMU_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unicorn/unicorn.h>

#include "public.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

#define PAGE_SHIFT 12
#define PAGE_SIZE 4096u
#define PAGE_MASK (~(u64)(PAGE_SIZE - 1))
#define CYC 64u                     /* fixed point: 64 = one cycle */
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct machine;
struct vcpu;

/* ------------------------------------------------------------------ uclib */
/* Public functions of libunicorn 2.1.4 and the few private ones that are used. */
struct uclib {
    uc_err (*open)(uc_arch, uc_mode, uc_engine **);
    uc_err (*close)(uc_engine *);
    uc_err (*ctl)(uc_engine *, uc_control_type, ...);
    uc_err (*emu_start)(uc_engine *, u64, u64, u64, size_t);
    uc_err (*emu_stop)(uc_engine *);
    uc_err (*hook_add)(uc_engine *, uc_hook *, int, void *, void *, u64, u64, ...);
    uc_err (*hook_del)(uc_engine *, uc_hook);
    uc_err (*mem_map_ptr)(uc_engine *, u64, size_t, u32, void *);
    uc_err (*mmio_map)(uc_engine *, u64, size_t, uc_cb_mmio_read_t, void *, uc_cb_mmio_write_t, void *);
    uc_err (*reg_read)(uc_engine *, int, void *);
    uc_err (*reg_write)(uc_engine *, int, const void *);
    uc_err (*context_alloc)(uc_engine *, uc_context **);
    uc_err (*context_save)(uc_engine *, uc_context *);
    uc_err (*context_restore)(uc_engine *, uc_context *);
    size_t (*context_size)(uc_engine *);
    uc_err (*context_free)(uc_context *);
    const char *(*strerror)(uc_err);
    unsigned (*version)(unsigned *, unsigned *);
    void *handle;                                       /* for dlsym of per-architecture private functions */
};
extern struct uclib UC;
int uclib_load(const char *path);                       /* 0, or -1 with core_error() set */
void *uclib_symbol(const char *name, const char *suffix); /* e.g. ("tb_invalidate_phys_range", "x86_64"); NULL if absent */
const char *core_error(void);
int core_fail(const char *fmt, ...);                    /* sets core_error(), returns -1 */

/* ------------------------------------------------------------------- ring */
/* Names and the meaning of a, b, c: vmemu/core/events.py. From EV_PROTOCOL on they belong to protocols, written in Python. */
enum ev_kind {
    EV_NONE, EV_GUEST_FAULT, EV_STAGE2, EV_ZERO, EV_SWAP_IN, EV_SWAP_OUT, EV_CLEAN_DROP, EV_ZERO_DROP,
    EV_EXCEPTION, EV_IRQ, EV_HALT, EV_MEM_ERROR, EV_WAKE, EV_SYSCALL, EV_RETURN, EV_IO, EV_HCALL, EV_PROTOCOL = 64
};
enum { EVF_USER = 1 };                                  /* flags: the vCPU was in user mode */
#define NO_VCPU 0xffffu                                 /* the host itself */
#define NO_TASK (~0ull)
struct event { u64 cycles, insns, pc, task; u32 kind; u16 vcpu, flags; u64 a, b, c; };
struct ring {
    struct event *ev; u64 head, tail, size, lost;
    void (*full)(void *ctx); void *ctx;                 /* called when there is no room: drains, or the oldest event is lost */
    u64 task_gpa; u32 ntasks;                           /* where the guest says which task runs: a u64 for each vCPU; 0: it does not */
};
u32 ring_drain(struct ring *, struct event *out, u32 max);  /* oldest first */
/* v NULL: the host's own doing. Free when no ring is there. */
void event_record(struct machine *, struct vcpu *, u32 kind, u64 a, u64 b, u64 c);
void event_at(struct machine *, struct event);          /* one that is filled in already */
struct event event_now(struct machine *, struct vcpu *);/* time, place and task of an event that happens now */
void sense(struct vcpu *, u64 va, const u8 *page);      /* the architecture's sense(), and returns when traced */

/* ----------------------------------------------------------------- tokens */
struct table { u64 *keys; u32 mask, live; };            /* keys[2i], its value in keys[2i + 1]; key 0 is reserved (tokens.c) */
int table_init(struct table *, u32 capacity_log2);
void table_free(struct table *);
int table_put(struct table *, u64 key, u64 val);        /* 1 inserted, 0 replaced, -1 no memory or key 0; grows at 50 % */
int table_get(const struct table *, u64 key, u64 *val); /* 1 found */
int table_del(struct table *, u64 key, u64 *val);       /* 1 found and removed */

/* ----------------------------------------------------------------- crc32c */
u32 crc32c(const void *data, size_t len);               /* Castagnoli, reflected 0x82F63B78 (RFC 3720 B.4); SSE4.2 or ARMv8 CRC when present */

/* ----------------------------------------------------------------- stage2 */
enum s2_state { S2_NONE, S2_ZERO, S2_RESIDENT, S2_SWAPPED, S2_BAD };
enum { S2F_ACCESSED = 1, S2F_DIRTY = 2, S2F_PINNED = 4 };
#define NO_FRAME 0xffffffffu
#define NO_SLOT 0xffffffffu

struct s2_page { u8 state, flags; u16 pad; u32 frame, slot, crc; };
/* state ZERO: never touched, or dropped while all zero. SWAPPED: slot and crc are valid. RESIDENT: frame valid; slot is a still valid
 * clean copy unless DIRTY or NO_SLOT. BAD: the store could not give it back; any touch is a memory error. */

struct region { u64 gpa, size; u64 first; };            /* a range of guest RAM; `first` = index of its first page in s2[] */
struct frame {
    u32 page, serial, wgen;                             /* owner (index in s2[] or NO_FRAME); when served; flush_gen of the last fast fill for writing */
    u16 fetchers;                                       /* vCPUs that may hold translations of it: while one does, nobody else may write it */
    u8 writer;                                          /* 1 + the fetcher that writes it through the slow, invalidating path; 0: none */
};
#define RECENT 32                                       /* pages served last are never the next victims: one x86 instruction can need
                                                         * 2 code + 4 data pages and the tables of each */

#define S2_CHUNK 256
#define MAX_REGIONS 8
#define MAX_VCPUS 16
#define FRAME_BASE 0ull                                 /* Unicorn "physical" addresses: frame pool from here ... */
#define MMIO_BASE (1ull << 38)                          /* ... device windows here, one page each ... */
#define MAX_MMIO 1024                                   /* 16 GICv3 redistributors are 512 */
#define WATCH_BASE (MMIO_BASE << 1)                     /* ... and all of guest RAM once more, in the order of s2[], for pages that are watched */

struct store_timing { u64 latency; u32 depth; u64 busy[64]; };  /* cycles (CYC); busy[i] = when server i is free */

struct s2_stats { u64 zero, swap_in, swap_out, clean_drop, zero_drop, resident, resident_peak, evictions, flushes, corrupt; };

/* What a caller that needs a page gets back. */
enum s2_result { S2_OK, S2_NOT_RAM, S2_MISS, S2_ERROR };

int s2_add_region(struct machine *, u64 gpa, u64 size);
i64 s2_index(const struct machine *, u64 gpa);          /* page index, or -1: not RAM */
u64 s2_gpa(const struct machine *, u32 index);
int s2_pin(struct machine *, u64 lo, u64 hi);           /* [lo, hi): resident now and for ever; -1 when no frames are left */
/* Make the page at gpa resident if that needs no Python: resident, zero, or in the C store. S2_MISS: Python must serve it. */
enum s2_result s2_ensure(struct machine *, struct vcpu *, u64 gpa, bool write);
/* Host pointer to a resident page's bytes at gpa (within one page), or NULL. `write` marks it dirty and drops translations. */
u8 *s2_ptr(struct machine *, u64 gpa, bool write);
/* A store kept by Python: free frames (clean and zero pages at once; dirty ones are listed in out[] for s2_evicted), then fill one. */
u32 s2_reclaim(struct machine *, struct vcpu *, u32 *out, u32 max);
int s2_evicted(struct machine *, struct vcpu *, u32 page, u32 slot);
int s2_swap_out(struct machine *, u32 page);            /* one page to the store now; 1: Python must write it out */
int s2_page_in(struct machine *, struct vcpu *, u32 page, const u8 *bytes);
void s2_bad(struct machine *, u32 page);                /* its content is lost: every later touch is a memory error */
int s2_peek(struct machine *, u32 page, u8 *out);       /* its 4096 bytes wherever they are, without a trace */
u32 s2_batch(const struct machine *);                   /* victims taken at once */
/* The guest gives a page back: it reads as zeros from now on. A busy frame stays, nobody's, until its last user frees it. */
int s2_discard(struct machine *, u32 page);
int s2_free_frame(struct machine *, u32 frame);
u8 *s2_frame(struct machine *, u32 frame, bool write);  /* its bytes; `write` as for s2_ptr() */
u64 store_charge(struct machine *, u64 now);            /* completion time of one request issued at `now` */
u32 store_server(const struct machine *);               /* which server the next request will get */
int s2_init(struct machine *, u32 nframes);
int s2_use_c_store(struct machine *);
void s2_free(struct machine *);
void s2_drop_code(struct machine *, u32 frame);         /* forget translations made from this frame, on every vCPU */
void s2_flush_all(struct machine *);                    /* every soft TLB; starts an epoch of accessed bits */

/* --------------------------------------------------------------- snapshot */
/* In memory. Taking one copies the bookkeeping and flushes the soft TLBs; a frame is copied when it is first written afterwards.
 * Snapshots form a chain; restoring one discards the newer ones and keeps itself. */
struct snapshot *snap_take(struct machine *);
int snap_restore(struct machine *, struct snapshot *);
int snap_drop(struct machine *, struct snapshot *);     /* any of the chain */
u32 snap_pages(const struct snapshot *);                /* frames copied so far */
void snap_copy(struct machine *, u32 frame);            /* before the frame's first change */
bool snap_has(const struct machine *, u32 frame);       /* the newest snapshot has its copy, or there is none */
bool snap_owns_slot(const struct machine *, u32 slot);
u32 snap_spare_slots(struct machine *);                 /* of the C store; those of snapshots that are gone are found again first, if few are left */
void snap_sweep_slots(struct machine *);
void snap_free(struct machine *);
u32 snap_seq(const struct machine *);

/* On disk (persist.c): the same bookkeeping, checked when it comes back; registers go by name, bytes of frames and slots by Python. */
struct saved_memory {
    u32 npages, nframes, nfree, hand, serial, slot_next, nslot_free, c_store;
    struct store_timing timing;
    struct s2_stats stats;
};
void persist_memory_save(const struct machine *, struct saved_memory *, u32 *frames, u32 *free_list);
u32 persist_slots(const struct machine *, u32 *out);    /* free slots, the next one last; out: room for slot_next */
int persist_memory_load(struct machine *, const struct saved_memory *, const struct s2_page *, const u32 *frames, const u32 *free_list,
                        const u32 *slot_free);
void persist_vcpu_save(struct vcpu *, void *out);
int persist_vcpu_load(struct vcpu *, const void *in);
u32 persist_vcpu_size(void);
u32 table_dump(const struct table *, u64 *out);         /* key, value pairs; out: room for 2 * live */
/* Short digests for a recording: 16 bits of each register, 32 of each group of 1 << shift pages (0: all zero). */
void digest_registers(struct vcpu *, u32 n, u16 *out);
void digest_pages(struct machine *, u32 shift, u32 *out);

/* ------------------------------------------------------------------- cost */
#define BLOCK_BYTES_MAX 4352                            /* Unicorn cuts a block at a page border; an x86 instruction may straddle it */
struct block {                                          /* what the block hook needs first: one cache line */
    u64 addr, tag;                                      /* tag = vcpu.epoch | size */
    u32 n, cost[2], size;                               /* instructions; CYC on entry: [0], and [1] when it follows itself */
    const u64 *starts;                                  /* x86: bit i set = an instruction starts at byte i; NULL: 4-byte instructions */
} __attribute__((aligned(64)));
struct decoded { u32 n, cost, loop; u64 starts[(BLOCK_BYTES_MAX + 63) / 64]; };

struct cost_cache;
struct cost_cache *cost_new(void);
void cost_free(struct cost_cache *);
/* Fill *b (n, cost, size, starts) for `size` bytes of code; pure in (bytes, mode). */
void cost_lookup(struct vcpu *, const u8 *code, u32 size, struct block *b);
u32 block_index(const struct block *, u64 pc);          /* instructions of b before pc; b->n when pc is not inside */
u64 block_address(const struct block *, u32 index);     /* address of instruction `index` (index <= n; n = end) */

/* ------------------------------------------------------------------ walks */
enum access { ACC_READ, ACC_WRITE, ACC_FETCH };
enum walk_status { WALK_OK, WALK_FAULT, WALK_S2 };      /* guest fault | a table page is not resident (gpa = that page) */
struct walk {
    u64 gpa;                                            /* of the byte asked for (WALK_OK), or the missing table entry's (WALK_S2) */
    u32 prot;                                           /* UC_PROT_* allowed for this mode (WALK_OK) */
    u32 fault;                                          /* architecture's own code: x86 #PF error code, arm64 FSC, ppc64 DSISR bits (WALK_FAULT) */
    bool user;                                          /* mode the walk was made for */
    bool table_error;                                   /* WALK_FAULT because a table lies outside RAM, or is unreadable */
};

/* ------------------------------------------------------------------ exits */
enum exit_kind {
    EXIT_NONE, EXIT_LIMIT,                              /* cycle or instruction limit reached; nr = 1: the latter, amid a turn */
    EXIT_STAGE2,                                        /* page not resident and Python must give it: gpa, gva, access; nr = enum stage2 */
    EXIT_HALT,                                          /* HLT, WFI, ... and no interrupt deliverable */
    EXIT_HCALL,                                         /* sc 1, HVC, SMC, VMCALL: nr = architecture's selector; registers hold the rest */
    EXIT_IRQ_WINDOW,                                    /* x86: INTR line high and interruptible; Python asks its controller for the vector */
    EXIT_MEM_ERROR,                                     /* store failed: Python decides how to tell the guest (gpa, gva, access) */
    EXIT_FATAL,                                         /* triple fault, unhandled exception without vector: `why` */
    EXIT_STOP,                                          /* a device asked to stop */
    EXIT_ERROR,                                         /* engine failure: core_error() */
    EXIT_DEBUG                                          /* a debugger's trap, amid a turn: no part of the path */
};
enum stage2 { STAGE2_ENTERING = 1, STAGE2_REPEATED = 2 };  /* bits: needed to enter an exception; its gfn is in the table of gfns */
struct vm_exit {
    u32 kind, access, size, nr;
    u64 gpa, gva, pc, insns, cycles;
    const char *why;
};

/* What the host's work costs the guest, in CYC (cycles.md 5: a VM exit and entry 1,000-2,000 cycles, a fault through a whole kernel
 * 3,280): the same for every engine and store, so that results never depend on who served what. */
#define COST_EXIT (1500 * CYC)                          /* hypercall, device or register access, stage-2 fault, interrupt window */
#define COST_ENTRY (100 * CYC)                          /* an exception or interrupt entered */

/* Synchronous device access, served in Python (cffi callback). Reads put the answer in *value. */
enum io_kind { IO_MMIO_READ, IO_MMIO_WRITE, IO_PORT_IN, IO_PORT_OUT, IO_REG_READ, IO_REG_WRITE, IO_CPUID, IO_RECLAIM, IO_PASTE };
/* IO_REG_*: MSR number; arm64 packed op0:op1:crn:crm:op2 (2,3,4,4,3 bits); ppc64 SPR number */
/* IO_CPUID (x86): addr = subleaf << 32 | leaf, value has four elements, EAX to EDX */
/* IO_RECLAIM: a batch of victims is due; *value = by how many eighths of the frames the clock hand is moved on first */
/* IO_PASTE (ppc64): 128 bytes, in memory order, for real address addr; value[0] = 1 when they were taken, 0 otherwise */
#define IO_X86_CR8 (1ull << 32)                         /* IO_REG_*: CR8, the task priority */
#define IO_X86_PAGING (IO_X86_CR8 + 1)                  /* IO_REG_WRITE: CR0.PG is about to change; only while `paged` */
enum io_result { IO_OK, IO_FAULT, IO_STOP };            /* FAULT: #GP / UNDEF / program interrupt; STOP: exit run loop after this instruction */
typedef int (*io_fn)(void *ctx, u32 vcpu, int kind, u64 addr, u32 size, u64 *value);

/* ----------------------------------------------------------------- debug */
#define MAX_BREAKS 256
#define MAX_WATCHES 64                                  /* a set of them is a u64 */
enum { WATCH_READ = 1, WATCH_WRITE = 2 };
enum trap_kind { TRAP_NONE, TRAP_BREAK, TRAP_WATCH, TRAP_ASKED };
struct watch { u64 gpa, size; u32 access; };            /* access 0: unused */
struct trap { u32 kind, vcpu, access, size; u64 pc, va, gpa; bool by_host; };   /* by_host: it was no instruction's own access, and it is made */
struct debug {
    struct table breaks;                                /* address + 1 */
    struct watch watch[MAX_WATCHES];
    u8 *pages;                                          /* of each page: accesses that some watch wants */
    struct trap trap, pending;                          /* the last one told; one that is told at the next block, while `stop` */
    bool stop, off;
};
struct debug_place { bool set; u64 insns, pc; };        /* before one instruction, once */

/* --------------------------------------------------------------- machine */
#define MAX_ANSWERS 16                                  /* hypercalls answered without an exit */
struct arch;
/* Who may run, the one furthest behind first; `near` of them are at most a window apart from it. Clocks in CYC. */
struct ready { u32 n, near, id[MAX_VCPUS]; u64 clock[MAX_VCPUS]; };

struct machine {
    const struct arch *arch;
    u8 *ram;                                            /* frame pool: nframes pages, anonymous memory */
    u32 nframes, free_head, nfree, npages, hand;
    u32 *free_list;
    struct frame *frames;
    struct s2_page *s2;
    u32 serial, flush_gen;
    u32 nfree_low;                                      /* the least that nfree ever was: free_list below it, and frames from
                                                         * nframes - nfree_low on, are as they were made */
    u8 *s2_live;                                        /* per S2_CHUNK pages: one of them was resident once; else all are as made */
    struct region region[MAX_REGIONS]; u32 nregions;
    u64 mmio[MAX_MMIO]; u32 nmmio;                      /* guest physical page of each device window */
    /* built-in ram: store */
    bool c_store; u8 *slots; u32 nslots, slot_next, nslot_free, *slot_free;
    u32 *slot_born;                                     /* snapshot sequence when the slot was taken */
    struct snapshot *snap;                              /* newest; frames written since are copied first */
    struct snapshot *spare;                             /* discarded ones whose memory is used again */
    u32 *dropped; u32 ndropped;                         /* slots of Python's store that are free again; room for npages */
    struct store_timing timing;
    struct s2_stats stats;
    struct ring ring;
    struct table tokens, gfns;                          /* page-ins that guests were told of: token -> work, gfn_key() -> token */
    u64 host_now;                                       /* CYC: when the host makes room by itself, for what it writes out; 0: at no time */
    bool keep_zeros;                                    /* pages of zeros go to the store as any other */
    bool paged, gfns_shared;                            /* Python decides about swapped pages; gfns are of all vCPUs together */
    u64 cycles_per_us;                                  /* CYC units */
    struct vcpu *vcpu[MAX_VCPUS]; u32 nvcpus;
    struct vcpu *current;                               /* the one that ran last: its clock is the host's */
    io_fn io; void *io_ctx;
    struct ready ready;
    bool ask_reclaim;                                   /* where a batch of victims starts is a choice (IO_RECLAIM) */
    /* rooms above (public.h) */
    struct answer { u32 nr; hcall_fn fn; void *ctx; } answers[MAX_ANSWERS]; u32 nanswers;
    const struct frame_watch *watch; void *watch_ctx;
    const u8 *watched;                                  /* debug.pages while there is a watch that is on */
    struct debug debug;
};
static inline void event(struct machine *m, struct vcpu *v, u32 kind, u64 a, u64 b, u64 c)
{
    if (unlikely(m->ring.ev != NULL))
        event_record(m, v, kind, a, b, c);
}

#define L1_BITS 12
#define ITLB 1024
struct pending { u32 kind; u32 vector, error; u64 addr, aux; bool has_error; };   /* an event that entry_<isa> must deliver before the next instruction */
enum { PEND_NONE, PEND_PAGE_FAULT, PEND_EXCEPTION, PEND_IRQ, PEND_MEM_ERROR };

/* What a snapshot keeps of a vCPU besides its registers: flat. */
#define VCPU_STATE_FIELDS                                                                                              \
    u64 insns, cycles;                  /* completed (see engine.c); CYC */                                            \
    u64 idle_cycles, blocked_cycles;                                                                                   \
    u64 count[32];                      /* exits and faults by kind, indexes in enum counter */                        \
    struct pending pend;                                                                                               \
    u32 irq_lines;                      /* level of each line, meaning per architecture */                             \
    u32 done;                           /* of an open block */                                                         \
    bool open;                          /* current_block() is charged in full, only its first `done` instructions ran */ \
    bool debug_open;                    /* open because of an exact stop, which is no part of the path: no event and   \
                                         * no interrupt before the block is done */                                    \
    bool kicked, io_stop;               /* leave at the next block: limits changed; the run is to end */                \
    bool halted;                                                                                                       \
    bool host_halt                      /* halted by the host: masked interrupts do not end it anywhere */
struct vcpu_state { VCPU_STATE_FIELDS; };

/* And of the block that is open or was entered last, for the rest of it is charged already. */
struct saved_block { u64 addr; u32 n, cost[2], size; u8 there, again, has_starts, pad[5]; u64 starts[(BLOCK_BYTES_MAX + 63) / 64]; };
struct saved_vcpu { struct vcpu_state state; struct saved_block block; };
void saved_vcpu_take(struct saved_vcpu *, struct vcpu *);
void saved_vcpu_load(const struct saved_vcpu *, struct vcpu *);   /* registers are the caller's */

struct vcpu {
    struct machine *m;
    uc_engine *uc;
    void *cpu, *env;                                    /* CPUState, CPU<Arch>State: private, verified by core_selftest */
    u32 id;
    /* hot */
    u64 limit;                                          /* CYC; 0 = take the slow path at the next block */
    u64 epoch;                                          /* in the upper 32 bits, see block.tag */
    u64 entered;                                        /* the block entered last: its address in host memory | which of its costs was charged */
    union { struct vcpu_state state; struct { VCPU_STATE_FIELDS; }; };
    /* turns.c */
    bool online, on_hold, benched;                      /* on_hold: the host is amid something on its behalf; benched: others alone may run */
    u32 parked;                                         /* lines that were high when it was found to stay halted */
    /* limits of this run() */
    u64 cycle_limit, insn_limit;
    /* stops */
    bool running;                                       /* inside emu_start */
    bool stopping;
    bool near_limit;                                    /* stopped because `next` crosses the instruction limit */
    bool lost_code;                                     /* a block was entered whose bytes cannot be read: engine failure */
    /* libunicorn's private functions and fields, of this architecture's copy (vcpu.c) */
    void (*invalidate_range)(uc_engine *, u64, u64);
    bool (*restore_state)(void *cpu, uintptr_t host_pc, bool will_exit);
    u32 no_exit_request;
    u32 hook_kinds;                                     /* bit k: an address hook of kind k was added */
    u32 nhooks;                                         /* code hooks ever added */
#define MAX_HOOKS 2048                                  /* at once: each one slows every translation, and a hostile guest can ask for many */
    bool resumed;                                       /* the next block entry is the remainder of current_block() */
    bool too_long;                                      /* the remainder was translated past the block's end: fence it */
    bool purge;                                         /* too many code hooks: drop them all, the pages in use are scanned again */
    bool rescan;                                        /* new code brought new sensitive instructions: translate it again */
    bool recheck;                                       /* a block with an address hook was translated without exit checks: again */
    bool checked;                                       /* the next translation is made with exit checks */
    bool exact;                                         /* running to an instruction inside `next` */
    struct block next;                                  /* the block at which the hook stopped us (exact stop) */
    struct block held;                                  /* copy of current_block() while it is open: l1 entries move */
    u64 held_starts[(BLOCK_BYTES_MAX + 63) / 64];       /* its `starts` after a restore */
    /* what the callbacks saw */
    int fill_status;                                    /* of the last failed fill: enum below */
    struct walk fill_walk; u64 fill_va; enum access fill_access;
    int intno;                                          /* from UC_HOOK_INTR, -1 none */
    bool invalid;                                       /* from UC_HOOK_INSN_INVALID */
    bool trapped;                                       /* vcpu_trap_here() */
    struct table code_hooks;
    /* debug.c */
    u32 trap_kind;                                      /* why a callback of its stopped the run */
    struct trap watch_hit;
    struct debug_place passed, until, inspect;          /* a break that was told; debug_until(); an instruction to be run alone */
    u64 until_cycles; bool until_settled;
    bool inspecting, near_watch, windowed;              /* it runs now; an access came near to watched bytes; WATCH_BASE is mapped */
    u64 inspect_passed;                                 /* watches that were told for it */
    u32 inspect_spill;                                  /* bytes of an access that lie on the page that is filled next */
#define INSPECT_PAGES 64
    u64 inspect_va[INSPECT_PAGES];                      /* by page, modulo: what it is called */
    uc_hook inspect_hook;
    void (*loop_exit)(void *cpu);
    void *hook_fn[16];                                  /* callbacks of address hooks, by kind */
    bool io_fault;
    u64 fills;
    struct { u64 vpage; u32 frame, serial; } itlb[ITLB];  /* code page -> frame, written by fetch fills */
    u64 open_gpa;                                       /* page behind the open-bus window, for messages */
    struct vm_exit exit;
    void *arch;                                         /* architecture's own state */
    struct cost_cache *cost;
    struct block l1[1 << L1_BITS];
};
static inline struct block *current_block(const struct vcpu *v) { return (struct block *)(v->entered & ~(u64)63); }
static inline u64 gfn_key(const struct vcpu *v, u64 gpa) { return (u64)(v->m->gfns_shared ? MAX_VCPUS + 1 : v->id + 1) << 52 | gpa >> PAGE_SHIFT; }
static inline u32 charged(const struct vcpu *v) { return current_block(v)->cost[v->entered & 1]; }
enum { FILL_NONE, FILL_GUEST, FILL_S2, FILL_BUS, FILL_WATCH };
enum counter { C_EXIT_LIMIT, C_EXIT_STAGE2, C_EXIT_HALT, C_EXIT_HCALL, C_EXIT_IRQ, C_EXIT_IO, C_EXIT_ERROR,
               C_FAULT_GUEST, C_FAULT_ZERO, C_FAULT_SWAP, C_FAULT_MEM_ERROR, C_SYSCALL, C_EXCEPTION, C_IRQ, C_COUNTERS };

/* What an architecture supplies. All of it runs in C on the hot path. */
struct arch {
    const char *name, *suffix;                          /* "x86_64"; libunicorn's symbol suffix */
    uc_arch uc_arch; u32 uc_mode;
    bool big_endian;
    size_t state_size;                                  /* of v->arch: flat, no pointers */
    bool wake_masked;                                   /* a pending line ends a halt even when it is masked (arm64 WFI) */
    bool open_bus;                                      /* reads of nothing give all ones (x86); otherwise a memory error */
    /* after uc_open, before anything else */
    int (*setup)(struct vcpu *);
    /* architectural reset state; engine.md 3: Unicorn's own differs */
    int (*reset)(struct vcpu *);
    void (*destroy)(struct vcpu *);
    bool (*in_user)(struct vcpu *);                     /* problem state, EL0, CPL 3 */
    bool (*is_return)(const u8 *code, u32 n);           /* an instruction that returns from an exception */
    u64 (*get_pc)(struct vcpu *);                       /* linear, as block hooks see it */
    u64 (*entry)(struct vcpu *);                        /* what emu_start wants when that is not PC (x86: EIP without CS base) */
    void (*set_pc)(struct vcpu *, u64);
    /* firmware returns to the guest: PC and the program status in one step. NULL: this architecture's firmware never does */
    int (*go_to)(struct vcpu *, u64 pc, u64 status);
    /* pure: reads guest tables through s2_ptr(); sets A/D (x86), R/C (radix) where the hardware would */
    enum walk_status (*walk)(struct vcpu *, u64 va, enum access, struct walk *);
    /* count and cost of a block; `size` bytes at code */
    void (*decode)(struct vcpu *, const u8 *code, u32 size, struct decoded *);
    /* what decode depends on besides the bytes (x86: 16/32/64-bit, ppc64: byte order); NULL = nothing */
    u32 (*code_mode)(struct vcpu *);
    /* may a block start here? false: v->pend says why not (a misaligned PC). NULL: anywhere */
    bool (*check_pc)(struct vcpu *, u64 pc);
    /* a page is about to be, or was just, translated: hook the instructions that must be trapped */
    void (*sense)(struct vcpu *, u64 va, const u8 *page);
    /* a guest page fault found by walk: turn it into v->pend */
    void (*page_fault)(struct vcpu *, const struct walk *, u64 va, enum access);
    /* memory error at gva/gpa: #MC, synchronous external abort, machine check: into v->pend */
    void (*mem_error)(struct vcpu *, u64 gva, u64 gpa, enum access);
    /* emu_start ended by UC_HOOK_INTR (v->intno) or INSN_INVALID (v->invalid): set v->pend, or fill `ex` (hcall, halt; EXIT_STAGE2: the
     * page that the instruction at PC needs) and return true */
    bool (*trap)(struct vcpu *, struct vm_exit *ex);
    /* may the highest pending line be taken now? */
    bool (*irq_ready)(struct vcpu *);
    /* take it: sets v->pend, or fills `ex` with EXIT_IRQ_WINDOW and returns true */
    bool (*irq_take)(struct vcpu *, struct vm_exit *ex);
    /* deliver v->pend. S2_OK: entered (pend cleared); S2_MISS: v->exit.gpa must become resident first, nothing has changed;
       S2_ERROR: cannot be delivered (v->exit.why) */
    enum s2_result (*deliver)(struct vcpu *);
    /* did emu_start end because of HLT / WFI? */
    bool (*is_halted)(struct vcpu *);
    void (*clear_halt)(struct vcpu *);
    /* registers by the isa room's index, for Python and the hash */
    u64 (*reg_get)(struct vcpu *, u32 index);
    int (*reg_set)(struct vcpu *, u32 index, u64 value);
};
extern const struct arch arch_x86_64, arch_arm64, arch_ppc64;

/* -------------------------------------------------------------- mmu, engine */
bool mmu_fill(uc_engine *, u64 va, uc_mem_type, uc_tlb_entry *, void *user);
bool mmu_code(struct vcpu *, u64 addr, u32 size, u8 *copy, const u8 **code);   /* of a block that runs: marks its pages accessed */
const u8 *mmu_code_at(struct vcpu *, u64 va);           /* code that is only looked at: not marked */
struct machine *machine_new(const char *isa, u32 nframes, io_fn, void *io_ctx);
void machine_free(struct machine *);
struct vcpu *vcpu_new(struct machine *);                /* after the regions are added */
int vcpu_run(struct vcpu *, u64 cycle_limit, u64 insn_limit);   /* fills v->exit, returns its kind */
int vcpu_settle(struct vcpu *);                         /* enter what is pending now; -1: not here (an exact stop amid a block) */
int vcpu_go_to(struct vcpu *, u64 pc, u64 status);      /* the host sends a settled vCPU elsewhere, as firmware does */
void vcpu_set_irq(struct vcpu *, u32 line, bool level);
u32 machine_ready(struct machine *, u64 window);         /* fills m->ready; how many may run */
bool vcpu_runnable(const struct vcpu *);                 /* online, not held, not halted; or halted and other lines are high than when parked */
void vcpu_set_halted(struct vcpu *, bool);
u64 vcpu_insns_inside(struct vcpu *);                   /* the same inside a hook, where PC is exact */
void vcpu_sync_pc(struct vcpu *);                       /* inside a device's callback: make PC exact */
u64 vcpu_insns(struct vcpu *);                          /* exact instruction index */
u32 vcpu_executed(struct vcpu *);                       /* instructions of current_block() that have run */
void vcpu_set_limit(struct vcpu *);
bool vcpu_settled(struct vcpu *);                       /* events and interrupts may be delivered here */
u64 engine_fault_address(struct vcpu *);
void engine_block_done(struct vcpu *);
void engine_purge_hooks(struct vcpu *);
void vcpu_close_block(struct vcpu *, u32 executed);      /* the path goes elsewhere: what has not run of the open block is given back */
void engine_drop_page(struct vcpu *, u64 va);           /* translations of the code page at va */
void engine_drop_block(struct vcpu *, u64 va);          /* translations that contain the instruction at va */
void engine_exit_checks(struct vcpu *, bool on);         /* whether address hooks of the next translations can stop it */
bool engine_has_hook(const struct vcpu *, u64 pc, u32 size);    /* has an instruction in [pc, pc + size) an address hook? */
int engine_add_hooks(struct vcpu *);
enum { WATCH_REFUSE, WATCH_FILL, WATCH_WINDOW };
int debug_fill(struct vcpu *, u32 page, enum access, u64 va);    /* how may this touch of a watched page be filled? */
bool debug_inspect_begin(struct vcpu *);                /* the instruction at PC touches a watched page, and is to run alone */
void debug_inspect_end(struct vcpu *);
int debug_stopped(struct vcpu *, bool faulted, bool *ours);  /* EXIT_DEBUG, or EXIT_NONE; *ours: it was for a trap that it stopped */
bool debug_due(struct vcpu *);
void debug_hook_again(struct vcpu *);
void debug_host(struct machine *, struct vcpu *, u64 va, u64 gpa, u64 size, u32 access);   /* an access that is made, by no instruction */
void debug_free(struct machine *);
#define OPEN_BUS (MAX_MMIO - 1)                         /* window that answers all ones */

/* ------------------------------------------------- helpers for arch_<isa> */
/* Guest-virtual access for the host (exception frames): walks with supervisor rights. On S2_MISS v->exit.gpa names the page. */
enum s2_result guest_translate(struct vcpu *, u64 va, enum access, u64 *gpa);
enum s2_result guest_read(struct vcpu *, u64 va, void *buf, u32 len);
enum s2_result guest_write(struct vcpu *, u64 va, const void *buf, u32 len);
bool table_read64(struct vcpu *, u64 gpa, u64 *val, struct walk *);   /* page-table entry, guest byte order as in memory; false: w is filled (S2 or table_error) */
bool table_write64(struct vcpu *, u64 gpa, u64 val);                  /* A/D update of a resident table page */
/* UC_HOOK_CODE on one address, once per address and kind (1..15); true = new. cb: void (*)(uc_engine *, u64 addr, u32 size, struct vcpu *) */
bool hook_code_at(struct vcpu *, u64 va, u32 kind, void *callback);
bool unhook_code_at(struct vcpu *, u64 va, u32 kind);                 /* true: there was one; translations stay */
void vcpu_kick(struct vcpu *);                                        /* ask the block hook to stop at the next block */
void vcpu_trap_here(struct vcpu *);                                   /* from CODE/INTR/INVALID hooks: stop emu_start now, PC on this instruction */
int vcpu_io(struct vcpu *, int kind, u64 addr, u32 size, u64 *value); /* call Python; records io_fault/io_stop; counts C_EXIT_IO */
u64 vcpu_now(struct vcpu *);                                          /* CYC at the instruction PC points to: prorated inside the open block */
u64 vcpu_ticks(struct vcpu *, u64 hz);                                /* vcpu_now() as ticks of a counter of `hz` */
void vcpu_drop_code(struct vcpu *, u32 frame);                        /* forget translations made from this frame */
void vcpu_flush_tlb(struct vcpu *);                                   /* whole soft TLB and the block cache's address tags */

#endif
