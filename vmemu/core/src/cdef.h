/* SPDX-License-Identifier: GPL-2.0-or-later
 * What cffi shows Python. Plain declarations only: cffi's parser knows no preprocessor. "..." = the compiler fills in the rest. */
struct event { uint64_t cycles, insns, pc, task; uint32_t kind; uint16_t vcpu, flags; uint64_t a, b, c; };
struct s2_page { uint8_t state, flags; uint16_t pad; uint32_t frame, slot, crc; };
struct s2_stats { uint64_t zero, swap_in, swap_out, clean_drop, zero_drop, resident, resident_peak, evictions, flushes, corrupt; };
struct store_timing { uint64_t latency; uint32_t depth; uint64_t busy[64]; };
struct ring { uint64_t lost, head, tail, size; ...; };
struct table { uint32_t live; ...; };
struct vm_exit {
    uint32_t kind, access, size, nr;
    uint64_t gpa, gva, pc, insns, cycles;
    const char *why;
};
typedef int (*io_fn)(void *ctx, uint32_t vcpu, int kind, uint64_t addr, uint32_t size, uint64_t *value);
struct ready { uint32_t n, near, id[16]; uint64_t clock[16]; };
struct machine {
    struct ready ready;
    uint32_t nframes, nfree, npages, nvcpus, hand;
    struct s2_page *s2;
    uint64_t mmio[1024]; uint32_t nmmio;
    bool c_store, ask_reclaim, paged, gfns_shared, keep_zeros; uint8_t *slots; uint32_t slot_next, nslots;
    uint32_t *dropped, ndropped;
    struct store_timing timing;
    struct s2_stats stats;
    struct ring ring;
    struct table tokens, gfns;
    uint64_t cycles_per_us, host_now;
    uint8_t *ram;
    ...;
};
struct pending { uint32_t kind, vector, error; uint64_t addr, aux; bool has_error; };
struct vcpu {
    uint32_t id;
    uint64_t insns, cycles, idle_cycles, blocked_cycles, fills;
    uint64_t count[32];
    uint32_t irq_lines;
    bool halted, host_halt, online, on_hold, benched;
    uint32_t parked;
    struct pending pend;
    struct vm_exit exit;
    ...;
};

int core_init(const char *unicorn, const char *capstone);
int core_selftest(const char *isa);
const char *core_error(void);
uint32_t crc32c(const void *data, size_t len);
uint32_t crc32c_reference(const void *data, size_t len);

struct machine *machine_new(const char *isa, uint32_t nframes, io_fn io, void *io_ctx);
void machine_free(struct machine *);
struct vcpu *vcpu_new(struct machine *);
int vcpu_run(struct vcpu *, uint64_t cycle_limit, uint64_t insn_limit);
void vcpu_set_irq(struct vcpu *, uint32_t line, bool level);
uint32_t machine_ready(struct machine *, uint64_t window);
bool vcpu_runnable(const struct vcpu *);
void vcpu_kick(struct vcpu *);
void vcpu_set_halted(struct vcpu *, bool);
uint64_t vcpu_insns(struct vcpu *);
uint64_t vcpu_now(struct vcpu *);
bool vcpu_settled(struct vcpu *);
void vcpu_flush_tlb(struct vcpu *);
uint64_t vcpu_reg_get(struct vcpu *, uint32_t index);
int vcpu_reg_set(struct vcpu *, uint32_t index, uint64_t value);
int vcpu_walk(struct vcpu *, uint64_t va, uint32_t access, uint64_t *out);
int vcpu_inject(struct vcpu *, uint32_t kind, uint32_t vector, uint32_t error, bool has_error, uint64_t addr, uint64_t aux);
uint64_t vcpu_pc(struct vcpu *);
int vcpu_reset(struct vcpu *);
int vcpu_settle(struct vcpu *);
int vcpu_go_to(struct vcpu *, uint64_t pc, uint64_t status);
void vcpu_mem_error(struct vcpu *, uint64_t gva, uint64_t gpa, uint32_t access);
void vcpu_add_cycles(struct vcpu *, uint64_t cycles, uint32_t kind);

int s2_add_region(struct machine *, uint64_t gpa, uint64_t size);
int64_t s2_index(const struct machine *, uint64_t gpa);
uint64_t s2_gpa(const struct machine *, uint32_t index);
int s2_pin(struct machine *, uint64_t lo, uint64_t hi);
int s2_ensure(struct machine *, struct vcpu *, uint64_t gpa, bool write);
uint32_t s2_reclaim(struct machine *, struct vcpu *, uint32_t *out, uint32_t max);
int s2_evicted(struct machine *, struct vcpu *, uint32_t page, uint32_t slot);
int s2_swap_out(struct machine *, uint32_t page);
int s2_free_frame(struct machine *, uint32_t frame);
const void *core_api(void);
int s2_page_in(struct machine *, struct vcpu *, uint32_t page, const uint8_t *bytes);
void s2_bad(struct machine *, uint32_t page);
int s2_discard(struct machine *, uint32_t page);
int s2_peek(struct machine *, uint32_t page, uint8_t *out);
uint32_t s2_batch(const struct machine *);
int s2_use_c_store(struct machine *);
uint64_t store_charge(struct machine *, uint64_t now);
uint8_t *s2_ptr(struct machine *, uint64_t gpa, bool write);

uint32_t machine_copy(struct machine *, uint64_t gpa, void *buf, uint32_t len, bool write);
uint64_t ppc64_dma(struct machine *, uint32_t pid, uint64_t ea, void *buf, uint64_t len, bool write, uint64_t *out);
struct trap { uint32_t kind, vcpu, access, size; uint64_t pc, va, gpa; bool by_host; };
int debug_break(struct machine *, uint64_t va, bool set);
int debug_watch(struct machine *, uint64_t gpa, uint64_t size, uint32_t access);
void debug_unwatch(struct machine *, uint32_t number);
void debug_switch(struct machine *, bool on);
void debug_pass(struct vcpu *);
void debug_until(struct vcpu *, bool set, uint64_t insns, uint64_t cycles, bool settled, uint64_t pc);
void debug_ask(struct machine *);
bool debug_take(struct machine *, struct trap *out);
void debug_code_written(struct machine *, uint64_t gpa, uint64_t size);
int machine_ring(struct machine *, uint32_t log2, void (*full)(void *), void *ctx);
void machine_tasks(struct machine *, uint64_t gpa, uint32_t n);
void machine_event(struct machine *, int64_t vcpu, uint64_t cycles, uint32_t kind, uint64_t a, uint64_t b, uint64_t c);
uint32_t machine_nonzero(struct machine *, uint32_t from);
uint32_t ring_drain(struct ring *, struct event *out, uint32_t max);

struct snapshot;
struct snapshot *snap_take(struct machine *);
int snap_restore(struct machine *, struct snapshot *);
int snap_drop(struct machine *, struct snapshot *);
uint32_t snap_spare_slots(struct machine *);
uint32_t snap_pages(const struct snapshot *);

struct saved_memory {
    uint32_t npages, nframes, nfree, hand, serial, slot_next, nslot_free, c_store;
    struct store_timing timing;
    struct s2_stats stats;
};
void persist_memory_save(const struct machine *, struct saved_memory *, uint32_t *frames, uint32_t *free_list);
uint32_t persist_slots(const struct machine *, uint32_t *out);
int persist_memory_load(struct machine *, const struct saved_memory *, const struct s2_page *, const uint32_t *frames,
                        const uint32_t *free_list, const uint32_t *slot_free);
void persist_vcpu_save(struct vcpu *, void *out);
int persist_vcpu_load(struct vcpu *, const void *in);
uint32_t persist_vcpu_size(void);
uint32_t table_dump(const struct table *, uint64_t *out);
void digest_registers(struct vcpu *, uint32_t n, uint16_t *out);
void digest_pages(struct machine *, uint32_t shift, uint32_t *out);

int table_init(struct table *, uint32_t log2);
void table_free(struct table *);
int table_put(struct table *, uint64_t key, uint64_t val);
int table_get(const struct table *, uint64_t key, uint64_t *val);
int table_del(struct table *, uint64_t key, uint64_t *val);
double bench_tokens(uint32_t live, uint64_t rounds);
void *bench_callback(const char *which);

extern "Python" void vmemu_ring_full(void *ctx);
extern "Python" int vmemu_io(void *ctx, uint32_t vcpu, int kind, uint64_t addr, uint32_t size, uint64_t *value);
