/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flattened device tree reader (Devicetree Specification v0.4, chapter 5). Offsets into the structure block are the only
 * handles; every read is checked against the block it is in, and a malformed tree panics.
 */
#include "kernel.h"

enum { TOKEN_BEGIN = 1, TOKEN_END = 2, TOKEN_PROP = 3, TOKEN_NOP = 4, TOKEN_STOP = 9 };
enum { MAX_DEPTH = 16, HEADER_SIZE = 40 };
#define FDT_MAGIC 0xd00dfeedu

static const u8 *tree;
static u32 total, structure, structure_size, strings, strings_size;

static u32 be32(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

/* The n bytes at offset off of the structure block. */
static const u8 *at(u32 off, u32 n)
{
    if (off > structure_size || n > structure_size - off)
        panic("fdt: offset %x is outside of the structure block", off);
    return tree + structure + off;
}

void fdt_init(const void *dtb)
{
    tree = dtb;
    if ((uptr)dtb & 3 || be32(tree) != FDT_MAGIC)
        panic("fdt_init: no device tree at %p", dtb);
    total = be32(tree + 4);
    structure = be32(tree + 8);
    strings = be32(tree + 12);
    strings_size = be32(tree + 32);
    structure_size = be32(tree + 36);
    if (total < HEADER_SIZE || structure > total || structure_size > total - structure || strings > total ||
        strings_size > total - strings || (structure & 3))
        panic("fdt_init: malformed header");
}

const void *fdt_header(void) { return tree; }
u32 fdt_size(void) { return total; }

/* Length of the node name at off, bounded by the block. */
static u32 name_length(u32 off)
{
    u32 n = 0;
    while (*at(off + n, 1))
        n++;
    return n;
}

/* Offset of the token after the one at off. */
static u32 next(u32 off)
{
    switch (be32(at(off, 4))) {
    case TOKEN_BEGIN: return (off + 4 + name_length(off + 4) + 1 + 3) & ~3u;
    case TOKEN_PROP: {
        u32 len = be32(at(off + 4, 4));
        at(off + 12, len);
        return (off + 12 + len + 3) & ~3u;
    }
    case TOKEN_END:
    case TOKEN_NOP: return off + 4;
    default: panic("fdt: unexpected token at %x", off);
    }
}

/* Does the node at off (a BEGIN token) have this name? Without a unit address in the text any unit matches. */
static bool named(u32 off, const char *text, u32 len)
{
    u32 n = name_length(off + 4);
    const char *name = (const char *)at(off + 4, n + 1);
    return n >= len && memcmp(name, text, len) == 0 && (n == len || name[len] == '@');
}

/* The child of that name of the node whose contents start at body: offset of its contents, or 0. */
static u32 child(u32 body, const char *text, u32 len)
{
    int depth = 0;
    for (u32 off = body;; off = next(off)) {
        u32 token = be32(at(off, 4));
        if (token == TOKEN_BEGIN) {
            if (depth++ == 0 && named(off, text, len))
                return next(off);
        } else if (token == TOKEN_STOP || (token == TOKEN_END && depth-- == 0)) {
            return 0;
        }
    }
}

/* Contents of the node at the first len characters of path, or 0. */
static u32 node(const char *path, size_t len)
{
    u32 body = next(0);
    for (size_t i = 0; i < len && body;) {
        size_t n = 0;
        while (i < len && path[i] == '/')
            i++;
        while (i + n < len && path[i + n] != '/')
            n++;
        if (n)
            body = child(body, path + i, (u32)n);
        i += n;
    }
    return body;
}

/* A property of the node with these contents. Properties come before children. */
static const u8 *prop(u32 body, const char *name, u32 *len)
{
    for (u32 off = body;; off = next(off)) {
        u32 token = be32(at(off, 4));
        if (token == TOKEN_NOP)
            continue;
        if (token != TOKEN_PROP)
            return NULL;
        u32 string = be32(at(off + 8, 4)), n = (u32)strlen(name) + 1;
        if (string > strings_size || n > strings_size - string || memcmp(tree + strings + string, name, n) != 0)
            continue;
        *len = be32(at(off + 4, 4));
        return at(off + 12, *len);
    }
}

const void *fdt_prop(const char *path, const char *name, u32 *len)
{
    u32 body = node(path, strlen(path));
    return body ? prop(body, name, len) : NULL;
}

static u64 number(const u8 *p, u32 cells)
{
    u64 v = 0;
    for (u32 i = 0; i < cells; i++)
        v = v << 32 | be32(p + 4 * i);
    return v;
}

u64 fdt_num(const char *path, const char *name, u64 otherwise)
{
    u32 len;
    const u8 *p = fdt_prop(path, name, &len);
    return p && (len == 4 || len == 8) ? number(p, len / 4) : otherwise;
}

u32 fdt_u32(const char *path, const char *name, u32 otherwise) { return (u32)fdt_num(path, name, otherwise); }

const char *fdt_str(const char *path, const char *name)
{
    u32 len;
    const u8 *p = fdt_prop(path, name, &len);
    return p && len && p[len - 1] == 0 ? (const char *)p : NULL;
}

struct cells {
    u32 address, size;
};

/* Cell sizes that the node with these contents sets for its children. */
static struct cells cells_of(u32 body)
{
    u32 len;
    const u8 *a = prop(body, "#address-cells", &len);
    const u8 *s = prop(body, "#size-cells", &len);
    struct cells c = {a ? be32(a) : 2, s ? be32(s) : 1};
    if (c.address > 2 || c.size > 2)        /* PCI style: nothing that the kernel uses */
        c.address = c.size = 0;
    return c;
}

static bool reg(u32 body, struct cells c, u64 *addr, u64 *size)
{
    u32 len;
    const u8 *p = prop(body, "reg", &len);
    if (!p || c.address == 0 || len < 4 * (c.address + c.size))
        return false;
    *addr = number(p, c.address);
    *size = number(p + 4 * c.address, c.size);
    return true;
}

bool fdt_reg(const char *path, u64 *addr, u64 *size)
{
    size_t parent = strlen(path);
    u32 body = node(path, parent);
    while (parent && path[parent - 1] != '/')
        parent--;
    return body && reg(body, cells_of(node(path, parent)), addr, size);
}

bool fdt_child_reg(const char *path, int n, u64 *addr, u64 *size)
{
    u32 body = node(path, strlen(path));
    int depth = 0;
    for (u32 off = body; body; off = next(off)) {
        u32 token = be32(at(off, 4));
        if (token == TOKEN_BEGIN && depth++ == 0) {
            if (reg(next(off), cells_of(body), addr, size) && n-- == 0)
                return true;
        } else if (token == TOKEN_STOP || (token == TOKEN_END && depth-- == 0)) {
            break;
        }
    }
    return false;
}

/* Is text one of the NUL-separated strings? */
static bool in_list(const u8 *list, u32 len, const char *text)
{
    u32 n = (u32)strlen(text) + 1;
    for (u32 i = 0, start = 0; i < len; i++) {
        if (list[i])
            continue;
        if (i + 1 - start == n && memcmp(list + start, text, n) == 0)
            return true;
        start = i + 1;
    }
    return false;
}

bool fdt_has(const char *path, const char *name, const char *text)
{
    u32 len;
    const u8 *p = fdt_prop(path, name, &len);
    return p && in_list(p, len, text);
}

bool fdt_compatible_reg(const char *text, int n, u64 *addr, u64 *size)
{
    struct cells cells[MAX_DEPTH + 1] = {{2, 1}};
    int depth = 0;
    for (u32 off = 0; be32(at(off, 4)) != TOKEN_STOP; off = next(off)) {
        u32 token = be32(at(off, 4)), len;
        if (token == TOKEN_END)
            depth--;
        if (token != TOKEN_BEGIN)
            continue;
        if (++depth > MAX_DEPTH)
            panic("fdt: nodes deeper than %d", MAX_DEPTH);
        cells[depth] = cells_of(next(off));
        const u8 *list = prop(next(off), "compatible", &len);
        if (list && in_list(list, len, text) && n-- == 0)
            return reg(next(off), cells[depth - 1], addr, size);
    }
    return false;
}
