# SPDX-License-Identifier: GPL-2.0-or-later
"""Time travel: automatic snapshots along a run, and `seek` to any instruction index, forwards or backwards.

An index counts the instructions that all vCPUs together have completed. The number of snapshots is bounded; the ones kept
lie dense near the present and ever thinner towards the start, so that both a short step back and a long jump are quick.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError
from vmemu.machine import snapshot
from vmemu.machine.snapshot import Snapshot

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Instructions between automatic snapshots: some ms of run time, against 0.1 to 0.3 ms for taking one.
SPACING = 4_000_000
#: Below this distance re-running is cheaper than another snapshot.
NEAR = 4096
MOST = 32
#: With a pace, snapshots lie at most this many instructions apart.
WIDEST = 25 * SPACING


class Timeline:
    """The automatic snapshots of one machine. The first is where it was switched on: nothing earlier can be reached."""

    def __init__(self, machine: Machine, most: int = MOST, spacing: int = SPACING, pace: float = 0.0) -> None:
        """`pace`: host seconds between two snapshots; the spacing grows until they are that far apart. 0: it stays as given."""
        if most < 2 or spacing < 1:
            raise ConfigError(f"time travel with {most} snapshots every {spacing} instructions: at least 2, every 1")
        self.machine, self.most, self.spacing = machine, most, spacing
        self.pace = pace
        self._last = 0.0, 0
        self.marks: list[Snapshot] = []
        self.mark()

    def mark(self) -> None:
        """Take a snapshot here, and give up one if there are too many."""
        now = self.machine.insns
        if self.marks and self.marks[-1].insns == now:
            return
        if self.pace:
            self._adapt(now)
        self.marks.append(snapshot.take(self.machine))
        while len(self.marks) > self.most or (len(self.marks) > 2 and not self.machine.core.room_for_snapshot):
            at = min(range(1, len(self.marks) - 1), key=lambda i: self._worth(i, now))
            snapshot.drop(self.machine, self.marks.pop(at))

    def _adapt(self, now: int) -> None:
        """Where snapshots lie is no part of the run: the host's clock may decide it."""
        (then, before), self._last = self._last, (time.perf_counter(), now)
        took = self._last[0] - then
        if now - before >= self.spacing and took < self.pace:
            self.spacing = min(2 * self.spacing, WIDEST)
        elif now - before >= self.spacing > SPACING and took > 2 * self.pace:
            self.spacing //= 2

    def _worth(self, i: int, now: int) -> float:
        """The gap that dropping it would leave, seen from the present."""
        return (self.marks[i + 1].insns - self.marks[i - 1].insns) / (now - self.marks[i].insns + 1)

    def due(self) -> int:
        """For the run loop: the index of the next snapshot; takes the one that is due."""
        if self.machine.insns >= self.marks[-1].insns + self.spacing:
            self.mark()
        return self.marks[-1].insns + self.spacing

    def back_to(self, index: int) -> None:
        """Restore the newest snapshot that is not after `index`. Raises ConfigError before the first."""
        if index < self.marks[0].insns:
            raise ConfigError(f"instruction {index} is before {self.marks[0].insns}, where time travel was switched on")
        while self.marks[-1].insns > index:
            self.marks.pop()
        snapshot.restore(self.machine, self.marks[-1])
        self._last = 0.0, 0

    def seek(self, index: int) -> tuple[int, str] | None:
        """Go to exactly `index`; (status, reason) when the run ends before it. Raises ConfigError before the first snapshot."""
        machine = self.machine
        if index < machine.insns:
            self.back_to(index)
        while (left := index - machine.insns) > 0:
            step = self.spacing if left > 2 * self.spacing else left if left <= NEAR else left // 2
            end = machine.run_to(machine.insns + step)
            if end is not None:
                return end
            if index - machine.insns > NEAR // 2:
                self.mark()
        return None

    def close(self) -> None:
        """Forget every snapshot."""
        for mark in reversed(self.marks):
            snapshot.drop(self.machine, mark)
        self.marks.clear()


def first_instant(
    machine: Machine, holds: Callable[[Machine], bool], limit: int | None = None, stretch: int = SPACING
) -> tuple[int, str] | None:
    """Stop at the first instruction index at which `holds`, which once true must stay so. None, or how the run ended before.

    `limit` is the last index to look at.
    """
    while not holds(machine):
        base = snapshot.take(machine)
        low = high = machine.insns
        if limit is not None and low >= limit:
            snapshot.drop(machine, base)
            return None
        end = machine.run_to(low + stretch if limit is None else min(low + stretch, limit))
        high = machine.insns
        if not holds(machine):
            snapshot.drop(machine, base)
            if end is not None:
                return end
            continue
        while high - low > 1:
            snapshot.restore(machine, base)
            middle = (low + high) // 2
            machine.run_to(middle)
            if holds(machine):
                high = middle
            else:
                low = middle
                snapshot.drop(machine, base)
                base = snapshot.take(machine)
        snapshot.restore(machine, base)
        machine.run_to(high)
        snapshot.drop(machine, base)
    return None
