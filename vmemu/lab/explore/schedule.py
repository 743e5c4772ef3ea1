# SPDX-License-Identifier: GPL-2.0-or-later
"""A schedule: where an execution deviates from the default decisions. Its length is the number of deviations.

A decision is named by its kind and its number among those of its kind in the execution, from 1: ``step#4``. So a schedule
stays in step when other decisions vanish, which they do while it is being shortened. As text, ``latency#1=3,step#4``: the
fourth decision of kind `step` is option 1, the first of kind `latency` option 3, all others are option 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vmemu.errors import ConfigError

DEFAULT = "default"
#: Longest schedule that is read: a shrunk one has a dozen.
_MOST = 100_000
_FORM = re.compile(r"([a-z][a-z0-9._-]{0,60})#([1-9][0-9]{0,11})(?:=([0-9]{1,9}))?")


class Deviation(NamedTuple):
    """The `number`-th decision of `kind` (from 1) is option `option`, which is not 0."""

    kind: str
    number: int
    option: int

    def __str__(self) -> str:
        return f"{self.kind}#{self.number}" + (f"={self.option}" if self.option != 1 else "")


Schedule = tuple[Deviation, ...]


class Stretch(NamedTuple):
    """Decisions of one kind, numbers `first` to `last`, with so many options each."""

    kind: str
    first: int
    last: int
    options: int


@dataclass(frozen=True, slots=True)
class Met:
    """The decisions of one execution. counts: of each kind. at: position of the last deviation among all decisions, -1 for none;
    later: the decisions after it, the rarest kind first.
    """

    counts: dict[str, int]
    at: int
    later: tuple[Stretch, ...]

    @classmethod
    def of(cls, asked: Sequence[tuple[str, int, int]], made: Schedule) -> Met:
        """From (kind, number, options) of each decision, in order."""
        at = -1
        if made:
            last = made[-1][:2]
            at = next(i for i in range(len(asked) - 1, -1, -1) if asked[i][:2] == last)
        found: dict[str, list[Stretch]] = {}
        for kind, number, options in asked[at + 1 :]:
            of_kind = found.setdefault(kind, [])
            if of_kind and of_kind[-1].options == options:
                of_kind[-1] = Stretch(kind, of_kind[-1].first, number, options)
            else:
                of_kind.append(Stretch(kind, number, number, options))
        rarest = sorted(found.values(), key=lambda of_kind: (of_kind[-1].last - of_kind[0].first, of_kind[0].kind))
        counts = {kind: number for kind, number, _ in asked}  # numbers grow
        return cls(counts, at, tuple(stretch for of_kind in rarest for stretch in of_kind))


def format_schedule(schedule: Iterable[Deviation]) -> str:
    """As text without blanks, which a shell leaves alone."""
    return ",".join(map(str, schedule)) or DEFAULT


def parse_schedule(text: str) -> Schedule:
    """What `format_schedule` wrote. Raises ConfigError."""
    text = text.strip()
    if text in ("", DEFAULT):
        return ()
    found: dict[tuple[str, int], Deviation] = {}
    for part in text.split(","):
        match = _FORM.fullmatch(part.strip())
        if match is None:
            raise ConfigError(f"schedule: {part[:40]!r} is not KIND#NUMBER or KIND#NUMBER=OPTION, as in step#4 or latency#1=3")
        deviation = Deviation(match[1], int(match[2]), int(match[3] or 1))
        if deviation[:2] in found:
            raise ConfigError(f"schedule: {deviation.kind}#{deviation.number} is given twice")
        if deviation.option:
            found[deviation[:2]] = deviation
        if len(found) > _MOST:
            raise ConfigError(f"schedule: more than {_MOST} deviations")
    return tuple(found.values())
