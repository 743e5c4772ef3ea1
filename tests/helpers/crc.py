# SPDX-License-Identifier: GPL-2.0-or-later
"""CRC-32C a byte at a time: the reference."""

from __future__ import annotations


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _table()


def crc32c(data: bytes) -> int:
    """Castagnoli's polynomial, reflected: RFC 3720 B.4."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _CRC[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
