/* SPDX-License-Identifier: GPL-2.0-or-later
 * What cffi shows Python of nx.h. "..." = the compiler fills in the rest. */
struct nx_inflate { uint32_t mode, final, remain, dht_bits; uint8_t dht[288]; uint64_t used, produced; ...; };
struct nx_deflate {
    uint32_t type, dht_bits; uint8_t dht[288];
    uint64_t pending; uint32_t npending;
    uint32_t count[316];
    uint64_t produced;
    ...;
};
uint32_t nx_crc32(uint32_t crc, const uint8_t *p, size_t n);
uint32_t nx_adler32(uint32_t adler, const uint8_t *p, size_t n);
int nx_inflate_tables(struct nx_inflate *);
int nx_inflate(struct nx_inflate *, const uint8_t *src, uint64_t size, uint32_t skip, uint8_t *out, uint64_t have, uint64_t cap, bool one_block);
int nx_deflate_tables(struct nx_deflate *);
int nx_deflate(struct nx_deflate *, const uint8_t *src, uint64_t have, uint64_t size, uint8_t *out, uint64_t cap, bool first, bool last);
