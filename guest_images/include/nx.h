/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The NX gzip engine as programs see it: its control blocks, all big-endian (Power NX Gzip Accelerator User's Manual 6), and the
 * device that opens windows to it (Linux, Documentation/powerpc/vas-api.rst).
 */
#ifndef VMEMU_NX_H
#define VMEMU_NX_H

typedef unsigned char nx_u8;
typedef unsigned short nx_u16;
typedef unsigned int nx_u32;
typedef unsigned long long nx_u64;

#define NX_DEVICE "/dev/crypto/nx-gzip"
/* _IOW('v', 0x20, struct vas_tx_win_open_attr) on powerpc */
#define VAS_TX_WIN_OPEN 0x80407620u
struct vas_tx_win_open_attr {
    nx_u32 version;                     /* 1 */
    short vas_id;                       /* -1: the local chip's */
    nx_u16 reserved1;
    nx_u64 flags;
    nx_u64 reserved2[6];
};

/* Where in a window's page a CRB is pasted: Report Enable, which NX needs. */
#define NX_PASTE_OFFSET 0x400

struct nx_dde {                         /* data descriptor, 6.4 */
    nx_u16 reserved1;
    nx_u8 count;                        /* 0: direct; else the length of the list at address */
    nx_u8 reserved2;
    nx_u32 bytes;
    nx_u64 address;
};

struct nx_stamp {                       /* what NX writes into a fault CRB */
    nx_u64 address;                     /* the byte that missed */
    nx_u16 reserved;
    nx_u8 flags, status;
    nx_u32 pswid;
};

struct nx_crb {                         /* coprocessor request block, 6.2 */
    nx_u32 ccw;                         /* function code in the low byte */
    nx_u32 flags;
    nx_u64 csb;                         /* the low four bits are flags */
    struct nx_dde source, target;
    nx_u8 ccb[16];
    struct nx_stamp stamp;
    nx_u8 reserved[48];
} __attribute__((aligned(128)));
_Static_assert(sizeof(struct nx_crb) == 128, "NX Gzip User's Manual 6.2");

struct nx_csb {                         /* coprocessor status block, 6.6 */
    nx_u8 flags;                        /* V */
    nx_u8 cs;
    nx_u8 cc;                           /* completion code */
    nx_u8 ce;
    nx_u32 count;                       /* bytes stored to the target */
    nx_u64 address;
} __attribute__((aligned(16)));
#define NX_CSB_V 0x80
#define NX_CSB_ADDRESS(p) ((p) & ~15ull)

enum { NX_CE_PARTIAL = 0x80, NX_CE_TERMINATED = 0x40, NX_CE_COUNT = 0x20 };
enum {
    NX_CC_OK = 0, NX_CC_PARTIAL = 3, NX_CC_TRANSLATION_V8 = 5, NX_CC_TARGET_SPACE = 13, NX_CC_DDE = 14, NX_CC_FUNCTION = 17, NX_CC_CRB = 21,
    NX_CC_LARGER = 64, NX_CC_TRANSLATION = 250
};
enum {
    NX_COMPRESS_FHT = 0x00, NX_COMPRESS_RESUME_FHT = 0x08, NX_DECOMPRESS = 0x10, NX_DECOMPRESS_RESUME = 0x14, NX_WRAP = 0x1e
};

struct nx_cpb {                         /* coprocessor parameter block, 6.8; right behind the CSB */
    nx_u32 in_adler;
    nx_u8 in_crc[4];                    /* least significant byte first */
    nx_u16 in_histlen;                  /* top 12 bits: quadwords of history before the source */
    nx_u8 in_reserved1, in_subc, in_reserved2, in_sfbt;
    nx_u16 in_remainder;                /* or DHTlen */
    nx_u8 in_dht[288];
    nx_u8 in_reserved3[80];
    nx_u32 out_adler;
    nx_u8 out_crc[4];
    nx_u8 out_reserved1, out_tebc;      /* valid bits of the last byte, 0: 8 */
    nx_u16 out_subc;
    nx_u8 out_reserved2, out_sfbt;
    nx_u16 out_remainder;
    union {
        nx_u32 compress_spbc;           /* source bytes processed */
        nx_u8 dht[288];
    } out;
    nx_u32 decompress_spbc;
    nx_u8 reserved[1680 - 692];
};
_Static_assert(__builtin_offsetof(struct nx_cpb, out_adler) == 384, "NX Gzip User's Manual, Table 6-4");
_Static_assert(__builtin_offsetof(struct nx_cpb, out) == 400, "NX Gzip User's Manual, Table 6-4");
_Static_assert(__builtin_offsetof(struct nx_cpb, decompress_spbc) == 688, "NX Gzip User's Manual, Table 6-6");
_Static_assert(sizeof(struct nx_cpb) == 1680, "NX Gzip User's Manual 6.8");

#endif
