/* SPDX-License-Identifier: GPL-2.0-or-later */
/* api.h - what Python calls besides core.h's own functions. */
#ifndef VMEMU_API_H
#define VMEMU_API_H
#include "core.h"

int core_init(const char *unicorn, const char *capstone);
int core_selftest(const char *isa);
u32 crc32c_reference(const void *data, size_t len);
u64 vcpu_reg_get(struct vcpu *, u32 index);
int vcpu_reg_set(struct vcpu *, u32 index, u64 value);
int vcpu_walk(struct vcpu *, u64 va, u32 access, u64 out[4]);   /* status; out: gpa, prot, fault, table_error */
int vcpu_inject(struct vcpu *, u32 kind, u32 vector, u32 error, bool has_error, u64 addr, u64 aux);
u64 vcpu_pc(struct vcpu *);
int vcpu_reset(struct vcpu *);                                 /* registers of a CPU that is started; clock and lines stay */
void vcpu_mem_error(struct vcpu *, u64 gva, u64 gpa, u32 access);
enum { CYCLES_WORK, CYCLES_IDLE, CYCLES_BLOCKED };
void vcpu_add_cycles(struct vcpu *, u64 cycles, u32 kind);      /* host work charged to the guest, idle time, or time blocked by a page-in */
u32 machine_copy(struct machine *, u64 gpa, void *buf, u32 len, bool write);  /* bytes done; stops at the first page that is not resident */
/* How a device's access to a process's memory ends (dma_ppc64.c). TABLE and ZERO: make the page at `gpa` resident and go on. */
enum dma_end { DMA_DONE, DMA_TABLE, DMA_ZERO, DMA_AWAY, DMA_LOST, DMA_NOT_RAM, DMA_UNMAPPED, DMA_RIGHTS };
/* Bytes copied between `buf` and effective address `ea` of a process; out: enum dma_end, gpa. Only for ppc64 machines. */
u64 ppc64_dma(struct machine *, u32 pid, u64 ea, void *buf, u64 len, bool write, u64 out[2]);
/* debug.c */
int debug_break(struct machine *, u64 va, bool set);
int debug_watch(struct machine *, u64 gpa, u64 size, u32 access);   /* its number, or -1 */
void debug_unwatch(struct machine *, u32 number);
void debug_switch(struct machine *, bool on);                  /* off: nothing traps, what is set stays */
void debug_pass(struct vcpu *);                                /* a breakpoint where it stands now does not stop it at once */
void debug_until(struct vcpu *, bool set, u64 insns, u64 cycles, bool settled, u64 pc);
void debug_ask(struct machine *);                              /* stop at the next block */
bool debug_take(struct machine *, struct trap *out);           /* the trap that nobody has taken yet */
void debug_code_written(struct machine *, u64 gpa, u64 size);
int machine_ring(struct machine *, u32 log2, void (*full)(void *), void *ctx);
void machine_tasks(struct machine *, u64 gpa, u32 n);           /* the guest's array of running tasks */
/* A protocol's event; vcpu -1: the host's own; cycles ~0: now. */
void machine_event(struct machine *, i64 vcpu, u64 cycles, u32 kind, u64 a, u64 b, u64 c);
u32 machine_nonzero(struct machine *, u32 from);                /* next page index >= from that is not known to be zero; npages at the end */
double bench_tokens(u32 live, u64 rounds);                      /* ns for one put + get + del */
const void *core_api(void);                                    /* struct core_api, for rooms above (public.h) */
void *bench_callback(const char *which);                        /* C hooks for plain Unicorn: count, identity */
#endif
