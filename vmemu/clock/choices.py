# SPDX-License-Identifier: GPL-2.0-or-later
"""Every nondeterministic decision of the host goes through `Choices`, and nothing else decides.

A run's choices are the list of the indexes that were chosen. Most are 0 (the default policy), so the list is kept and
printed run-length encoded: ``1:0x812.2.0x40.1x3`` is 812 zeros, a two, 40 zeros and three ones. A list whose text
would be long is packed: ``z:`` and the same text, deflated, in base64. More sources are in `vmemu.clock.sources`.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from vmemu.errors import ConfigError

_FORMAT = "1:"
_PACKED = "z:"
#: Longer texts than this are packed when a run prints its choices.
_SHORT = 160
_MASK = (1 << 64) - 1
#: Longest list that parse_choices() expands; a typed-in count must not eat the host's memory.
_LIMIT = 100_000_000


class Source(Protocol):
    """Where decisions come from. One that must know *which* vCPU or request an option stands for has `pick_key` too."""

    def pick(self, kind: str, options: int) -> int:
        """An index below `options`, which is 2 or more."""

    def describe(self) -> str:
        """The source as the command line would name it."""

    def save(self) -> dict[str, Any]: ...
    def load(self, state: dict[str, Any]) -> None: ...


class DefaultSource:
    """Always the first option: callers put the sensible one first."""

    def describe(self) -> str:
        return "default"

    def pick(self, kind: str, options: int) -> int:
        return 0

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "default"}

    def load(self, state: dict[str, Any]) -> None:
        expect(state, "default")


class SeededSource:
    """Uniform choices from splitmix64 (Steele, Lea, Flood, OOPSLA 2014): same seed, same choices, on any Python."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.state = seed & _MASK

    def describe(self) -> str:
        return f"seed {self.seed}"

    def next64(self) -> int:
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        z = self.state
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        z = (z ^ z >> 27) * 0x94D049BB133111EB & _MASK
        return z ^ z >> 31

    def pick(self, kind: str, options: int) -> int:
        return self.next64() * options >> 64  # bias below options / 2^64

    def save(self) -> dict[str, Any]:
        return {"version": 1, "source": "seeded", "seed": self.seed, "state": self.state}

    def load(self, state: dict[str, Any]) -> None:
        expect(state, "seeded")
        self.seed = int(state["seed"])
        self.state = int(state["state"])


def expect(state: dict[str, Any], source: str) -> None:
    """Raises ConfigError when a saved state is of another source."""
    if state.get("version") != 1 or state.get("source") != source:
        raise ConfigError(f"saved choices do not come from a {source} source of version 1")


class Choices:
    """Asks the source, checks its answer, and keeps the log."""

    def __init__(self, source: Source | None = None) -> None:
        self.source: Source = DefaultSource() if source is None else source
        #: Nothing but zeros can come: a caller need not ask where asking is expensive.
        self.is_default = isinstance(self.source, DefaultSource)
        self.kinds: dict[str, int] = {}  # how often each kind was decided
        self._runs: list[list[int]] = []  # [index, count]

    @classmethod
    def seeded(cls, seed: int) -> Choices:
        """Seed 0 is the default policy, as everywhere in vmemu."""
        return cls(SeededSource(seed) if seed else None)

    def choose(self, kind: str, options: int, keys: Sequence[int] = ()) -> int:
        """Decide among `options` possibilities; returns the index. One possibility is no decision and is not logged.

        `keys` says what the options stand for (vCPU numbers, say), for sources that treat them differently.
        """
        if options < 1:
            raise ValueError(f"choice {kind!r} among {options} options")
        if options == 1:
            return 0
        by_key = getattr(self.source, "pick_key", None) if keys else None
        index = self.source.pick(kind, options) if by_key is None else by_key(kind, keys)
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
        """The whole run's choices as one line; parse_runs() reads it back. Zeros at the end are left out."""
        plain = format_choices(self._runs)
        if len(plain) <= _SHORT:
            return plain
        return _PACKED + base64.urlsafe_b64encode(zlib.compress(plain[len(_FORMAT) :].encode(), 9)).decode()

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


def _unpack(text: str) -> str:
    try:
        inflate = zlib.decompressobj()
        plain = inflate.decompress(base64.b64decode(text.encode("ascii"), b"-_", validate=True), _LIMIT)
    except (ValueError, binascii.Error, zlib.error):
        plain = b""
    if not plain or not inflate.eof:
        raise ConfigError(f"choices {_PACKED}{text[:20]}... are damaged or incomplete")
    return plain.decode("ascii", "replace")


def parse_runs(text: str) -> list[tuple[int, int]]:
    """(index, count) pairs of a run's printed choices. Raises ConfigError."""
    text = text.strip()
    if text.startswith(_PACKED):
        text = _FORMAT + _unpack(text[len(_PACKED) :])
    if not text.startswith(_FORMAT):
        raise ConfigError(f"choices must start with {_FORMAT!r} or {_PACKED!r}, got {text[:20]!r}")
    runs: list[tuple[int, int]] = []
    total = 0
    for token in filter(None, text[len(_FORMAT) :].split(".")):
        index, cross, count = token.partition("x")
        if not (index.isascii() and index.isdigit()) or cross and not (count.isascii() and count.isdigit()):
            raise ConfigError(f"choices: {token[:20]!r} is neither INDEX nor INDEXxCOUNT")
        repeat = int(count[:12]) if cross else 1
        total += repeat
        if total > _LIMIT:
            raise ConfigError(f"choices: more than {_LIMIT} decisions")
        runs.append((int(index[:12]), repeat))
    return runs


def parse_choices(text: str) -> list[int]:
    """The indexes that format_choices() wrote; past the end of the list a run goes on with zeros."""
    return [index for index, count in parse_runs(text) for _ in range(count)]
