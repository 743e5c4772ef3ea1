/* SPDX-License-Identifier: GPL-2.0-or-later
 * What cffi shows Python; see core's cdef.h. */
struct tce_cpu { uint32_t marker, num, total; uint32_t table; uint64_t index; uint64_t list_page; uint64_t stray; ...; };
struct race { uint32_t step, action, frame; int32_t value; };
struct tce_level_cost { uint64_t call, entry; };
struct tce_table { uint64_t liobn, first, size; uint32_t shift; bool in_kernel, locked; ...; };
struct iotlb { uint64_t liobn, page, mapped, filled; };
struct tce_host {
    bool real, dead;
    char why[160];
    uint32_t page_bytes, block_shift, helpers;
    uint64_t nblocks, npages, held, limit, freed;
    struct tce_table table[16]; uint32_t ntables;
    struct tce_cpu cpu[16];
    struct iotlb iotlb[256]; uint64_t flushes;
    bool real_mode, tell_delta;
    int64_t delta;
    uint32_t bugs;
    struct race race;
    struct tce_level_cost cost;
    uint64_t calls[4], refused[17], entries;
    uint64_t stale_dma, early_drops;
    ...;
};
struct tce_shape { uint64_t pages, table_bytes; uint32_t page_bytes, block_shift, helpers; bool flat; };

struct tce_host *tce_new(const void *core_api, void *machine, uint32_t reg3, const struct tce_shape *);
void tce_free(struct tce_host *);
int tce_answer(struct tce_host *);
int tce_add_table(struct tce_host *, uint64_t liobn, uint64_t base, uint64_t entries, uint32_t shift, bool in_kernel);
void tce_reset(struct tce_host *);
bool tce_has_page(struct tce_host *, uint32_t table, uint32_t half, uint64_t number);
void *tce_page_bytes(struct tce_host *, uint32_t table, uint32_t half, uint64_t number);
int tce_real_call(struct tce_host *, uint32_t cpu, uint32_t token, const uint64_t args[4], uint64_t *result);

int tce_get_frame(struct tce_host *, uint64_t pfn);
int tce_put_frame(struct tce_host *, uint64_t pfn);
int tce_make_room(struct tce_host *, uint32_t table, uint32_t half, uint64_t index);
uint64_t tce_read(struct tce_host *, uint32_t table, uint32_t half, uint64_t index);
uint64_t tce_exchange(struct tce_host *, uint32_t table, uint32_t half, uint64_t index, uint64_t value);
bool tce_lock(struct tce_host *, uint32_t table);
void tce_unlock(struct tce_host *, uint32_t table);
void tce_flush(struct tce_host *);
int64_t tce_refs(struct tce_host *, uint64_t pfn);
int64_t tce_count(struct tce_host *, uint64_t pfn);
int64_t tce_page_flags(struct tce_host *, uint64_t pfn);
uint64_t tce_page_head(struct tce_host *, uint64_t pfn);
int tce_set_page(struct tce_host *, uint64_t pfn, uint32_t flags, int32_t count, uint64_t head);
int tce_restore_ref(struct tce_host *, uint64_t pfn);
uint64_t tce_next_page(struct tce_host *, uint64_t from, bool held);
uint64_t *tce_page_of_cpu(struct tce_host *, uint32_t cpu, uint32_t half);
int tce_dma(struct tce_host *, uint64_t liobn, uint64_t ioba, uint8_t *buf, uint32_t len, bool write, uint32_t *done);

uint64_t tce_realmode_page(struct tce_host *, uint64_t pfn);
int tce_add_block(struct tce_host *, uint64_t block, uint64_t phys);
int tce_remove_block(struct tce_host *, uint64_t block);
uint64_t tce_pages(struct tce_host *, uint32_t n);
bool tce_helper(struct tce_host *, uint64_t pfn, bool get);
