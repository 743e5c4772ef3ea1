# SPDX-License-Identifier: GPL-2.0-or-later
"""The page checksum: published vectors, and the processor's instruction against the table."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.core import crc32c, ffi, lib

ISCSI_READ = bytes.fromhex(
    "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000"
)
# RFC 3720 B.4 writes the bytes of each CRC in the order of transmission, least significant first.
VECTORS = [
    (bytes(32), "aa36918a"),
    (b"\xff" * 32, "43aba862"),
    (bytes(range(32)), "4e79dd46"),
    (bytes(range(31, -1, -1)), "5cdb3f11"),
    (ISCSI_READ, "563a96d9"),
]


@pytest.mark.parametrize(("data", "wire"), VECTORS)
def test_rfc_3720_vectors(data: bytes, wire: str) -> None:
    assert crc32c(data) == int.from_bytes(bytes.fromhex(wire), "little")
    assert lib.crc32c_reference(data, len(data)) == crc32c(data)


def test_check_value_and_empty_input() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the catalogue of parametrised CRC algorithms
    assert crc32c(b"") == 0


def test_every_length_and_alignment() -> None:
    """Fast path and table agree where the lanes, the words and the single bytes begin and end."""
    data = random.Random(1).randbytes(3 * 4096)
    base = ffi.from_buffer(data)
    lengths = [*range(80), *range(1350, 1370), *range(4060, 4125), *range(8150, 8180)]
    for align in range(9):
        for n in lengths:
            assert lib.crc32c(base + align, n) == lib.crc32c_reference(base + align, n), (align, n)


@given(st.binary(max_size=5000), st.integers(0, 1 << 31))
def test_agrees_and_finds_a_flipped_bit(data: bytes, where: int) -> None:
    crc = crc32c(data)
    assert crc == lib.crc32c_reference(data, len(data))
    if data:
        spoiled = bytearray(data)
        spoiled[where % len(data)] ^= 1 << where % 8
        assert crc32c(spoiled) != crc
