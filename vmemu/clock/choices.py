# SPDX-License-Identifier: GPL-2.0-or-later
"""Every nondeterministic decision of the host goes through `Choices`, and nothing else decides.

A run's choices are the list of the indexes that were chosen. Most are 0 (the default policy), so the list is kept and
printed run-length encoded: ``1:0x812.2.0x40.1x3`` is 812 zeros, a two, 40 zeros and three ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from vmemu.errors import ConfigError

_FORMAT = "1:"
_MASK = (1 << 64) - 1
#: Longest list that parse_choices() expands; a typed-in count must not eat the host's memory.
_LIMIT = 100_000_000


class Source(Protocol):
    """Where decisions come from."""

    def pick(self, kind: str, options: int) -> int:
        """An index below `options`, which is 2 or more."""

    def save(self) -> dict[str, Any]: ...
    def load(self, state: dict[str, Any]) -> None: ...


class DefaultSource:
    """Always the first option: callers put the sensible one first."""

    def pick(self, kind: str, options: int) -> int:
        return 0

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "default"}

    def load(self, state: dict[str, Any]) -> None:
        _expect(state, "default")


class SeededSource:
    """Uniform choices from splitmix64 (Steele, Lea, Flood, OOPSLA 2014): same seed, same choices, on any Python."""

    def __init__(self, seed: int) -> None:
        self.state = seed & _MASK

    def next64(self) -> int:
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        return z ^ z >> 31

    def pick(self, kind: str, options: int) -> int:
        return self.next64() * options >> 64  # bias below options / 2^64

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "seeded", "state": self.state}

    def load(self, state: dict[str, Any]) -> None:
        _expect(state, "seeded")
        self.state = int(state["state"])


def _expect(state: dict[str, Any], source: str) -> None:
    if state.get("version") != 1 or state.get("source") != source:
        raise ConfigError(f"saved choices do not come from a {source} source of version 1")


class Choices:
    """Asks the source, checks its answer, and keeps the log."""

    def __init__(self, source: Source | None = None) -> None:
        self.source: Source = DefaultSource() if source is None else source
        self.kinds: dict[str, int] = {}  # how often each kind was decided
        self._runs: list[list[int]] = []  # [index, count]

    @classmethod
    def seeded(cls, seed: int) -> Choices:
        """Seed 0 is the default policy, as everywhere in vmemu."""
        return cls(SeededSource(seed) if seed else None)

    def choose(self, kind: str, options: int) -> int:
        """Decide among `options` possibilities; returns the index. One possibility is no decision and is not logged."""
        if options < 1:
            raise ValueError(f"choice {kind!r} among {options} options")
        if options == 1:
            return 0
        index = self.source.pick(kind, options)
        if not 0 <= index < options:
            raise ValueError(f"choice {kind!r}: source answered {index}, options are 0 to {options - 1}")
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if self._runs and self._runs[-1][0] == index:
            self._runs[-1][1] += 1
        else:
            self._runs.append([index, 1])
        return index

    def __len__(self) -> int:
        return sum(count for _, count in self._runs)

    def text(self) -> str:
        """The whole run's choices as one line; parse_choices() reads it back. Zeros at the end are left out."""
        return format_choices(self._runs)

    def save(self) -> dict[str, Any]:
        return {
            "version": 1,
            "runs": [list(r) for r in self._runs],
            "kinds": dict(self.kinds),
            "source": self.source.save(),
        }

    def load(self, state: dict[str, Any]) -> None:
        if state.get("version") != 1:
            raise ConfigError("saved choices are of another version")
        self.source.load(state["source"])
        self._runs = [list(r) for r in state["runs"]]
        self.kinds = dict(state["kinds"])


def format_choices(runs: Iterable[Iterable[int]]) -> str:
    """(index, count) pairs as text."""
    pairs = [tuple(r) for r in runs]
    while pairs and pairs[-1][0] == 0:
        pairs.pop()
    return _FORMAT + ".".join(f"{i}" if n == 1 else f"{i}x{n}" for i, n in pairs)


def parse_choices(text: str) -> list[int]:
    """The indexes that format_choices() wrote; past the end of the list a run goes on with zeros."""
    if not text.startswith(_FORMAT):
        raise ConfigError(f"choices must start with {_FORMAT!r}, got {text[:20]!r}")
    indexes: list[int] = []
    for token in filter(None, text[len(_FORMAT) :].split(".")):
        index, cross, count = token.partition("x")
        if not (index.isascii() and index.isdigit()) or cross and not (count.isascii() and count.isdigit()):
            raise ConfigError(f"choices: {token[:20]!r} is neither INDEX nor INDEXxCOUNT")
        repeat = int(count[:12]) if cross else 1
        if repeat + len(indexes) > _LIMIT:
            raise ConfigError(f"choices: more than {_LIMIT} decisions")
        indexes.extend([int(index[:12])] * repeat)
    return indexes
