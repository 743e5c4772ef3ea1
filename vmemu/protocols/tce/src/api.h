/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What Python calls. Everything but tce_real_call() and the way in from core is virtual mode. */
#ifndef VMEMU_TCE_API_H
#define VMEMU_TCE_API_H
#include "tce.h"

enum dma_error { DMA_OK, DMA_EXTENT, DMA_PAGE_FAULT, DMA_PERMISSION };

/* pages: page structs at least; page_bytes: of one; block_shift: of a block of them; table_bytes: room for tables. */
struct tce_shape { u64 pages, table_bytes; u32 page_bytes, block_shift, helpers; bool flat; };

struct tce_host *tce_new(const void *core_api, void *machine, u32 reg3, const struct tce_shape *);
void tce_free(struct tce_host *);
int tce_answer(struct tce_host *);                      /* real mode answers the calls from now on */
int tce_add_table(struct tce_host *, u64 liobn, u64 base, u64 entries, u32 shift, bool in_kernel);
void tce_reset(struct tce_host *);
bool tce_has_page(struct tce_host *, u32 table, u32 half, u64 number);
void *tce_page_bytes(struct tce_host *, u32 table, u32 half, u64 number);
int tce_real_call(struct tce_host *, u32 cpu, u32 token, const u64 args[4], u64 *result);

int tce_get_frame(struct tce_host *, u64 pfn);
int tce_put_frame(struct tce_host *, u64 pfn);
int tce_make_room(struct tce_host *, u32 table, u32 half, u64 index);
u64 tce_read(struct tce_host *, u32 table, u32 half, u64 index);
u64 tce_exchange(struct tce_host *, u32 table, u32 half, u64 index, u64 value);
bool tce_lock(struct tce_host *, u32 table);
void tce_unlock(struct tce_host *, u32 table);
void tce_flush(struct tce_host *);
int64_t tce_refs(struct tce_host *, u64 pfn);           /* besides the guest's own, of the head */
int64_t tce_count(struct tce_host *, u64 pfn);
int64_t tce_page_flags(struct tce_host *, u64 pfn);     /* -1: its struct is nowhere */
u64 tce_page_head(struct tce_host *, u64 pfn);
int tce_set_page(struct tce_host *, u64 pfn, u32 flags, s32 count, u64 head);
int tce_restore_ref(struct tce_host *, u64 pfn);
u64 tce_next_page(struct tce_host *, u64 from, bool held);
u64 *tce_page_of_cpu(struct tce_host *, u32 cpu, u32 half);
int tce_dma(struct tce_host *, u64 liobn, u64 ioba, u8 *buf, u32 len, bool write, u32 *done);

u64 tce_realmode_page(struct tce_host *, u64 pfn);
int tce_add_block(struct tce_host *, u64 block, u64 phys);
int tce_remove_block(struct tce_host *, u64 block);
u64 tce_pages(struct tce_host *, u32 n);
bool tce_helper(struct tce_host *, u64 pfn, bool get);
#endif
