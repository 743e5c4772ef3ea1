# SPDX-License-Identifier: GPL-2.0-or-later
"""A small network card whose wire is a mirror: every packet sent comes back with each byte inverted.

Two rings of 16-byte descriptors in the guest's memory, big-endian: bus address (8), length (4), status (4). The driver fills
descriptors and moves a tail; the card works from head to tail, writes length and status back and moves its head. It reaches memory
through its bridge alone, and takes as long as a 10 Gb/s wire.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Protocol

from vmemu.devices.base import State

DESCRIPTOR = struct.Struct(">QII")
MOST_DESCRIPTORS = 4096
MOST_BYTES = 16384
#: IEEE 802.3: preamble, check sequence and gap between frames, 24 bytes; 10 Gb/s is 0.8 ns a byte.
OVERHEAD, NS_PER_10_BYTES = 24, 8
ID = 0x766D_656D_752D_6E63  # "vmemu-nc"


class Reg(IntEnum):
    """Registers, 8 bytes each, big-endian as the bus is. The bus moves 4 bytes at a time: the upper half of a write waits for the
    lower one, which may also come alone."""

    ID, CONTROL, CAUSE, TX_RING, TX_SIZE, TX_TAIL, TX_HEAD, RX_RING, RX_SIZE, RX_TAIL, RX_HEAD, ERROR, ERROR_AT, DROPPED = range(0, 112, 8)


class Cause(IntFlag):
    """CAUSE: why the card interrupts; writing ones takes them back."""

    SENT, RECEIVED, FAILED = 1, 2, 4


class Status(IntEnum):
    """Of a descriptor."""

    OWNED, DONE, BAD = range(3)


#: CONTROL. COALESCE: interrupt when the sending ring is empty, or something failed.
ENABLE, COALESCE = 1, 2
NOTHING = (-1, 0)


class DmaError(Exception):
    """The bridge refused an access: `code` 1 outside the window, 2 nothing there, 3 not allowed; `address` on the bus."""

    def __init__(self, code: int, address: int) -> None:
        super().__init__(f"{code} at {address:#x}")
        self.code, self.address = code, address


class Bridge(Protocol):
    """What lies between a card and memory."""

    def read(self, address: int, size: int) -> bytes:
        """Raises DmaError."""

    def write(self, address: int, data: bytes) -> None:
        """Raises DmaError; what lies before the place that failed is written."""


@dataclass(slots=True)
class Ring:
    """`head` and `tail` count descriptors and wrap at `size`; empty when equal."""

    base: int = 0
    size: int = 0
    head: int = 0
    tail: int = 0

    @property
    def empty(self) -> bool:
        return self.size == 0 or self.head == self.tail

    def here(self) -> int:
        return self.base + self.head * DESCRIPTOR.size

    def advance(self) -> None:
        self.head = (self.head + 1) % self.size


@dataclass(slots=True)
class Counters:
    sent: int = 0
    received: int = 0
    bytes: int = 0
    dropped: int = 0
    errors: int = 0


class NetCard:
    """One card. `now` and `deadline_changed` as for every device with deadlines; `interrupt(level)` is its line."""

    def __init__(
        self, bridge: Bridge, now: Callable[[], int], interrupt: Callable[[bool], None], deadline_changed: Callable[[], None]
    ) -> None:
        self._bridge, self._now, self._interrupt, self._changed = bridge, now, interrupt, deadline_changed
        self.counters = Counters()
        self.reset()

    def reset(self) -> None:
        self.control = 0
        self.cause = Cause(0)
        self.tx, self.rx = Ring(), Ring()
        self.error = self.error_at = 0
        self._due: int | None = None
        self._wire = b""
        self._upper = NOTHING

    # ------------------------------------------------------------- registers
    def read(self, offset: int, size: int) -> int:
        value = self._value(offset & ~7)
        if size == 8 and offset % 8 == 0:
            return value
        if size == 4 and offset % 4 == 0:
            return value & 0xFFFF_FFFF if offset % 8 else value >> 32
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if size == 4 and offset % 8 == 0:
            self._upper = (offset, value)
            return
        if size == 4 and offset % 8 == 4:
            at, upper = self._upper
            offset, value = offset - 4, value | (upper << 32 if at == offset - 4 else 0)
        elif size != 8 or offset % 8:
            return
        self._upper = NOTHING
        self._store(offset, value)

    def _value(self, offset: int) -> int:
        match offset:
            case Reg.ID:
                return ID
            case Reg.CONTROL:
                return self.control
            case Reg.CAUSE:
                return int(self.cause)
            case Reg.ERROR:
                return self.error
            case Reg.ERROR_AT:
                return self.error_at
            case Reg.DROPPED:
                return self.counters.dropped
        for ring, first in ((self.tx, Reg.TX_RING), (self.rx, Reg.RX_RING)):
            if first <= offset < first + 32:
                return (ring.base, ring.size, ring.tail, ring.head)[(offset - first) // 8]
        return 0

    def _store(self, offset: int, value: int) -> None:
        if offset == Reg.CONTROL:
            self.control = value & (ENABLE | COALESCE)
            if not self.control & ENABLE:
                self._due = None
        elif offset == Reg.CAUSE:
            self.cause &= ~Cause(value & 7)
            self._interrupt(bool(self.cause))
        for ring, first in ((self.tx, Reg.TX_RING), (self.rx, Reg.RX_RING)):
            if offset == first:
                ring.base = value
            elif offset == first + 8:
                ring.size = value if value <= MOST_DESCRIPTORS else 0
                ring.head = ring.tail = 0
            elif offset == first + 16 and value < ring.size:
                ring.tail = value
        self._look()

    # ------------------------------------------------------------------ work
    def _look(self) -> None:
        """A packet waits and the wire is free: fetch it; it has arrived when its last byte has passed."""
        if self._due is not None or not self.control & ENABLE or self.tx.empty:
            return
        try:
            address, length, _ = DESCRIPTOR.unpack(self._bridge.read(self.tx.here(), DESCRIPTOR.size))
            if not 0 < length <= MOST_BYTES:
                raise DmaError(1, address)
            self._wire = self._bridge.read(address, length)
        except DmaError as error:
            self._wire = b""
            self._failed(error)
            self._finish(self.tx, 0, Status.BAD)
            length = 0
        self._due = self._now() + (len(self._wire) + OVERHEAD) * NS_PER_10_BYTES // 10
        self._changed()

    def next_deadline(self) -> int | None:
        return self._due

    def on_deadline(self, now: int) -> None:
        packet, self._wire, self._due = self._wire, b"", None
        if packet:
            self.counters.sent += 1
            self._finish(self.tx, len(packet), Status.DONE)
            self.cause |= Cause.SENT
            self._arrive(bytes(b ^ 0xFF for b in packet))
        self._look()
        if not self.control & COALESCE or self._due is None or self.cause & Cause.FAILED:
            self._interrupt(bool(self.cause))

    def _arrive(self, packet: bytes) -> None:
        if self.rx.empty:
            self.counters.dropped += 1
            return
        try:
            address, room, _ = DESCRIPTOR.unpack(self._bridge.read(self.rx.here(), DESCRIPTOR.size))
            if len(packet) > room:
                raise DmaError(1, address + room)
            self._bridge.write(address, packet)
        except DmaError as error:
            self._failed(error)
            self._finish(self.rx, 0, Status.BAD)
            return
        self.counters.received += 1
        self.counters.bytes += len(packet)
        self._finish(self.rx, len(packet), Status.DONE)
        self.cause |= Cause.RECEIVED

    def _finish(self, ring: Ring, length: int, status: Status) -> None:
        try:
            self._bridge.write(ring.here() + 8, struct.pack(">II", length, status))
        except DmaError as error:
            self._failed(error)
        ring.advance()

    def _failed(self, error: DmaError) -> None:
        self.counters.errors += 1
        self.error, self.error_at = error.code, error.address
        self.cause |= Cause.FAILED

    # ----------------------------------------------------------------- Device
    def save(self) -> State:
        rings = {name: [ring.base, ring.size, ring.head, ring.tail] for name, ring in (("tx", self.tx), ("rx", self.rx))}
        return {
            "version": 1, "control": self.control, "cause": int(self.cause), **rings, "error": [self.error, self.error_at],
            "due": self._due, "wire": self._wire.hex(), "upper": list(self._upper),
            "counters": [getattr(self.counters, f.name) for f in fields(Counters)],
        }  # fmt: skip

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"netcard: state version {state['version']}")
        self.control, self.cause = state["control"], Cause(state["cause"])
        self.tx, self.rx = Ring(*state["tx"]), Ring(*state["rx"])
        self.error, self.error_at = state["error"]
        self._due, self._wire = state["due"], bytes.fromhex(state["wire"])
        self._upper = (state["upper"][0], state["upper"][1])
        self.counters = Counters(*state["counters"])
