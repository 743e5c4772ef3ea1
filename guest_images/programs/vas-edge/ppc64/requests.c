/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests that make no sense, and descriptors at their limits. */
#include "edge.h"

static int with_source(struct bench *b, u32 count, u64 bytes, const void *address)
{
    request(b, NX_WRAP, 0, BENCH_BYTES);
    b->block->crb.source = (struct nx_dde){.count = (nx_u8)count, .bytes = (u32)bytes, .address = (uptr)address};
    return submit(b);
}

static void test_lists(struct bench *b)
{
    static struct nx_dde list[256] __attribute__((aligned(16)));
    for (u64 i = 0; i < 255; i++)
        list[i] = (struct nx_dde){.bytes = 16, .address = (uptr)b->source + 16 * i};
    check("H6 list: 255 entries", with_source(b, 255, 255 * 16, list) == NX_CC_OK && b->block->csb.count == 255 * 16);
    check("H6 list: their bytes in order", memcmp(b->target, b->source, 255 * 16) == 0);
    check("H6 list: total below the sum", with_source(b, 4, 40, list) == NX_CC_OK && b->block->csb.count == 40);
    check("H6 list: total above the sum", with_source(b, 4, 80, list) == 33);
    check("H6 list: 256 wraps to none: direct", with_source(b, 256, 32, list) == NX_CC_OK && memcmp(b->target, list, 32) == 0);
    check("H6 list: unaligned", with_source(b, 4, 40, (u8 *)list + 8) == 1);
    check("H6 list: where it was", b->block->csb.address == (uptr)list + 8);
    list[1].count = 2;
    check("H6 list: nested", with_source(b, 4, 64, list) == 31);
    list[1].count = 0;
    list[2].reserved1 = 1;
    check("H6 list: reserved bits", with_source(b, 4, 64, list) == 30);
    list[2].reserved1 = 0;
}

/* Two entries on a page that is there, the rest on one that is not. */
static void test_list_in_absent_page(struct bench *b)
{
    u8 *pages = absent(2 * PAGE_SIZE);
    struct nx_dde *list = (struct nx_dde *)(void *)(pages + PAGE_SIZE - 32);
    list[0] = (struct nx_dde){.bytes = 16, .address = (uptr)b->source};
    list[1] = (struct nx_dde){.bytes = 16, .address = (uptr)b->source};
    check("H6 list: goes on in an absent page", with_source(b, 3, 48, list) == NX_CC_TRANSLATION);
    check("H6 list: that page is named", b->block->csb.address - ((uptr)pages + PAGE_SIZE) < 16);
    list[2] = list[0];
    check("H6 list: touched and pasted again", with_source(b, 3, 48, list) == NX_CC_OK && b->block->csb.count == 48);
    munmap(pages, 2 * PAGE_SIZE);
}

static void test_lengths(struct bench *b)
{
    u8 *end = absent(PAGE_SIZE);
    *end = 1;
    check("H6 source: none", with_source(b, 0, 0, b->source) == NX_CC_DDE);
    check("H6 source: past the end of memory", with_source(b, 0, 0xffffffff, end) == NX_CC_TRANSLATION);
    check("H6 source: wraps around", with_source(b, 0, 0x1000, (void *)(uptr)(~0ull - 15)) == NX_CC_TRANSLATION);
    munmap(end, PAGE_SIZE);
    request(b, NX_WRAP, 1000, 1000);
    check("H17 target: exactly full", submit(b) == NX_CC_OK && b->block->csb.count == 1000);
    request(b, NX_WRAP, 1000, 999);
    check("H17 target: a byte short", submit(b) == NX_CC_TARGET_SPACE);
    for (u64 i = 0; i < 4096; i++)
        b->source[i] = (u8)(mix64(i) | 0x90);
    request(b, NX_COMPRESS_FHT, 4096, BENCH_BYTES);
    check("H17 expands: told, and good", submit(b) == NX_CC_LARGER && b->block->csb.count > 4096);
}

static void test_bad_blocks(struct bench *b)
{
    request(b, 0x3e, 16, 16);
    check("function: unknown", submit(b) == NX_CC_FUNCTION);
    request(b, NX_WRAP | 0x100, 16, 16);
    check("CCW: reserved bit", submit(b) == NX_CC_CRB);
    request(b, NX_WRAP, 16, 16);
    b->block->crb.flags = 1;
    check("CRB: reserved word", submit(b) == NX_CC_CRB);
    for (int cm = 0; cm <= 7; cm += cm ? 6 : 1) {
        request(b, NX_WRAP, 16, 16);
        b->block->crb.csb |= 8;
        b->block->crb.ccb[15] = (u8)cm;
        check(cm == 1 ? "H2 CCB: an interrupt is wanted" : "H2 CCB: a mode that is not", submit(b) == (cm == 1 ? NX_CC_OK : NX_CC_CRB));
    }
    request(b, NX_WRAP, 16, 16);
    memset(&b->block->crb.stamp, 0xff, sizeof b->block->crb.stamp);
    check("H10 a stamp of one's own", submit(b) == NX_CC_OK);
}

void test_requests(void)
{
    struct bench b;
    setup(&b);
    test_bad_blocks(&b);
    test_lists(&b);
    test_list_in_absent_page(&b);
    test_lengths(&b);
    teardown(&b);
}
