# SPDX-License-Identifier: GPL-2.0-or-later
"""The event queue: what happens at which virtual time, in one order on every run.

An event that must survive a snapshot on disk has a name: a room `define`s a kind with its handler once, and `post`s events
of that kind with plain data. Events with a bare callback (`at`) are for one process only.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from vmemu.errors import ConfigError

#: Called with the virtual time (ns) at which the event is run, never before its deadline.
Callback = Callable[[int], None]


#: handler(now, data) of a kind of events.
Handler = Callable[[int, Any], None]


@dataclass(frozen=True, slots=True)
class Posted:
    """The callback of an event that has a name: kind and plain data say all."""

    kind: str
    data: Any
    handler: Handler

    def __call__(self, now: int) -> None:
        self.handler(now, self.data)


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
        self._kinds: dict[str, Handler] = {}
        #: Decides among events with one deadline: choose(kind, options) -> index. None: in the order of adding.
        self.choose: Callable[[str, int], int] | None = None

    def __len__(self) -> int:
        return self._live

    def at(self, deadline: int, callback: Callback, name: str = "") -> Event:
        """Run `callback` at `deadline` (ns). A deadline in the past runs at the next run_due()."""
        event = Event(deadline, self._sequence, callback, name)
        self._sequence += 1
        self._live += 1
        heapq.heappush(self._heap, event)
        return event

    def define(self, kind: str, handler: Handler) -> None:
        """Make a kind of events known. Once, before the first is posted or loaded."""
        if kind in self._kinds:
            raise ValueError(f"event kind {kind!r} is defined twice")
        self._kinds[kind] = handler

    def post(self, deadline: int, kind: str, data: Any = None) -> Event:
        """Run the handler of `kind` with `data` (what JSON can say) at `deadline` (ns)."""
        return self.at(deadline, Posted(kind, data, self._kinds[kind]), kind)

    def find(self, kind: str, data: Any = None) -> Event | None:
        """The first pending event of that kind and data: after a restore, the handles of before are dead."""
        for event in sorted(self._heap):
            call = event.callback
            if isinstance(call, Posted) and call.kind == kind and call.data == data:
                return event
        return None

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
            event = self._take()
            callback, event.callback = event.callback, None
            assert callback is not None  # next_deadline() dropped the dead ones
            self._live -= 1
            ran += 1
            callback(now)
        return ran

    def _take(self) -> Event:
        """The next event. Which one of several with the same deadline completes first is a choice."""
        event = heapq.heappop(self._heap)
        if self.choose is None or not self._heap or self._heap[0].deadline != event.deadline:
            return event
        same = [event]
        while self._heap and self._heap[0].deadline == event.deadline:
            same.append(heapq.heappop(self._heap))
        same = [e for e in same if e.callback is not None]
        event = same.pop(self.choose("completion", len(same)))
        for other in same:
            heapq.heappush(self._heap, other)
        return event

    def save(self) -> list[list[Any]]:
        """[deadline, kind, data] of what is still to run, in order. Raises ConfigError for an event without a name."""
        out = []
        for deadline, callback, name in self.pending():
            if not isinstance(callback, Posted):
                raise ConfigError(f"event {name or callback!r} has no name and cannot be saved")
            out.append([deadline, callback.kind, callback.data])
        return out

    def load(self, events: list[list[Any]]) -> None:
        """Put back what `save` gave. Raises ConfigError for a kind that is not defined."""
        for _, kind, _ in events:
            if kind not in self._kinds:
                raise ConfigError(f"saved event {kind!r} is of no kind that this machine knows")
        self.replace([(deadline, Posted(kind, data, self._kinds[kind]), kind) for deadline, kind, data in events])

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
