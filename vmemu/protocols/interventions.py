# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands that change what happens to page-ins, jobs and notifications: complete, fail, delay, drop, duplicate.

Facilities say what they have under way (`Steerable`); the words are the same for all. Commands are the machine's (machine.commands),
so that they are recorded and replayed; explorers and tests call the methods behind them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.clock.inject import EVENTS, Action, Do, Rule, parse_number
from vmemu.errors import ConfigError
from vmemu.machine.control import Refused

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

MOST_US, MOST_COUNT = 10**9, 1_000_000


@dataclass(frozen=True, slots=True)
class Target:
    """Something under way. kind, number: what people call it ("token", 0x1000); gpa: its page, None: none. key: its owner's own."""

    kind: str
    number: int
    gpa: int | None
    key: int

    def __str__(self) -> str:
        return f"{self.kind} {self.number:#x}" if self.kind != "job" else f"job {self.number}"


class Steerable(ABC):
    """One facility's side. `notifications`: word -> injectable event, for drop and duplicate."""

    notifications: dict[str, str]

    @abstractmethod
    def targets(self) -> list[Target]:
        """What is under way, oldest first."""

    @abstractmethod
    def complete(self, target: Target) -> str:
        """It is ready now. What happened, as text. Raises Refused."""

    @abstractmethod
    def fail(self, target: Target) -> str:
        """It ends now, and badly. Raises Refused."""

    @abstractmethod
    def delay(self, target: Target, ns: int) -> str:
        """It ends that much later. Raises Refused."""


def add(machine: Machine, steerable: Steerable) -> None:
    """Make the commands of a machine know a facility."""
    known = machine.commands.get("complete")
    if isinstance(known, _Verb):
        known.hand.rooms.append(steerable)
        return
    hand = Hand(machine, [steerable])
    for name, act in (("complete", hand.complete), ("fail", hand.fail), ("delay", hand.delay),
                      ("drop", hand.drop), ("duplicate", hand.duplicate)):  # fmt: skip
        machine.commands[name] = _Verb(hand, act)


def hand(machine: Machine) -> Hand | None:
    """The machine's; None: no facility of it can be steered."""
    found = machine.commands.get("complete")
    return found.hand if isinstance(found, _Verb) else None


@dataclass(frozen=True, slots=True)
class _Verb:
    """A command of the machine."""

    hand: Hand
    act: Callable[[list[str]], str]

    def __call__(self, words: list[str]) -> str:
        return self.act(words)


class Hand:
    """The commands of one machine."""

    def __init__(self, machine: Machine, rooms: list[Steerable]) -> None:
        self.machine, self.rooms = machine, rooms

    # ------------------------------------------------------------------ commands
    def complete(self, words: list[str]) -> str:
        """``complete TOKEN | gpa ADDRESS | job N | all``: it is ready now."""
        if words == ["all"]:
            done = [room.complete(target) for room in self.rooms for target in room.targets()]
            return "; ".join(done) if done else "nothing is under way"
        room, target = self._find("complete", words)
        return room.complete(target)

    def fail(self, words: list[str]) -> str:
        """``fail TOKEN | gpa ADDRESS | job N``: the store, or the engine, fails."""
        room, target = self._find("fail", words)
        return room.fail(target)

    def delay(self, words: list[str]) -> str:
        """``delay TOKEN | gpa ADDRESS | job N`` and so many microseconds."""
        us = re.fullmatch(r"([0-9]{1,10})(us)?", words[-1]) if len(words) > 1 else None
        if us is None or not 0 < int(us[1]) <= MOST_US:
            raise ConfigError("delay: write what, and microseconds from 1 to 1000 s: delay 0x1000 250")
        room, target = self._find("delay", words[:-1])
        return room.delay(target, int(us[1]) * 1000)

    def drop(self, words: list[str]) -> str:
        """``drop NOTIFICATION [COUNT]``: the next one is lost, or so many."""
        return self._spoil(Do.DROP, "drop", words)

    def duplicate(self, words: list[str]) -> str:
        """``duplicate NOTIFICATION [COUNT]``: the next one comes twice."""
        return self._spoil(Do.DUPLICATE, "duplicate", words)

    # ------------------------------------------------------------------ internals
    def _find(self, verb: str, words: list[str]) -> tuple[Steerable, Target]:
        kind, text = (words[0], words[1]) if len(words) == 2 else ("token", words[0]) if len(words) == 1 else ("", "")
        number = parse_number(text)
        if number is None or kind not in ("token", "gpa", "job", "page"):
            raise ConfigError(f"{verb}: write a token, or gpa ADDRESS, or job NUMBER{' or all' * (verb == 'complete')}")
        known = []
        for room in self.rooms:
            for target in room.targets():
                if kind == "gpa" or kind == "page":
                    hit = target.gpa is not None and target.gpa >> 12 == number >> 12
                else:
                    hit = (target.kind, target.number) == (kind, number)
                if hit:
                    return room, target
                known.append(str(target))
        what = f"gpa {number:#x}" if kind in ("gpa", "page") else f"job {number}" if kind == "job" else f"{kind} {number:#x}"
        under_way = ", ".join(known[:6]) + ", ..." * (len(known) > 6) if known else "nothing"
        raise Refused(f"ENOENT: {what} is not under way; under way: {under_way}")

    def _spoil(self, do: Do, verb: str, words: list[str]) -> str:
        events = {word: event for room in self.rooms for word, event in room.notifications.items() if do in EVENTS[event].actions}
        count = parse_number(words[1]) if len(words) == 2 else 1
        if not words or len(words) > 2 or words[0] not in events or not count or count > MOST_COUNT:
            raise ConfigError(f"{verb}: write one of {', '.join(events)}, and how many if more than the next one")
        injector, event = self.machine.memory.injector, events[words[0]]
        for nth in range(1, count + 1):
            injector.add_from_now(Rule(event, nth, Action(do)))
        text = "the next one is" if count == 1 else f"the next {count} are"
        return f"{EVENTS[event].text.partition(':')[0]}: {text} {'lost' if do is Do.DROP else 'doubled'}"
