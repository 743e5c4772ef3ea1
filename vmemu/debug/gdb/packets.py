# SPDX-License-Identifier: GPL-2.0-or-later
"""Framing of gdb's remote serial protocol: ``$data#checksum``, escapes, runs, acknowledgements.

"RSP" is appendix E of the GDB manual, "GDB Remote Serial Protocol". What comes in is a stranger's: nothing here raises.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Longest packet, as told to the client by PacketSize: data between `$` and `#`.
MOST = 0x4000
_MARKS = frozenset(b"#$}*")  # RSP E.1: what must be escaped in replies


class Signal(Enum):
    """What may come between packets."""

    ACK = "+"
    NAK = "-"
    BREAK = "\x03"  # RSP E.9: stop the guest
    BAD = "checksum"  # a packet that was damaged on its way, or is too long


@dataclass(frozen=True, slots=True)
class Packet:
    """The data of a packet, escapes undone."""

    data: bytes


def escape(data: bytes) -> bytes:
    """RSP E.1: 0x7d, then the byte with bit 5 turned over."""
    if not _MARKS.intersection(data):
        return data
    out = bytearray()
    for byte in data:
        out += bytes((0x7D, byte ^ 0x20)) if byte in _MARKS else bytes((byte,))
    return bytes(out)


def unescape(data: bytes) -> bytes:
    """The other way round; a lone mark at the end stands for nothing."""
    if 0x7D not in data:
        return data
    out, pending = bytearray(), 0
    for byte in data:
        if byte == 0x7D and not pending:
            pending = 0x20
        else:
            out.append(byte ^ pending)
            pending = 0
    return bytes(out)


def squeeze(data: bytes) -> bytes:
    """Run-length encoding of escaped data (RSP E.1): ``X*N`` is X and N - 29 more of it, 3 to 97, N being neither # nor $."""
    out, i = bytearray(), 0
    while i < len(data):
        byte, n = data[i], 1
        while n < 98 and i + n < len(data) and data[i + n] == byte:
            n += 1
        more = n - 1
        if more in (6, 7):  # "#" and "$"
            more = 5
        if more < 3 or byte == 0x7D or (i and data[i - 1] == 0x7D):  # an escaped byte is two: leave them alone
            out.append(byte)
            i += 1
            continue
        out += bytes((byte, 0x2A, more + 29))
        i += more + 1
    return bytes(out)


def frame(data: bytes) -> bytes:
    """A packet as it goes over the wire. `data` is not escaped yet."""
    body = squeeze(escape(data))
    return b"$%s#%02x" % (body, sum(body) & 0xFF)


class Parser:
    """Bytes in, packets and signals out. It holds no more than one packet of the allowed length."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._inside = False  # after a `$`
        self._overflow = False
        self._digits = -1  # of the checksum, once `#` has come

    def feed(self, data: bytes) -> list[Packet | Signal]:
        """What these bytes complete."""
        found: list[Packet | Signal] = []
        for byte in data:
            if self._digits >= 0:
                self._checksum(byte, found)
            elif self._inside:
                self._body(byte)
            elif byte == 0x24:
                self._begin()
            elif byte in b"+-\x03":
                found.append(Signal(chr(byte)))
            # anything else between packets is noise of the line
        return found

    def _begin(self) -> None:
        self._held.clear()
        self._inside, self._overflow = True, False

    def _body(self, byte: int) -> None:
        if byte == 0x23:
            self._digits = 0
            self._held.append(byte)
        elif byte == 0x24:  # the packet before was cut off: a `$` inside would be escaped
            self._begin()
        elif len(self._held) < MOST:
            self._held.append(byte)
        else:
            self._overflow = True

    def _checksum(self, byte: int, found: list[Packet | Signal]) -> None:
        if byte == 0x24:
            found.append(Signal.BAD)
            self._digits = -1
            self._begin()
            return
        self._held.append(byte)
        self._digits += 1
        if self._digits < 2:
            return
        body, digits = bytes(self._held[:-3]), bytes(self._held[-2:])
        self._digits, self._inside = -1, False
        self._held.clear()
        good = not self._overflow and b"%02x" % (sum(body) & 0xFF) == digits.lower()
        found.append(Packet(unescape(body)) if good else Signal.BAD)
