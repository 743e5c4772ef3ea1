# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's codec: a typed face of the C unit `_nx` (devices/src/nx.h).

Inflating and deflating are done in runs over bounded buffers. What lives between two runs is plain data, so that a job can be
saved between them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from vmemu.devices._nx import ffi, lib

WINDOW = 32768
DHT_BYTES = 288
#: LZ77 symbol counts: 286 literals and lengths, 30 distances.
COUNTS = 316


class Status(IntEnum):
    """How a run ended (nx.h, enum nx_status); from 66 on these are the engine's completion codes."""

    OK = 0
    MORE = 1
    FULL = 2
    FINAL = 3
    BLOCK = 4
    SYMBOL = 66
    DISTANCE = 67
    DHT = 68


class Mode(IntEnum):
    """Where a stream stands (nx.h, enum inflate_mode)."""

    HEADER = 0
    STORED = 1
    FIXED = 2
    DYNAMIC = 3
    DONE = 4


def crc32(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """CRC-32 of RFC 1952, going on from `value`."""
    return int(lib.nx_crc32(value, ffi.from_buffer(data), len(data)))


def adler32(data: bytes | bytearray | memoryview, value: int = 1) -> int:
    """Adler-32 of RFC 1950, going on from `value`."""
    return int(lib.nx_adler32(value, ffi.from_buffer(data), len(data)))


def _table(bits: int, dht: bytes) -> bytes:
    return dht[:DHT_BYTES].ljust(DHT_BYTES, b"\0")


@dataclass(slots=True)
class Inflate:
    """A stream between two runs. `remain`: bytes left of a stored block. `dht`: the dynamic block's header, `dht_bits` long."""

    mode: Mode = Mode.HEADER
    final: bool = False
    remain: int = 0
    dht_bits: int = 0
    dht: bytes = b""

    def check(self) -> Status:
        """Whether the dynamic table is one: OK or DHT. For what came from outside."""
        return Status(int(lib.nx_inflate_tables(self._c())))

    def run(self, source: bytes | bytearray, skip: int, history: bytes, cap: int, *, one_block: bool = False) -> tuple[Status, int, bytes]:
        """Decode from bit `skip` of `source` (0 to 7), making `cap` bytes at most.

        Returns (status, bits of the source that are used, `skip` included, output).
        """
        c = self._c()
        if int(lib.nx_inflate_tables(c)):
            return Status.DHT, skip, b""
        have = len(history)
        out = ffi.new("uint8_t[]", have + cap + 1)
        ffi.memmove(out, history, have)
        status = Status(int(lib.nx_inflate(c, ffi.from_buffer(source), len(source), skip, out, have, have + cap, one_block)))
        self.mode, self.final, self.remain = Mode(int(c.mode)), bool(c.final), int(c.remain)
        if self.mode is Mode.DYNAMIC:
            self.dht_bits, self.dht = int(c.dht_bits), bytes(ffi.buffer(c.dht))
        return status, int(c.used), bytes(ffi.buffer(out + have, c.produced))

    def _c(self) -> Any:
        c = ffi.new("struct nx_inflate *")
        c.mode, c.final, c.remain = int(self.mode), int(self.final), self.remain
        if self.mode is Mode.DYNAMIC:
            c.dht_bits = self.dht_bits
            ffi.memmove(c.dht, _table(self.dht_bits, self.dht), DHT_BYTES)
        return c


@dataclass(slots=True)
class Deflate:
    """A block that is being made. `dht_bits` 0: the fixed codes. `pending`: bits that make no byte yet."""

    dht_bits: int = 0
    dht: bytes = b""
    pending: int = 0
    npending: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * COUNTS)

    def check(self) -> Status:
        """Whether the dynamic table is one: OK or DHT."""
        return Status(int(lib.nx_deflate_tables(self._c())))

    def run(self, source: bytes | bytearray, history: int, *, first: bool, last: bool) -> tuple[Status, bytes]:
        """Encode source[history:]. After the last run `npending` is the number of valid bits in the last byte, 0 for all eight."""
        c = self._c()
        if int(lib.nx_deflate_tables(c)):
            return Status.DHT, b""
        cap = 2 * (len(source) - history) + 2 * DHT_BYTES  # 15 bits a literal at most
        out = ffi.new("uint8_t[]", cap)
        status = Status(int(lib.nx_deflate(c, ffi.from_buffer(source), history, len(source), out, cap, first, last)))
        self.pending, self.npending = int(c.pending), int(c.npending)
        self.counts = list(c.count)
        return status, bytes(ffi.buffer(out, c.produced))

    def _c(self) -> Any:
        c = ffi.new("struct nx_deflate *")
        c.type, c.dht_bits = 2 if self.dht_bits else 1, self.dht_bits
        ffi.memmove(c.dht, _table(self.dht_bits, self.dht), DHT_BYTES)
        c.pending, c.npending = self.pending, self.npending
        c.count = self.counts
        return c
