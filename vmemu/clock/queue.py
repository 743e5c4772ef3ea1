# SPDX-License-Identifier: GPL-2.0-or-later
"""The event queue: what happens at which virtual time, in one order on every run."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

#: Called with the virtual time (ns) at which the event is run, never before its deadline.
Callback = Callable[[int], None]


@dataclass(order=True, slots=True)
class Event:
    """One entry of the queue. Events with equal deadlines run in the order in which they were added."""

    deadline: int
    sequence: int
    callback: Callback | None = field(compare=False)
    name: str = field(compare=False, default="")

    @property
    def pending(self) -> bool:
        """Still to run: neither run nor cancelled."""
        return self.callback is not None


class EventQueue:
    """Deadlines in virtual nanoseconds, ordered by (deadline, order of adding)."""

    #: Events that one run_due() may run. A guest that programs a timer into its own past for ever gets its turn
    #: back after so many; what is left stays due.
    BATCH = 10_000

    def __init__(self) -> None:
        self._heap: list[Event] = []
        self._sequence = 0
        self._live = 0

    def __len__(self) -> int:
        return self._live

    def at(self, deadline: int, callback: Callback, name: str = "") -> Event:
        """Run `callback` at `deadline` (ns). A deadline in the past runs at the next run_due()."""
        event = Event(deadline, self._sequence, callback, name)
        self._sequence += 1
        self._live += 1
        heapq.heappush(self._heap, event)
        return event

    def cancel(self, event: Event) -> bool:
        """True if the event was still pending. It stays in the heap, dead, until its deadline comes by."""
        if event.callback is None:
            return False
        event.callback = None
        self._live -= 1
        if len(self._heap) > 64 and self._live * 2 < len(self._heap):
            self._heap = [e for e in self._heap if e.callback is not None]
            heapq.heapify(self._heap)
        return True

    def next_deadline(self) -> int | None:
        """The earliest deadline, which may lie in the past; None when nothing is pending."""
        while self._heap and self._heap[0].callback is None:
            heapq.heappop(self._heap)
        return self._heap[0].deadline if self._heap else None

    def run_due(self, now: int) -> int:
        """Run what is due at `now`, events that these add included. Returns how many ran (BATCH at most)."""
        ran = 0
        while ran < self.BATCH:
            deadline = self.next_deadline()
            if deadline is None or deadline > now:
                break
            event = heapq.heappop(self._heap)
            callback, event.callback = event.callback, None
            assert callback is not None  # next_deadline() dropped the dead ones
            self._live -= 1
            ran += 1
            callback(now)
        return ran

    def pending(self) -> list[tuple[int, Callback, str]]:
        """(deadline, callback, name) of what is still to run, in order: for snapshots and for people."""
        return [(e.deadline, e.callback, e.name) for e in sorted(self._heap) if e.callback is not None]

    def replace(self, events: list[tuple[int, Callback, str]]) -> None:
        """Put back what `pending` gave; everything else is gone."""
        for event in self._heap:
            event.callback = None
        self._heap = []
        self._live = 0
        for deadline, callback, name in events:
            self.at(deadline, callback, name)
