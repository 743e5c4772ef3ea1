# SPDX-License-Identifier: GPL-2.0-or-later
"""The subvention notification structure: one ring a partition, in its own memory, with a one-shot trigger.

The platform believes nothing that it finds there but the trigger and which entries are free: where it fills, whether it has
overflowed and which numbers it has put in, it knows by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vmemu.devices.papr import H_BUSY, H_P2, H_PARAMETER, Refused
from vmemu.protocols.esn_pseries.wire import (
    AREA_PAGE,
    CONTROL,
    ENTRY,
    MAX_SIZE_RFC,
    MIN_SIZE,
    RING,
    STATE,
    Defect,
    Profile,
)  # fmt: skip


class Post(Enum):
    """What became of an event."""

    QUIET = "posted, no interrupt due"
    SIGNAL = "posted, an interrupt is due"
    OVERFLOW = "dropped: its entry is in use, the ring has overflowed"
    OVERFLOWED = "dropped: the ring had overflowed before"
    NOT_ARMED = "dropped: the control byte does not allow it"

    @property
    def lost(self) -> bool:
        return self not in (Post.QUIET, Post.SIGNAL)


@dataclass(slots=True)
class Area:
    """A registration. fill: index of the entry that is filled next. toggle: the platform's copy of the trigger (0, 1).

    held: entry index -> number that the platform put there and has not seen cleared; entry_of is its inverse. used: so many
    entries were in use when it last looked, plus what it has posted since.
    """

    base: int
    size: int
    toggle: int
    fill: int = 0
    overflow: bool = False
    used: int = 0
    held: dict[int, int] = field(default_factory=dict)
    entry_of: dict[int, int] = field(default_factory=dict)

    def hold(self, number: int) -> None:
        """The next entry shows this number; whatever it showed before has been cleared."""
        self.entry_of.pop(self.held.get(self.fill, 0), None)
        self.held[self.fill] = number
        self.entry_of[number] = self.fill
        self.used += 1

    def seen(self, used: list[int]) -> None:
        """These entries are in use, and no others."""
        self.used = len(used)
        self.held = {i: self.held[i] for i in used if i in self.held}
        self.entry_of = {n: i for i, n in self.held.items()}

    @property
    def entries(self) -> int:
        return (self.size - RING) // ENTRY


class Sns:
    """The partition's area, or none. `read` and `write` copy guest memory that `is_ram` has approved."""

    def __init__(
        self, profile: Profile, is_ram: Callable[[int, int], bool], read: Callable[[int, int], bytes],
        write: Callable[[int, bytes], None], *, replace: bool = False,
    ) -> None:  # fmt: skip
        self.profile, self.replace = profile, replace
        self._is_ram, self._read, self._write = is_ram, read, write
        self.area: Area | None = None

    # ------------------------------------------------------------- registration
    def register(self, address: int, size: int) -> None:
        """H_REG_SNS with an area. Checks in LoPAR's order. Raises Refused, and nothing has changed."""
        rfc = self.profile.has(Defect.A1)
        if address % AREA_PAGE or not self._is_ram(address, 1):
            raise Refused(H_PARAMETER)
        most = MAX_SIZE_RFC if rfc else AREA_PAGE
        if size < MIN_SIZE or size > most or (not rfc and size % 2) or not self._is_ram(address, size):
            raise Refused(H_P2)
        if self.area is not None and not self.replace:
            raise Refused(H_BUSY)  # LoPAR is silent; nothing that is under way may be lost
        self.area = Area(address, size, self._trigger(address))
        if not self.profile.has(Defect.A6):
            self._look(self.area)

    def deregister(self) -> None:
        self.area = None

    def _trigger(self, base: int) -> int:
        return int(bool(self._read(base + CONTROL, 1)[0] & self.profile.mask))

    # -------------------------------------------------------------------- state
    def room(self, outstanding: int) -> bool:
        """Is there an entry for one more event, besides so many that are under way? (LoPAR, R1-2.)"""
        area = self.area
        if area is None:
            return False
        if self.profile.has(Defect.A6):
            return not any(self._read(area.base + RING + ENTRY * area.fill, ENTRY))
        if area.used + outstanding >= area.entries:
            self._look(area)
        return area.used + outstanding < area.entries

    def uncleared(self, number: int) -> bool:
        """Does the ring still hold this number, as the platform put it there?"""
        area = self.area
        if area is None or number not in area.entry_of:
            return False
        self._look(area)
        return number in area.entry_of

    def _look(self, area: Area) -> None:
        """Which entries are in use?"""
        ring = self._read(area.base + RING, ENTRY * area.entries)
        area.seen([i for i in range(area.entries) if ring[2 * i] or ring[2 * i + 1]])

    @property
    def armed(self) -> bool:
        """Will the next event interrupt? (One that is dropped does not.)"""
        area = self.area
        if area is None or area.overflow:
            return False
        return self.profile.has(Defect.A3) or area.toggle != self._trigger(area.base)

    # --------------------------------------------------------------------- post
    def post(self, number: int) -> Post:
        """An event (LoPAR, "ESN event processing"). The caller signals the interrupt."""
        area = self.area
        assert area is not None
        profile = self.profile
        if profile.has(Defect.A7):
            if self._read(area.base + CONTROL, 1)[0] != profile.mask:
                return Post.NOT_ARMED
        elif area.overflow:
            return Post.OVERFLOWED
        at = area.base + RING + ENTRY * area.fill
        if any(self._read(at, ENTRY)):
            area.overflow = True
            self._write(area.base + STATE, bytes([self._read(area.base + STATE, 1)[0] | profile.mask]))
            return Post.OVERFLOW
        self._write(at, profile.entry(number))
        if not profile.has(Defect.A6):
            area.hold(number)
        area.fill = (area.fill + 1) % area.entries
        if profile.has(Defect.A3):
            return Post.SIGNAL
        if area.toggle == self._trigger(area.base):
            return Post.QUIET
        area.toggle ^= 1
        return Post.SIGNAL

    # -------------------------------------------------------------------- state
    def save(self) -> dict[str, Any]:
        a = self.area
        if a is None:
            return {"area": None}
        held = [[i, n] for i, n in sorted(a.held.items())]
        return {"area": [a.base, a.size, a.toggle, a.fill, a.overflow, a.used, held]}

    def load(self, state: dict[str, Any]) -> None:
        saved = state["area"]
        self.area = None
        if saved is not None:
            held = {int(i): int(n) for i, n in saved[6]}
            base, size, toggle, fill, overflow, used = saved[:6]
            self.area = Area(base, size, toggle, fill, overflow, used, held, {n: i for i, n in held.items()})
