# SPDX-License-Identifier: GPL-2.0-or-later
"""Streams and tables for the codec's tests: dynamic headers from code lengths, and what zlib makes at every level and strategy."""

from __future__ import annotations

import zlib

from hypothesis import strategies as st

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED)


def zlib_raw(data: bytes, level: int = 6, strategy: int = 0, memory: int = 8) -> bytes:
    """A raw stream of the host's zlib."""
    made = zlib.compressobj(level, zlib.DEFLATED, -15, memory, strategy)
    return made.compress(data) + made.flush()


class Bits:
    """Bits, least significant first."""

    def __init__(self) -> None:
        self.value, self.size = 0, 0

    def put(self, value: int, n: int) -> Bits:
        self.value |= value << self.size
        self.size += n
        return self

    def bytes(self) -> bytes:
        return self.value.to_bytes(-(-self.size // 8), "little")


def header(literal: list[int], distance: list[int]) -> tuple[bytes, int]:
    """A type-10 header behind its three block bits, and its bits: every length is written as a symbol of four bits."""
    out = Bits().put(len(literal) - 257, 5).put(len(distance) - 1, 5).put(15, 4)
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15):
        out.put(4 if symbol < 16 else 0, 3)
    for length in literal + distance:
        out.put(int(f"{length:04b}"[::-1], 2), 4)
    return out.bytes(), out.size


def flat_table() -> tuple[bytes, int]:
    """A table that has every symbol."""
    return header([8] * 226 + [9] * 60, [4] * 2 + [5] * 28)


@st.composite
def complete_lengths(draw: st.DrawFn, symbols: int) -> list[int]:
    """Lengths of a complete code with `symbols` symbols: leaves of a random binary tree of depth 15 at most."""
    leaves = [0]
    while len(leaves) < symbols:
        open_ = [i for i, depth in enumerate(leaves) if depth < 12]
        at = open_[draw(st.integers(0, min(len(open_) - 1, 40)))]
        depth = leaves.pop(at)
        leaves += [depth + 1, depth + 1]
    return leaves


@st.composite
def tables(draw: st.DrawFn) -> tuple[bytes, int]:
    """A random table that has every symbol."""
    return header(draw(complete_lengths(286)), draw(complete_lengths(30)))


@st.composite
def texts(draw: st.DrawFn, most: int = 4000) -> bytes:
    """Data of every kind: runs, repeated phrases, noise."""
    parts = draw(st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.integers(1, 40)), min_size=1, max_size=12))
    return b"".join(part * n for part, n in parts)[:most]
