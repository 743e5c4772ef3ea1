# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device is. A device knows no address: the bus does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

#: Sets the level of an interrupt line.
IrqLine = Callable[[bool], None]
#: Virtual time in nanoseconds, as the guest's current instruction sees it.
Now = Callable[[], int]
#: A saved state: plain data (ints, strings, lists, dicts with string keys) with a ``version``.
State = dict[str, Any]


class Device(Protocol):
    """A chip on a bus.

    ``offset`` counts bytes from the start of the device's window, ``size`` is 1, 2, 4 or 8 bytes. Accesses the chip does
    not know read zero and ignore writes, as the hardware does: a guest can never make a device raise.
    Deadlines are virtual nanoseconds; None means none.
    """

    def reset(self) -> None: ...
    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...
    def next_deadline(self) -> int | None: ...
    def on_deadline(self, now: int) -> None: ...
    def save(self) -> State: ...
    def load(self, state: State) -> None: ...


def flat(record: Any) -> State:
    """A slotted dataclass as plain data, one level deep: `asdict` is ten times slower, and snapshots are frequent."""
    return {name: list(value) if isinstance(value := getattr(record, name), list) else value for name in record.__slots__}


class Quiet:
    """Defaults for a device without deadlines."""

    def next_deadline(self) -> int | None:
        return None

    def on_deadline(self, now: int) -> None:
        return None
