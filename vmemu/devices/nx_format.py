# SPDX-License-Identifier: GPL-2.0-or-later
"""Wire formats of the NX gzip engine: CRB, DDE, CSB and CPB. All big-endian.

Sources: "Power NX Gzip Accelerator User's Manual" v0.91 (UM) chapters 5 and 6; layouts of asm/icswx.h. Where those are silent
the choice is vmemu's own and says so.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

CRB_SIZE = 128
QUADWORD = 16

# ------------------------------------------------------------------------- function codes (UM 6.11.1)
FC_LOW_LIMIT = 0x01
FC_DHT = 0x02
FC_COUNT = 0x04
FC_RESUME = 0x08
COMPRESS = frozenset(range(0x00, 0x10, 2))
DECOMPRESS = frozenset((0x10, 0x12, 0x14, 0x16))
FC_ONE_BLOCK, FC_RESUME_DECOMPRESS = 0x02, 0x04  # of a decompression
WRAP = 0x1E


def cpb_in_size(function: int) -> int:
    """Bytes of CPB input that the engine fetches for an even function code (UM 6.8.1)."""
    if function in COMPRESS:
        return 19 * QUADWORD if function & FC_DHT else QUADWORD if function & FC_RESUME else 0
    return 19 * QUADWORD if function in DECOMPRESS and function & FC_RESUME_DECOMPRESS else 0


def spbc_offset(function: int) -> int:
    """Where in the CPB the count of processed source bytes goes."""
    if function in DECOMPRESS:
        return 688
    return 1664 if function in COMPRESS and function & FC_COUNT else 400


class CC(IntEnum):
    """Completion codes (UM tables 5-1 and 6-8)."""

    OK = 0
    LIST_ALIGNMENT = 1
    SUSPENDED = 3  # also: history as long as the source (CE termination)
    MEMORY = 7
    INTERNAL = 10
    TARGET_SPACE = 13
    DDE = 14
    FUNCTION = 17
    CORRUPT = 20  # the CRB came damaged out of the FIFO
    CRB = 21
    LIST_RESERVED = 30
    LIST_NESTED = 31
    LIST_TOTAL = 33
    EXPANDED = 64
    SYMBOL = 66
    DISTANCE = 67
    DHT = 68
    WATCHDOG = 224


CE_PARTIAL, CE_TERMINATION, CE_TPBC = 0x80, 0x40, 0x20
CE_OK, CE_SUSPENDED, CE_ERROR = CE_TPBC, CE_PARTIAL | CE_TPBC, CE_TERMINATION | CE_TPBC
CSB_VALID = 0x80


class FaultStatus(IntEnum):
    """Why a translation failed: byte 75 of a fault stamp. vmemu's own numbers: IBM's are not published."""

    ABSENT = 1
    RIGHTS = 2
    UNMAPPED = 3


class Ended(Exception):
    """A job's outcome is known, and it is an error."""

    def __init__(self, cc: CC, address: int = 0) -> None:
        super().__init__(cc.name)
        self.cc, self.address = cc, address


@dataclass(slots=True)
class Result:
    """What goes into the CSB, and the CPB's output part."""

    cc: int
    ce: int
    count: int
    address: int
    cpb: bytes


# ------------------------------------------------------------------------- CRB
@dataclass(frozen=True, slots=True)
class Dde:
    """A data descriptor: `count` 0 is direct, else the number of listed ones at `address`."""

    reserved: int
    count: int
    length: int
    address: int

    @classmethod
    def parse(cls, raw: bytes) -> Dde:
        high, count, low, length, address = struct.unpack(">HBBIQ", raw)
        return cls(high << 8 | low, count, length, address)


@dataclass(frozen=True, slots=True)
class Crb:
    """A coprocessor request block as the engine reads it; bytes 64 to 127 mean nothing to it (UM 6.3)."""

    ccw: int
    flags: int
    csb_word: int
    source: Dde
    target: Dde
    ccb: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Crb:
        ccw, flags, csb_word = struct.unpack_from(">IIQ", raw)
        return cls(ccw, flags, csb_word, Dde.parse(raw[16:32]), Dde.parse(raw[32:48]), bytes(raw[48:64]))

    @property
    def function(self) -> int:
        """Function code, without the bit that forces the low byte limit."""
        return self.ccw & 0x3E

    @property
    def low_limit(self) -> bool:
        return bool(self.ccw & FC_LOW_LIMIT)

    @property
    def csb(self) -> int:
        """Address of the CSB: the low bits are flags (UM 6.3)."""
        return self.csb_word & ~0xF

    @property
    def wants_interrupt(self) -> bool:
        """C = 1 and, checked, CM = 1."""
        return bool(self.csb_word & 0x8)

    def check(self) -> CC:
        """OK, CRB or FUNCTION: what the engine finds wrong before it touches memory."""
        if self.ccw & ~0x3F or self.flags or self.source.reserved or self.target.reserved:
            return CC.CRB
        if self.wants_interrupt and self.ccb[15] & 7 != 1:
            return CC.CRB
        if not self.wants_interrupt and any(self.ccb):
            return CC.CRB
        if self.function in COMPRESS or self.function in DECOMPRESS or self.function == WRAP:
            return CC.OK
        return CC.FUNCTION


def stamp_paste(crb: bytes, send: int, receive: int) -> bytes:
    """The CRB as the switchboard puts it into a receive FIFO: quadword 4 says which windows it went through."""
    return crb[:64] + struct.pack(">IIII", send & 0xFFFF, receive & 0xFFFF, 0, 0) + crb[80:CRB_SIZE]


def is_discarded(entry: bytes) -> bool:
    """The hypervisor has marked this entry of a receive FIFO: word 3 of the stamp, bit 31."""
    return bool(entry[79] & 1)


def stamp_fault(crb: bytes, address: int, status: int, store: bool, pswid: int, *, clear_ccw: bool = True) -> bytes:
    """The CRB as the engine pastes it into the fault FIFO."""
    ccw = crb[:3] + bytes([crb[3] & ~1 if clear_ccw else crb[3]])
    return ccw + crb[4:64] + struct.pack(">QHBBI", address, 0, int(store), status, pswid) + crb[80:CRB_SIZE]


def is_free(entry: bytes) -> bool:
    """An entry of the fault FIFO that the kernel has invalidated, or that was never used."""
    return entry[76:80] == b"\xff\xff\xff\xff" or bool(entry[3] & 1)


# ------------------------------------------------------------------------- CSB and CPB
def csb(cc: int, ce: int, count: int, address: int) -> bytes:
    """A valid CSB. Byte 0 is to be stored last."""
    return struct.pack(">BBBBIQ", CSB_VALID, 0, cc, ce, count & 0xFFFFFFFF, address)


@dataclass(frozen=True, slots=True)
class CpbIn:
    """CPB input (UM tables 6-3 to 6-6); a prefix of it may be missing from the end, and reads as zeros."""

    adler: int
    crc: int
    history: int
    subc: int
    sfbt: int
    word: int
    dht: bytes

    @classmethod
    def parse(cls, raw: bytes) -> CpbIn:
        raw = raw.ljust(304, b"\0")
        adler, history, word = struct.unpack_from(">I4xH4xH", raw)
        return cls(adler, int.from_bytes(raw[4:8], "little"), (history >> 4) * QUADWORD, raw[11] & 7, raw[13] & 15, word, raw[16:304])

    @property
    def dht_bits(self) -> int:
        return self.word & 0xFFF


#: CPB output starts here.
CPB_OUT = 384


def cpb_compress(function: int, crc: int, adler: int, tebc: int, spbc: int, counts: list[int]) -> bytes:
    """CPB output of a compression or a wrap, from CPB_OUT on."""
    head = struct.pack(">I", adler) + crc.to_bytes(4, "little") + bytes((0, tebc & 7, 0, 0, 0, 0, 0, 0))
    table = b"".join(n.to_bytes(4, "big") for n in counts) if spbc_offset(function) == 1664 else b""
    return head + table + spbc.to_bytes(4, "big")


def cpb_decompress(crc: int, adler: int, subc: int, sfbt: int, word: int, dht: bytes, spbc: int) -> bytes:
    """CPB output of a decompression, from CPB_OUT on. `word`: RemByteCnt or DHTlen."""
    head = struct.pack(">I", adler) + crc.to_bytes(4, "little") + struct.pack(">HHBBH", 0, subc, 0, sfbt, word)
    return head + dht.ljust(288, b"\0") + spbc.to_bytes(4, "big")
