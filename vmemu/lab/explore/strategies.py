# SPDX-License-Identifier: GPL-2.0-or-later
"""Which executions are tried, in which order.

A strategy gives numbered batches of plans, and learns from their executions in the order of their numbers. It never sees
who ran them nor when: the same strategy with the same seed gives the same executions for any number of processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from vmemu.clock.choices import SeededSource
from vmemu.errors import ConfigError
from vmemu.lab.explore.decisions import ANY, Plan
from vmemu.lab.explore.schedule import Deviation, Met, Schedule, Stretch

#: Plans of one batch, at most: what is learnt from a batch serves the next ones, and processes share a batch.
BATCH = 256
_GOLDEN = 0x9E3779B97F4A7C15


class Outcome(Protocol):
    """What a strategy learns from: see `execution.Execution`."""

    @property
    def made(self) -> Schedule: ...

    @property
    def met(self) -> Met: ...

    @property
    def fingerprint(self) -> int: ...


class Task(NamedTuple):
    """A plan, and whether the strategy wants to hear which decisions it met."""

    plan: Plan
    teaches: bool = True


class Strategy(ABC):
    """Made anew for each exploration."""

    name = ""

    @abstractmethod
    def batch(self) -> list[Task]:
        """The next plans; empty when everything has been tried."""

    @abstractmethod
    def learn(self, task: Task, outcome: Outcome) -> None:
        """What became of a task, in the order of their numbers."""

    def describe(self) -> str:
        """How far it came, for the report."""
        return ""


class Exhaustive(Strategy):
    """All schedules by number of deviations: the default first, then every single deviation at every decision, then pairs, ...

    A schedule with one deviation more than another one deviates after the last deviation of that one, so each set of
    deviations is tried once. An execution that went the same way as an earlier one (its last deviation had no effect) has no
    children of its own: the earlier one's children are the same. Rare decisions come before frequent ones.
    """

    name = "exhaustive"

    def __init__(self, seed: int = 0, depth: int | None = None) -> None:
        """depth: the most deviations that are tried; None: as many as the budget allows."""
        self.depth = depth
        self.level = 0
        self.tried = [0]
        self.pruned = 0
        self._now: deque[Schedule] = deque([()])
        self._next: deque[tuple[Schedule, tuple[Stretch, ...]]] = deque()
        #: fingerprint -> where the last deviation of the execution was, as a position among its decisions
        self._met: dict[int, int] = {}

    def batch(self) -> list[Task]:
        while not self._now and self._next and (self.depth is None or len(self._next[0][0]) < self.depth):
            self._expand()
        last = self.depth is not None and self.level >= self.depth
        return [Task(Plan.of(self._now.popleft()), teaches=not last) for _ in range(min(BATCH, len(self._now)))]

    def _expand(self) -> None:
        """One schedule's children; those of a level are made only when the level below is done."""
        schedule, later = self._next.popleft()
        if len(schedule) + 1 > self.level:
            self.level += 1
            self.tried.append(0)
        for kind, first, last, options in later:
            for number in range(first, last + 1):
                self._now.extend((*schedule, Deviation(kind, number, option)) for option in range(1, options))

    def learn(self, task: Task, outcome: Outcome) -> None:
        self.tried[self.level] += 1
        if not task.teaches:
            return
        at = outcome.met.at
        if self._met.get(outcome.fingerprint, at + 1) <= at:
            self.pruned += 1
            return
        self._met[outcome.fingerprint] = at
        self._next.append((outcome.made, outcome.met.later))

    def describe(self) -> str:
        levels = ", ".join(f"{n} with {i}" for i, n in enumerate(self.tried))
        done = "all tried" if not self._now and not self._next else "more to try"
        return f"schedules by deviations: {levels}; {self.pruned} had no effect; {done}"


class _Profile:
    """How many decisions of each kind the latest executions met: where a random deviation can fall."""

    KEPT = 64

    def __init__(self) -> None:
        self.counts: dict[str, deque[int]] = {}

    def learn(self, outcome: Outcome) -> None:
        for kind, number in outcome.met.counts.items():
            self.counts.setdefault(kind, deque(maxlen=self.KEPT)).append(number)

    def draw(self, draw: SeededSource, kind: str) -> int:
        """How many of that kind one of them met."""
        counts = self.counts.get(kind)
        return 1 if counts is None else counts[draw.pick("", len(counts))]


class Random(Strategy):
    """A few deviations in each execution, their number geometric, at random decisions of random kinds.

    The kind is drawn first, so that the one decision about a rare event is met as often as thousands about a common one.
    """

    name = "random"
    #: Chance of one more deviation, in 1/256: three on average.
    MORE = 171
    #: Chance that a decision of a kind that no execution has met before deviates, in 1/256.
    FRESH = 32

    def __init__(self, seed: int = 1) -> None:
        self.seed = seed
        self.number = 0
        self._profile = _Profile()

    def batch(self) -> list[Task]:
        size = min(max(self.number, 1), BATCH)  # at first it learns often
        return [Task(self.plan()) for _ in range(size)]

    def plan(self) -> Plan:
        """The next plan: the first one is the default."""
        self.number += 1
        if self.number == 1:
            return Plan()
        draw = SeededSource(self.seed ^ self.number * _GOLDEN)
        kinds = sorted(self._profile.counts)
        options: dict[str, dict[int, int]] = {}
        more = bool(kinds)
        while more:
            kind = kinds[draw.pick("", len(kinds))]
            options.setdefault(kind, {})[1 + draw.pick("", self._profile.draw(draw, kind))] = ANY
            more = draw.next64() & 255 < self.MORE
        return Plan(options, draw.next64(), self._pct(draw), frozenset(kinds), self.FRESH)

    def _pct(self, draw: SeededSource) -> tuple[int, int, int] | None:
        return None

    def learn(self, task: Task, outcome: Outcome) -> None:
        self._profile.learn(outcome)

    def describe(self) -> str:
        return f"seed {self.seed}"


class Pct(Random):
    """Who runs is decided by probabilistic concurrency testing (vmemu/clock/sources.py), the rest as `Random` does."""

    name = "pct"

    def __init__(self, seed: int = 1, depth: int = 3) -> None:
        super().__init__(seed)
        self.depth = depth

    def _pct(self, draw: SeededSource) -> tuple[int, int, int] | None:
        return 1 + draw.pick("", self.depth), draw.next64() >> 16, self._profile.draw(draw, "vcpu")


class Portfolio(Strategy):
    """Batches of each in turn: every single deviation, random ones, PCT. What one learns, all learn where they can."""

    name = "portfolio"

    def __init__(self, seed: int = 1) -> None:
        self.parts: list[Strategy] = [Exhaustive(), Random(seed), Pct(seed ^ 0x5DEECE66D)]
        self._turn = -1
        self._owner: Strategy = self.parts[0]

    def batch(self) -> list[Task]:
        for _ in self.parts:
            self._turn = (self._turn + 1) % len(self.parts)
            self._owner = self.parts[self._turn]
            tasks = self._owner.batch()
            if tasks:
                return tasks
        return []

    def learn(self, task: Task, outcome: Outcome) -> None:
        self._owner.learn(task, outcome)
        for part in self.parts:
            if part is not self._owner and isinstance(part, Random):
                part.learn(task, outcome)

    def describe(self) -> str:
        return "; ".join(f"{part.name}: {part.describe()}" for part in self.parts)


STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    "random": Random, "pct": Pct, "exhaustive": Exhaustive, "portfolio": Portfolio,
}  # fmt: skip


def make(name: str, seed: int) -> Strategy:
    """A fresh strategy of that name. Raises ConfigError."""
    if name not in STRATEGIES:
        raise ConfigError(f"--strategy {name}: not one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name](seed)
