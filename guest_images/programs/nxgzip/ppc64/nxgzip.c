/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nxgzip size=BYTES chunk=BYTES tasks=N rounds=N kind=0..2 touch=1 dump=1: compress a buffer with the NX engine and decompress it
 * again, in N tasks with a window each, and compare. size and chunk take K and M. kind: 0 text, 1 random, 2 zeros. touch: make
 * all pages of a request present before it is pasted. dump: print the compressed stream.
 */
#include "nx_user.h"

enum { TEXT, RANDOM, ZEROS };

struct options {
    u64 size, chunk, rounds, kind;
    bool touch, dump;
};

/* Words of a small vocabulary, so that there is something to find at every distance. */
static void fill(u8 *p, u64 n, u64 kind, u64 seed)
{
    static const char *const words[] = {
        "page", "fault", "window", "credit", "paste", "engine", "buffer", "switchboard", "interrupt", "the", "of", "and", "a", "block", "status",
        "queue",
    };
    memset(p, 0, n);
    for (u64 i = 0, k = 0; kind != ZEROS && i < n; k++) {
        u64 r = mix64(seed << 40 | k);
        if (kind == RANDOM) {
            p[i++] = (u8)r;
            continue;
        }
        for (const char *w = words[r % ARRAY_LEN(words)]; *w && i < n; w++)
            p[i++] = (u8)*w;
        if (i < n)
            p[i++] = r >> 32 & 7 ? ' ' : '\n';
        if ((r >> 40 & 15) == 0)
            for (int d = 0; d < 6 && i < n; d++)
                p[i++] = (u8)('0' + (r >> (44 + 3 * d) & 7));
    }
}

static void dump_stream(const u8 *p, u64 n)
{
    static const char digit[] = "0123456789abcdef";
    char line[129];
    for (u64 i = 0; i < n; i += 64) {
        u64 k = 0;
        for (; k < 64 && i + k < n; k++) {
            line[2 * k] = digit[p[i + k] >> 4];
            line[2 * k + 1] = digit[p[i + k] & 15];
        }
        line[2 * k] = 0;
        printf("stream %s\n", line);
    }
}

/* MB/s with one digit. */
static void print_rate(const char *what, u64 bytes, u64 ns)
{
    u64 tenths = ns ? bytes * 10000 / ns : 0;
    printf("  %s %llu bytes in %llu us, %llu.%llu MB/s\n", what, bytes, ns / 1000, tenths / 10, tenths % 10);
}

static bool round_trip(struct nx *nx, const struct options *o, u64 seed, u64 *packed)
{
    u64 room = o->size + o->size / 8 + (o->size / PAGE_SIZE + 2) * 32 + 4096;
    u8 *in = mmap(o->size, UPROT_READ | UPROT_WRITE), *out = mmap(room, UPROT_READ | UPROT_WRITE);
    u8 *back = mmap(o->size + PAGE_SIZE, UPROT_READ | UPROT_WRITE);
    struct nx_block *block = mmap(sizeof *block, UPROT_READ | UPROT_WRITE);
    if (!in || !out || !back || !block) {
        printf("nxgzip: no memory for %llu bytes\n", o->size);
        return false;
    }
    fill(in, o->size, o->kind, seed);
    u64 start = time_ns();
    s64 n = nx_compress(nx, block, in, o->size, out, room);
    u64 middle = time_ns();
    s64 m = n > 0 ? nx_decompress(nx, block, out, (u64)n, back + PAGE_SIZE, o->size) : n;
    u64 end = time_ns();
    bool same = m == (s64)o->size && memcmp(in, back + PAGE_SIZE, o->size) == 0;
    if (n > 0 && m > 0) {
        print_rate("compressed", o->size, middle - start);
        print_rate("decompressed", o->size, end - middle);
    }
    if (!same)
        printf("nxgzip: compress gave %lld, decompress %lld, %s\n", n, m, m == (s64)o->size ? "with other contents" : "no buffer");
    if (o->dump && n > 0)
        dump_stream(out, (u64)n);
    *packed = n > 0 ? (u64)n : 0;
    munmap(in, o->size);
    munmap(out, room);
    munmap(back, o->size + PAGE_SIZE);
    munmap(block, sizeof *block);
    return same;
}

static int worker(const struct options *o, u64 number)
{
    struct nx nx = {.chunk = o->chunk, .touch_first = o->touch};
    struct nx_stats *s = &nx.stats;
    u64 packed = 0;
    bool ok = true;
    int error = nx_open(&nx);
    if (error) {
        printf("nxgzip: no window (%d)\n", error);
        return 1;
    }
    for (u64 round = 0; round < o->rounds && ok; round++)
        ok = round_trip(&nx, o, number << 8 | round, &packed);
    nx_close(&nx);                      /* comes back when every credit is home */
    printf("nxgzip: task %llu: %llu -> %llu bytes, %llu jobs, %llu faults, %llu retries, %llu halved\n", number, o->size, packed, s->jobs, s->faults,
           s->faults, s->halved);
    printf("nxgzip: task %llu: credits: %llu taken, %llu refused, %llu home\n", number, s->accepted, s->refused, s->answered);
    return !ok || s->accepted != s->answered;
}

/* Number of the argument with K or M behind it. */
static u64 size_option(int argc, char **argv, const char *name, u64 otherwise)
{
    u64 v = arg_u64(argc, argv, name, otherwise);
    size_t n = strlen(name);
    for (int i = 1; i < argc; i++) {
        size_t len = strlen(argv[i]);
        if (len > n && memcmp(argv[i], name, n) == 0 && argv[i][n] == '=')
            v <<= argv[i][len - 1] == 'M' ? 20 : argv[i][len - 1] == 'K' ? 10 : 0;
    }
    return v;
}

int main(int argc, char **argv)
{
    struct options o = {
        .size = size_option(argc, argv, "size", 1 << 20), .chunk = size_option(argc, argv, "chunk", 256 << 10),
        .rounds = arg_u64(argc, argv, "rounds", 1), .kind = arg_u64(argc, argv, "kind", TEXT), .touch = arg_u64(argc, argv, "touch", 0),
        .dump = arg_u64(argc, argv, "dump", 0),
    };
    u64 tasks = arg_u64(argc, argv, "tasks", 1);
    bool ok = o.size && o.chunk >= PAGE_SIZE && o.chunk <= 1 << 20 && o.rounds;
    if (!ok)
        printf("nxgzip: size and rounds must not be 0, chunk must be 4K to 1M\n");
    if (ok && tasks == 1)
        ok = worker(&o, 1) == 0;
    for (u64 n = 1; ok && tasks > 1 && n <= tasks; n++) {
        int pid = fork();
        if (pid == 0)
            exit(worker(&o, n));
        ok = pid > 0;
    }
    for (u32 status; tasks > 1 && wait(&status) > 0;)
        ok = ok && WEXITED(status) && WEXITSTATUS(status) == 0;
    printf("nxgzip: %s\n", ok ? "PASS" : "FAIL");
    return !ok;
}
