# SPDX-License-Identifier: GPL-2.0-or-later
"""The source of choices of an explored machine: follows a plan, and keeps what it was asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmemu.clock.choices import Choices, SeededSource, expect
from vmemu.clock.sources import PctSource
from vmemu.errors import ConfigError
from vmemu.lab.explore.schedule import Deviation, Schedule

#: In a plan: any option but 0, drawn by the plan's seed once the number of options is known.
ANY = -1
#: So many decisions of a new kind are among "the first".
_FRESH = 16
_GOLDEN = 0x9E3779B97F4A7C15


@dataclass(frozen=True, slots=True)
class Plan:
    """What an execution shall do otherwise than the default: kind -> number -> option (or ANY), and perhaps who runs by PCT.

    `seed` draws what is left open; `fresh` is the chance, in 1/256, that one of the first decisions of a kind that `known` does
    not name deviates too.
    """

    options: dict[str, dict[int, int]] = field(default_factory=dict)
    seed: int = 0
    pct: tuple[int, int, int] | None = None
    known: frozenset[str] = frozenset()
    fresh: int = 0

    @classmethod
    def of(cls, schedule: Schedule) -> Plan:
        options: dict[str, dict[int, int]] = {}
        for kind, number, option in schedule:
            options.setdefault(kind, {})[number] = option
        return cls(options)


class PlannedSource:
    """Default decisions, but for those of the plan. An option that does not exist (an edited schedule) is the default, too.

    `asked`: (kind, number, options) of each decision since `begin`, in order; `made`: those that were not 0. Kinds outside
    `kinds` (None: all) are no decisions here: always 0, and not kept.
    """

    def __init__(self, kinds: Collection[str] | None = None) -> None:
        self.kinds = None if kinds is None else frozenset(kinds)
        self.on_deviation: Callable[[Deviation, int, Sequence[int]], None] | None = None
        self.begin(Plan())

    def begin(self, plan: Plan) -> None:
        """An execution begins: numbers count from 1 again."""
        self.plan = plan
        self.count: dict[str, int] = {}
        self.asked: list[tuple[str, int, int]] = []
        self.made: list[Deviation] = []
        self._wild = plan.fresh > 0
        self._pct = PctSource(*plan.pct) if plan.pct is not None else None

    def describe(self) -> str:
        return "explorer"

    def pick(self, kind: str, options: int) -> int:
        return self._pick(kind, options, ())

    def pick_key(self, kind: str, keys: Sequence[int]) -> int:
        return self._pick(kind, len(keys), keys)

    def _pick(self, kind: str, options: int, keys: Sequence[int]) -> int:
        if options < 2 or (self.kinds is not None and kind not in self.kinds):
            return 0
        count = self.count
        number = count[kind] = count.get(kind, 0) + 1
        self.asked.append((kind, number, options))
        planned = self.plan.options.get(kind)
        index = 0 if planned is None else planned.get(number, 0)
        if self._pct is not None and not index and kind in ("vcpu", "quantum"):
            index = self._pct.pick_key(kind, keys) if keys else self._pct.pick(kind, options)
        elif self._wild and number <= _FRESH and kind not in self.plan.known and self._draw(kind, number) & 255 < self.plan.fresh:
            index = ANY
        if not index:
            return 0
        if index == ANY:
            index = 1 + (self._draw(kind, number) >> 8) % (options - 1)
        elif index >= options:
            return 0
        self._deviated(Deviation(kind, number, index), options, keys)
        return index

    def _deviated(self, made: Deviation, options: int, keys: Sequence[int]) -> None:
        self.made.append(made)
        if self.on_deviation is not None:
            self.on_deviation(made, options, keys)

    def _draw(self, kind: str, number: int) -> int:
        """64 bits that depend on seed, kind and number alone: what else is decided does not shift them."""
        return SeededSource(self.plan.seed ^ int.from_bytes(kind.encode()[-8:], "little") ^ number * _GOLDEN).next64()

    def save(self) -> dict[str, Any]:
        pct = None if self._pct is None else self._pct.save()
        asked, made = [list(a) for a in self.asked], [list(m) for m in self.made]
        return {"version": 1, "source": "explorer", "count": dict(self.count), "asked": asked, "made": made, "pct": pct}

    def load(self, state: dict[str, Any]) -> None:
        """Back to an earlier instant of the same execution: the plan stays."""
        expect(state, "explorer")
        self.count = dict(state["count"])
        self.asked = [(str(k), int(n), int(o)) for k, n, o in state["asked"]]
        self.made = [Deviation(str(k), int(n), int(o)) for k, n, o in state["made"]]
        if self._pct is not None and state["pct"] is not None:
            self._pct.load(state["pct"])


class Unlogged(Choices):
    """Choices of a machine whose past is known by its plan: no log, which is a good part of the time of a short execution."""

    def __init__(self, source: PlannedSource) -> None:
        super().__init__(source)
        self._planned = source

    def choose(self, kind: str, options: int, keys: Sequence[int] = ()) -> int:
        if options < 1:
            raise ValueError(f"choice {kind!r} among {options} options")
        return 0 if options == 1 else self._planned._pick(kind, options, keys)

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": self._planned.save()}

    def load(self, state: dict[str, Any]) -> None:
        if state.get("version") != 1:
            raise ConfigError("saved choices are of another version")
        self._planned.load(state["source"])
