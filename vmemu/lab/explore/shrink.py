# SPDX-License-Identifier: GPL-2.0-or-later
"""From a schedule that violates an invariant to one that is as short as can be and violates the same one.

First deviations are taken away by delta debugging (Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE
TSE 2002) until none can be spared; then each is made as plain as can be: the smallest option, then the earliest decision of its
kind. Whatever helps is tried again from the start, so the result is at rest under all of these moves.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Protocol

from vmemu.lab.explore.schedule import Deviation, Schedule

#: Pairs are left out of schedules no longer than this.
_PAIRS = 16


class Found(Protocol):
    """What an execution says to the shrinker: see `execution.Execution`."""

    @property
    def made(self) -> Schedule: ...

    @property
    def invariants(self) -> tuple[str, ...]: ...


class Shrinker:
    """Shortens one schedule. `tried` counts executions; `most` bounds them, and the best so far is the result then.

    fails(schedule) runs a schedule. An execution counts as failed when it violates `invariant`, whatever else it violates.
    """

    def __init__(self, run: Callable[[Schedule], Found], invariant: str, most: int = 20_000,
                 progress: Callable[[int, Schedule], None] | None = None) -> None:
        self._run = run
        self.invariant = invariant
        self.most = most
        self.tried = 0
        self._progress = progress
        self._known: dict[Schedule, Schedule | None] = {}

    def _fails(self, schedule: Schedule) -> Schedule | None:
        """The deviations that such an execution really had (some may not come to pass any more); None: the invariant held."""
        if schedule in self._known:
            return self._known[schedule]
        if self.tried >= self.most:
            return None
        self.tried += 1
        found = self._run(schedule)
        result = found.made if self.invariant in found.invariants else None
        self._known[schedule] = result
        if self._progress is not None:
            self._progress(self.tried, schedule)
        return result

    def shrink(self, schedule: Schedule) -> Schedule:
        """Raises ValueError when the schedule does not violate the invariant to begin with."""
        best = self._fails(schedule)
        if best is None:
            raise ValueError(f"the schedule does not violate {self.invariant}")
        if len(best) > len(schedule):
            best = schedule
        while True:
            before = best
            best = self._fewer(best)
            best = self._fewer_by_pairs(best)
            best = self._smaller(best)
            best = self._earlier(best)
            if best == before:
                return best

    def _better(self, best: Schedule, candidate: Schedule) -> Schedule | None:
        """What really happened under the candidate, if it fails and is no worse than what it replaces."""
        result = self._fails(candidate)
        return result if result is not None and _measure(result) < _measure(best) else None

    # ----------------------------------------------------------------- fewer
    def _fewer(self, best: Schedule) -> Schedule:
        """Chunks are left out, ever smaller ones, until no single deviation can be."""
        size = max(len(best) // 2, 1)
        while best:
            at = 0
            while at < len(best):
                shorter = self._better(best, best[:at] + best[at + size :])
                if shorter is not None:
                    best = shorter
                else:
                    at += size
            if size == 1:
                break
            size = max(min(size // 2, len(best) // 2), 1)
        return best

    def _fewer_by_pairs(self, best: Schedule) -> Schedule:
        """Two that cannot be spared one by one: an action and what it is about, a delay and what makes up for it."""
        if not 2 <= len(best) <= _PAIRS:
            return best
        for i, j in combinations(range(len(best)), 2):
            shorter = self._better(best, best[:i] + best[i + 1 : j] + best[j + 1 :])
            if shorter is not None:
                return self._fewer(shorter)
        return best

    # --------------------------------------------------------------- plainer
    def _smaller(self, best: Schedule) -> Schedule:
        """The smallest option of each that still fails."""
        for at in range(len(best)):
            if at >= len(best):  # one that was left out by the way
                break
            for option in range(1, best[at].option):
                plainer = self._better(best, _put(best, at, best[at]._replace(option=option)))
                if plainer is not None:
                    best = plainer
                    break
        return best

    def _earlier(self, best: Schedule) -> Schedule:
        """Each at the earliest decision of its kind at which it still fails: the first ones, halfway, ever less, one less."""
        for at in range(len(best)):
            moved = True
            while moved and at < len(best):
                moved = False
                number = best[at].number
                for earlier in dict.fromkeys((1, 2, 3, *(number - (number >> k) for k in range(1, number.bit_length() + 1)), number - 1)):
                    if not 1 <= earlier < number:
                        continue
                    sooner = self._better(best, _put(best, at, best[at]._replace(number=earlier)))
                    if sooner is not None:
                        best, moved = sooner, True
                        break
        return best


def _put(schedule: Schedule, at: int, deviation: Deviation) -> Schedule:
    """One deviation replaced; another one of the same decision gives way."""
    return tuple(deviation if i == at else d for i, d in enumerate(schedule) if i == at or d[:2] != deviation[:2])


def _measure(schedule: Schedule) -> tuple[int, int, int]:
    """What is to become less: deviations, their options, how late they are."""
    return len(schedule), sum(d.option for d in schedule), sum(d.number for d in schedule)
