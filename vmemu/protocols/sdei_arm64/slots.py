# SPDX-License-Identifier: GPL-2.0-or-later
"""The table of gfns whose page-in the guest was told of: 64 slots, hashed, linear probing (version 4 of the series, patch 3).

One per vCPU. The guest learns its size from SLOTS. It is kept slot by slot, for a snapshot must carry it in probe order.
"""

from __future__ import annotations

from vmemu.protocols.sdei_arm64.abi import SLOTS

EMPTY = (1 << 64) - 1
GOLDEN_RATIO_32 = 0x61C88647  # include/linux/hash.h
MASK = SLOTS - 1
HASH_SHIFT = 32 - 6  # the top 6 bits of the product


def home(gfn: int) -> int:
    """Where a gfn wants to be: hash_32 of its lower half."""
    return (gfn * GOLDEN_RATIO_32 & 0xFFFFFFFF) >> HASH_SHIFT


class GfnSlots:
    """At most 64 different gfns."""

    def __init__(self, slots: list[int] | None = None) -> None:
        self.slots = [EMPTY] * SLOTS if slots is None else list(slots)

    def _find(self, gfn: int) -> int | None:
        at = home(gfn)
        for _ in range(SLOTS):
            if self.slots[at] == gfn:
                return at
            if self.slots[at] == EMPTY:
                return None
            at = at + 1 & MASK
        return None

    def __contains__(self, gfn: int) -> bool:
        return self._find(gfn) is not None

    def __len__(self) -> int:
        return SLOTS - self.slots.count(EMPTY)

    def gfns(self) -> list[int]:
        return sorted(gfn for gfn in self.slots if gfn != EMPTY)

    def add(self, gfn: int) -> bool:
        """False: it is there already, or the table is full. (The series relied on the queue's limit, and looped for ever.)"""
        if gfn in self or len(self) == SLOTS:
            return False
        at = home(gfn)
        while self.slots[at] != EMPTY:
            at = at + 1 & MASK
        self.slots[at] = gfn
        return True

    def remove(self, gfn: int) -> bool:
        """Take it out and close the gap: every other gfn stays reachable from its home. False: it was not there."""
        hole = self._find(gfn)
        if hole is None:
            return False
        self.slots[hole] = EMPTY
        at = hole + 1 & MASK
        while self.slots[at] != EMPTY:
            wanted = home(self.slots[at])
            if at - wanted & MASK >= at - hole & MASK:  # the hole lies between its home and where it is
                self.slots[hole], self.slots[at] = self.slots[at], EMPTY
                hole = at
            at = at + 1 & MASK
        return True

    def clear(self) -> None:
        self.slots = [EMPTY] * SLOTS
