# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation correlation numbers: 16 bits that name a page from its first notification to its event.

LoPAR: unique among all pages of the partition that are outstanding, never 0, and the same page keeps its number. RFC: a counter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmemu.protocols.esn_pseries.wire import Defect, Profile

LAST = 0xFFFF


class Numbers:
    """Numbers of the pages that are outstanding: their page-in is under way and the partition is, or is about to be, told."""

    def __init__(self, profile: Profile, first: int = 1) -> None:
        self._counter = profile.has(Defect.A5)
        self.next = first
        self.page_of: dict[int, int] = {}
        self.number_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.page_of)

    def of(self, page: int) -> int | None:
        """The number that this page has already."""
        return self.number_of.get(page)

    def any_free(self, in_ring: Callable[[int], bool]) -> bool:
        """Could a page have a number now? `in_ring`: the ring still shows it."""
        return self._counter or self._free(in_ring) is not None

    def take(self, page: int, in_ring: Callable[[int], bool]) -> int:
        """A number for a page that has none, when `any_free`."""
        if self._counter:
            number, self.next = self.next, self.next + 1 & LAST
        else:
            found = self._free(in_ring)
            assert found is not None
            number, self.next = found, found % LAST + 1
            self.number_of[page] = number
        self.page_of[number] = page
        return number

    def _free(self, in_ring: Callable[[int], bool]) -> int | None:
        """The next one around the circle that names nothing."""
        for i in range(LAST):
            number = (self.next + i - 1) % LAST + 1
            if number not in self.page_of and not in_ring(number):
                return number
        return None

    def give_back(self, number: int) -> None:
        """Its page is there."""
        page = self.page_of.pop(number, None)
        if page is not None:
            self.number_of.pop(page, None)

    def clear(self) -> None:
        """Nobody waits for anything any more. Numbers go on where they were."""
        self.page_of.clear()
        self.number_of.clear()

    # -------------------------------------------------------------------- state
    def save(self) -> dict[str, Any]:
        return {"next": self.next, "pages": [[n, p] for n, p in sorted(self.page_of.items())]}

    def load(self, state: dict[str, Any]) -> None:
        self.next = state["next"]
        self.page_of = {int(n): int(p) for n, p in state["pages"]}
        self.number_of = {} if self._counter else {p: n for n, p in self.page_of.items()}
