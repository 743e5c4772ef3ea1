# SPDX-License-Identifier: GPL-2.0-or-later
"""More sources of choices: probabilistic concurrency testing, a forced list, and draws by a property test.

PCT is Burckhardt, Kothari, Musuvathi, Nagarakatte: "A Randomized Scheduler with Probabilistic Guarantees of Finding
Bugs", ASPLOS 2010. A bug that needs d ordering constraints among n threads and k steps is found with probability at
least 1 / (n k^(d-1)).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from vmemu.clock.choices import Choices, SeededSource, Source, expect, format_choices, parse_runs
from vmemu.errors import ConfigError

#: Steps (decisions about who runs) among which PCT puts its change points, unless told otherwise.
PCT_STEPS = 10_000
_MOST_DEPTH = 64
_MOST = 1 << 48


class PctSource:
    """The vCPU of the highest priority runs; at `depth` - 1 random steps the one that would run falls below all others.

    Quanta are drawn uniformly, so that the change points fall on different instructions; every other kind takes its
    default. The scheduler offers only vCPUs whose clocks are close together, so that one that spins cannot starve the
    holder of its lock.
    """

    def __init__(self, depth: int, seed: int = 1, steps: int = PCT_STEPS) -> None:
        self.depth, self.seed, self.steps = depth, seed, steps
        self._random = SeededSource(seed)
        self._changes = sorted(self._random.next64() * steps >> 64 for _ in range(depth - 1))
        self._step = 0
        self._low: dict[int, int] = {}  # key -> priority after its change point: below all initial ones

    def describe(self) -> str:
        return f"pct {self.depth}:{self.seed}:{self.steps}"

    def _priority(self, key: int) -> int:
        if key in self._low:
            return self._low[key]
        # of its own generator: the order in which vCPUs appear must not matter
        return self.depth + SeededSource(self.seed ^ (key + 1) * 0xD1342543DE82EF95).next64()

    def pick(self, kind: str, options: int) -> int:
        return self._random.pick(kind, options) if kind == "quantum" else 0

    def pick_key(self, kind: str, keys: Sequence[int]) -> int:
        if kind != "vcpu":
            return self.pick(kind, len(keys))
        best = max(range(len(keys)), key=lambda i: self._priority(keys[i]))
        for change in range(len(self._changes)):
            if self._changes[change] == self._step:
                self._low[keys[best]] = self.depth - 1 - change
                best = max(range(len(keys)), key=lambda i: self._priority(keys[i]))
        self._step += 1
        return best

    def save(self) -> dict[str, Any]:
        return {
            "version": 1, "source": "pct", "depth": self.depth, "seed": self.seed, "steps": self.steps,
            "step": self._step, "random": self._random.state, "low": [list(i) for i in sorted(self._low.items())],
        }  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        expect(state, "pct")
        PctSource.__init__(self, int(state["depth"]), int(state["seed"]), int(state["steps"]))
        self._step = int(state["step"])
        self._random.state = int(state["random"])
        self._low = {int(k): int(v) for k, v in state["low"]}


class ForcedSource:
    """The list that another run printed; past its end, zeros."""

    def __init__(self, runs: Sequence[Sequence[int]]) -> None:
        self.runs = [(int(i), int(n)) for i, n in runs if n]
        self._ends: list[int] = []
        for _, count in self.runs:
            self._ends.append((self._ends[-1] if self._ends else 0) + count)
        self._next = 0

    @classmethod
    def parse(cls, text: str) -> ForcedSource:
        """From the printed string. Raises ConfigError."""
        return cls(parse_runs(text))

    def describe(self) -> str:
        return f"a list of {self._ends[-1] if self._ends else 0} choices"

    def pick(self, kind: str, options: int) -> int:
        at = bisect_right(self._ends, self._next)
        index = self.runs[at][0] if at < len(self.runs) else 0
        if index >= options:
            raise ConfigError(
                f"choices: decision {self._next + 1} ({kind}) has {options} options, the list says {index}: "
                "it is of another run"
            )
        self._next += 1
        return index

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "forced", "choices": format_choices(self.runs), "next": self._next}

    def load(self, state: dict[str, Any]) -> None:
        expect(state, "forced")
        ForcedSource.__init__(self, parse_runs(state["choices"]))
        self._next = int(state["next"])


class DrawnSource:
    """Asks `draw(kind, options)`. In a property test: ``lambda kind, n: data.draw(integers(0, n - 1), label=kind)``."""

    def __init__(self, draw: Callable[[str, int], int]) -> None:
        self._draw = draw

    def describe(self) -> str:
        return "drawn"

    def pick(self, kind: str, options: int) -> int:
        return self._draw(kind, options)

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "drawn"}

    def load(self, state: dict[str, Any]) -> None:
        expect(state, "drawn")


def parse_pct(text: str) -> PctSource:
    """``DEPTH[:SEED[:STEPS]]``. Raises ConfigError."""
    parts = text.split(":")
    if len(parts) > 3 or not all(p.isascii() and p.isdigit() and len(p) <= 15 for p in parts):
        raise ConfigError(f"--pct {text}: must be DEPTH[:SEED[:STEPS]], for example 3 or 3:42")
    depth, seed, steps = (int(p) for p in (*parts, *("1", str(PCT_STEPS))[len(parts) - 1 :]))
    if not 1 <= depth <= _MOST_DEPTH or not 1 <= steps <= _MOST:
        raise ConfigError(f"--pct {text}: DEPTH is 1 to {_MOST_DEPTH}, STEPS at least 1")
    return PctSource(depth, seed, steps)


def choices_from(seed: int = 0, pct: str | None = None, text: str | None = None) -> Choices:
    """The choices that the command line asks for. Raises ConfigError, also when it asks for two things at once."""
    asked = (("--seed", bool(seed)), ("--pct", pct is not None), ("--choices", text is not None))
    given = [name for name, there in asked if there]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} exclude each other: each of them decides everything")
    if pct is not None:
        return Choices(parse_pct(pct))
    return Choices(ForcedSource.parse(text)) if text is not None else Choices.seeded(seed)


_SOURCES: dict[str, Callable[[], Source]] = {
    "seeded": lambda: SeededSource(0), "pct": lambda: PctSource(1), "forced": lambda: ForcedSource([]),
}  # fmt: skip


def source_of(state: dict[str, Any]) -> Source | None:
    """An empty source of the kind that `state` was saved from, None for the default. Raises ConfigError."""
    name = str(state.get("source"))
    if name == "default":
        return None
    if name not in _SOURCES:
        raise ConfigError(f"choices of source {name!r} cannot be taken up again")
    return _SOURCES[name]()
