# SPDX-License-Identifier: GPL-2.0-or-later
"""From the ring's events to one line of time, in bounded memory.

The ring holds events in the order in which they were recorded. vCPUs take turns, so their clocks interleave; and the end of a
page-in is known when it begins. Both go through one heap: an event leaves it when no vCPU can bring an earlier one any more.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from vmemu.core import Event
from vmemu.core.events import EventKind


class Step(IntEnum):
    """What a moment is. At one instant ends come first, then the store's beginnings, then what the machine recorded."""

    PAGE_IN_END, REQUEST_END, REQUEST_BEGIN, EVENT = range(4)


@dataclass(frozen=True, slots=True)
class Moment:
    """An event, or the beginning or end of what it started. `cycles` never decreases from one moment to the next.

    flow: number of the request to the store, unique in a trace; 0 for other events.
    """

    cycles: int
    step: Step
    event: Event
    flow: int


class Timeline:
    """Sorts. `latency` is the store's time for one request, in CYC units."""

    def __init__(self, latency: int) -> None:
        self._latency = latency
        self._heap: list[tuple[int, int, int, Event, int]] = []
        self._number = 0
        self._flows = 0
        self._last = 0

    def _push(self, cycles: int, step: Step, event: Event, flow: int) -> None:
        self._number += 1
        heapq.heappush(self._heap, (cycles, step, self._number, event, flow))

    def add(self, event: Event) -> None:
        """An event as the ring gives it."""
        if event.kind not in (EventKind.SWAP_IN, EventKind.SWAP_OUT):
            self._push(event.cycles, Step.EVENT, event, 0)
            return
        self._flows += 1
        flow = self._flows
        self._push(event.cycles, Step.EVENT, event, flow)
        if event.b:  # without latency all of it is one instant
            end = event.cycles + event.b
            self._push(max(event.cycles, end - self._latency), Step.REQUEST_BEGIN, event, flow)
            self._push(end, Step.REQUEST_END, event, flow)
            if event.kind == EventKind.SWAP_IN:
                self._push(end, Step.PAGE_IN_END, event, flow)

    def until(self, cycles: int | None) -> Iterator[Moment]:
        """Moments up to an instant, None: all that are left."""
        heap = self._heap
        while heap and (cycles is None or heap[0][0] <= cycles):
            at, step, _, event, flow = heapq.heappop(heap)
            self._last = max(self._last, at)
            yield Moment(self._last, Step(step), event, flow)

    def __len__(self) -> int:
        return len(self._heap)
