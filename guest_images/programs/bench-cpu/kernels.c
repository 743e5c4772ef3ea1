/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop, sort, hash, list, crc: each unit of work is a few million instructions. */
#include "bench.h"

/* ---- loop: eight-instruction body with a load and a store, the shape that stresses block overhead most ---- */
static volatile u64 cell[8];

u32 loop_work(u32 scale)
{
    u64 sum = 1;

    for (u32 s = 0; s < scale; s++)
        for (u32 i = 0; i < 1000000; i++) {
            sum += cell[i & 7] ^ i;
            cell[i & 7] = sum;
        }
    return (u32)(sum ^ sum >> 32);
}

/* ---- sort: heap sort, data-dependent branches ---- */
#define NSORT 16384
static u32 numbers[NSORT], unsorted[NSORT];

void sort_setup(void)
{
    u32 r = 2463534242u;

    for (u32 i = 0; i < NSORT; i++)
        unsorted[i] = next_random(&r);
}

static void sift(u32 *a, u32 root, u32 n)
{
    u32 x = a[root];

    for (u32 child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && a[child + 1] > a[child])
            child++;
        if (a[child] <= x)
            break;
        a[root] = a[child];
    }
    a[root] = x;
}

u32 sort_work(u32 scale)
{
    u32 sum = 0;

    for (u32 s = 0; s < scale; s++) {
        for (u32 i = 0; i < NSORT; i++)
            numbers[i] = unsorted[i] + s;
        for (u32 i = NSORT / 2; i-- > 0;)
            sift(numbers, i, NSORT);
        for (u32 n = NSORT; n-- > 1;) {
            u32 top = numbers[0];
            numbers[0] = numbers[n];
            numbers[n] = top;
            sift(numbers, 0, n);
        }
        for (u32 i = 0; i < NSORT; i += 61)
            sum = sum * 31 + numbers[i];
    }
    return sum;
}

/* ---- hash: open addressing, inserts and lookups over a table of 512 KiB ---- */
#define NHASH 65536u
static struct { u32 key, value; } table[NHASH];

static u32 probe(u32 key)
{
    u32 i = key * 2654435769u >> 16;

    while (table[i].key && table[i].key != key)
        i = (i + 1) % NHASH;
    return i;
}

u32 hash_work(u32 scale)
{
    u32 sum = 0;

    for (u32 s = 0; s < scale; s++) {
        u32 r = 88675123u + s;
        memset(table, 0, sizeof table);
        for (u32 n = 0; n < NHASH / 2; n++) {
            u32 key = next_random(&r), i = probe(key);
            table[i].key = key;
            table[i].value = n;
        }
        r = 88675123u + s;
        for (u32 n = 0; n < NHASH; n++) {
            u32 i = probe(next_random(&r));
            sum += table[i].key ? table[i].value : 1;
        }
    }
    return sum;
}

/* ---- list: a walk in random order over 1 MiB of nodes, loads that depend on each other ---- */
#define NLIST 65536u
static struct node { struct node *next; u64 value; } nodes[NLIST];
static u32 order[NLIST];

void list_setup(void)
{
    u32 r = 123456789u;

    for (u32 i = 0; i < NLIST; i++)
        order[i] = i;
    for (u32 i = NLIST - 1; i > 0; i--) {
        u32 j = next_random(&r) % (i + 1), t = order[i];
        order[i] = order[j];
        order[j] = t;
    }
    for (u32 i = 0; i < NLIST; i++) {
        nodes[order[i]].next = &nodes[order[(i + 1) % NLIST]];
        nodes[order[i]].value = i;
    }
}

u32 list_work(u32 scale)
{
    const struct node *n = nodes;
    u64 sum = 0;

    for (u32 i = 0; i < scale * 16 * NLIST; i++, n = n->next)
        sum += n->value;
    return (u32)(sum ^ sum >> 32);
}

/* ---- crc: CRC-32 (IEEE 802.3, reflected 0xEDB88320) by table over 256 KiB ---- */
#define NCRC 262144u
static u32 crc_table[256];
static u8 text[NCRC];

void crc_setup(void)
{
    u32 r = 362436069u;

    for (u32 i = 0; i < 256; i++) {
        u32 c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0xedb88320u : c >> 1;
        crc_table[i] = c;
    }
    for (u32 i = 0; i < NCRC; i++)
        text[i] = (u8)(next_random(&r) >> 24);
}

u32 crc_work(u32 scale)
{
    u32 crc = ~0u;

    for (u32 s = 0; s < scale * 2; s++)
        for (u32 i = 0; i < NCRC; i++)
            crc = crc_table[(crc ^ text[i]) & 0xff] ^ crc >> 8;
    return ~crc;
}
