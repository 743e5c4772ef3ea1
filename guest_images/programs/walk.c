/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * walk pages=N passes=M: in every pass, write a pattern over N pages of fresh memory, then read all of it back.
 *
 * With mix64 as in user.h and 64-bit wrapping arithmetic, word k (0..511) of page i (0..N-1) in pass p (1..M) is
 *     word(i, p, k) = mix64(i << 32 | p) + k * 0x9e3779b97f4a7c15
 * and the checksum printed is, over all p (outer) and i (inner) in rising order, starting from sum = 0,
 *     sum = rotate_left(sum, 5) ^ word(i, p, i % 512)        taken from memory
 */
#include "user.h"

enum { WORDS = 512 };
#define STEP 0x9e3779b97f4a7c15ull

static u64 first_word(u64 page, u64 pass) { return mix64(page << 32 | pass); }

static void write_page(u64 *p, u64 page, u64 pass)
{
    u64 v = first_word(page, pass);
    for (int k = 0; k < WORDS; k++, v += STEP)
        p[k] = v;
}

/* Index of the first wrong word, or WORDS. */
static int check_page(const u64 *p, u64 page, u64 pass)
{
    u64 v = first_word(page, pass);
    int k = 0;
    for (; k < WORDS && p[k] == v; k++)
        v += STEP;
    return k;
}

int main(int argc, char **argv)
{
    u64 pages = arg_u64(argc, argv, "pages", 256), passes = arg_u64(argc, argv, "passes", 2), sum = 0;
    u64 *memory = mmap(pages * PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    if (!memory) {
        printf("walk: no memory for %llu pages\n", pages);
        return 1;
    }
    for (u64 pass = 1; pass <= passes; pass++) {
        for (u64 i = 0; i < pages; i++)
            write_page(memory + i * WORDS, i, pass);
        for (u64 i = 0; i < pages; i++) {
            u64 *p = memory + i * WORDS;
            int k = check_page(p, i, pass);
            if (k < WORDS) {
                printf("walk: page %llu pass %llu word %d is 0x%llx\n", i, pass, k, p[k]);
                return 1;
            }
            sum = (sum << 5 | sum >> 59) ^ p[i % WORDS];
        }
    }
    printf("walk: pages=%llu passes=%llu checksum=0x%016llx\n", pages, passes, sum);
    return 0;
}
