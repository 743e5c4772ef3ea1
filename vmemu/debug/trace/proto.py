# SPDX-License-Identifier: GPL-2.0-or-later
"""The wire format of protocol buffers (protobuf.dev, "Encoding"), as much as a trace needs: four ways to write a field."""

from __future__ import annotations

import struct

_FIXED64 = struct.Struct("<Q")
_SMALL = [bytes((n,)) for n in range(128)]


def varint(value: int) -> bytes:
    """Seven bits a byte, lowest first. `value` is not negative."""
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_NUMBER, _FIXED, _BLOB = ([varint(field << 3 | wire) for field in range(128)] for wire in (0, 1, 2))


def number(field: int, value: int) -> bytes:
    """A uint or enum field; an int64 below zero is its two's complement."""
    return _NUMBER[field] + varint(value & 0xFFFFFFFFFFFFFFFF)


def fixed64(field: int, value: int) -> bytes:
    return _FIXED[field] + _FIXED64.pack(value)


def blob(field: int, data: bytes) -> bytes:
    """A message, or bytes."""
    return _BLOB[field] + varint(len(data)) + data


def text(field: int, value: str) -> bytes:
    return blob(field, value.encode())
