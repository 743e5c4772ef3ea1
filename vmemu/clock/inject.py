# SPDX-License-Identifier: GPL-2.0-or-later
"""The one injector of failures: ``EVENT:K:ACTION`` makes the K-th EVENT go wrong.

K counts from 1; ``*`` means every one, ``@KEY`` every one that concerns KEY (a page number, say). Rooms declare the
events that they ask about with `declare`, so a misspelt event is refused before the run and not silently never reached.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from vmemu.errors import ConfigError


class Do(Enum):
    """What happens to the event."""

    DROP = "drop"  # it never happens
    DELAY = "delay"  # it happens later
    DUPLICATE = "duplicate"  # it happens twice
    CORRUPT = "corrupt"  # it carries wrong bytes
    FAIL = "fail"  # it reports an error


@dataclass(frozen=True, slots=True)
class Action:
    """Answer of `Injector.check`: what to do, and for `delay` by how many virtual ns."""

    do: Do
    delay_ns: int = 0

    def __str__(self) -> str:
        return f"delay={self.delay_ns // 1000}us" if self.do is Do.DELAY else self.do.value


DEFAULT_DELAY_NS = 1_000_000
_MAX_DELAY_US = 10**9


@dataclass(frozen=True, slots=True)
class EventKind:
    """An event that can be made to go wrong."""

    name: str
    text: str
    actions: frozenset[Do]


EVENTS: dict[str, EventKind] = {}


def declare(name: str, text: str, *actions: Do) -> EventKind:
    """Make an event known; rooms call this when imported."""
    if name in EVENTS:
        raise ValueError(f"event {name} declared twice")
    EVENTS[name] = EventKind(name, text, frozenset(actions))
    return EVENTS[name]


STORE_READ = declare("store.read", "a page is read back from the store", Do.FAIL, Do.CORRUPT, Do.DELAY)
STORE_WRITE = declare("store.write", "a page is written to the store", Do.FAIL, Do.CORRUPT, Do.DELAY)


@dataclass(frozen=True, slots=True)
class Rule:
    """One parsed rule. `count` 0 means every occurrence; `key` restricts it to occurrences with that key."""

    event: str
    count: int
    action: Action
    key: int | None = None

    def __str__(self) -> str:
        which = f"@{self.key}" if self.key is not None else str(self.count or "*")
        return f"{self.event}:{which}:{self.action}"


_FORM = "EVENT:K:ACTION, for example store.read:3:fail"


def parse_action(text: str, where: str) -> Action:
    """``fail``, ``drop``, ... or ``delay=250us``."""
    word, equals, amount = text.partition("=")
    try:
        do = Do(word)
    except ValueError:
        known = " ".join(d.value for d in Do)
        raise ConfigError(f"{where}: unknown action {word!r}, known are {known}") from None
    if not equals:
        return Action(do, DEFAULT_DELAY_NS if do is Do.DELAY else 0)
    if do is not Do.DELAY or not re.fullmatch(r"[0-9]{1,10}us", amount) or int(amount[:-2]) > _MAX_DELAY_US:
        raise ConfigError(f"{where}: only delay takes an amount, in microseconds up to 1000 s: delay=250us")
    return Action(do, int(amount[:-2]) * 1000)


def parse_number(text: str) -> int | None:
    """Decimal or 0x number of at most 64 bits, or None."""
    if not re.fullmatch(r"[0-9]{1,20}|0[xX][0-9a-fA-F]{1,16}", text):
        return None
    value = int(text, 16 if text[:2].lower() == "0x" else 10)
    return value if value < 1 << 64 else None


def parse_rule(text: str) -> Rule:
    """One ``--inject`` argument. ConfigError says what is wrong with it."""
    where = f"--inject {text}"
    parts = text.split(":")
    if len(parts) != 3 or not all(parts):
        raise ConfigError(f"{where}: must be {_FORM}")
    name, which, what = parts
    kind = EVENTS.get(name)
    if kind is None:
        near = difflib.get_close_matches(name, EVENTS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {' '.join(sorted(EVENTS))}"
        raise ConfigError(f"{where}: unknown event {name!r}, {hint}")
    action = parse_action(what, where)
    if action.do not in kind.actions:
        can = " ".join(sorted(d.value for d in kind.actions))
        raise ConfigError(f"{where}: {name} cannot {action.do.value}, only {can}")
    if which == "*":
        return Rule(name, 0, action)
    number = parse_number(which.removeprefix("@"))
    if which.startswith("@") and number is not None:
        return Rule(name, 0, action, number)
    if number is None or number == 0:
        raise ConfigError(f"{where}: {which!r} is not a count from 1, '*' or '@PAGE'")
    return Rule(name, number, action)


class Injector:
    """Counts events and says which of them go wrong. Of several rules that match, the first given wins."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules: dict[str, list[Rule]] = {}
        self.counts: dict[str, int] = {}
        self.fired: list[str] = []
        #: Asked about each event for which no rule decides: event, key. An explorer's way in.
        self.ask: Callable[[str, int | None], Action | None] | None = None
        #: Rules that were given while the machine ran: they are part of its state.
        self.added: list[Rule] = []
        for rule in rules:
            self.add(rule)

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Injector:
        return cls(parse_rule(t) for t in texts)

    def add(self, rule: Rule) -> None:
        self.rules.setdefault(rule.event, []).append(rule)

    def add_from_now(self, rule: Rule) -> Rule:
        """Add a rule whose count begins now; the rule as it is kept."""
        if rule.key is None and rule.count:
            rule = replace(rule, count=self.counts.get(rule.event, 0) + rule.count)
        self.added.append(rule)
        self.rules.setdefault(rule.event, []).insert(0, rule)
        return rule

    def watches(self, *events: str) -> bool:
        """Does any rule concern one of these events? Lets a caller keep its fast path."""
        return any(e in self.rules for e in events)

    def check(self, event: str, key: int | None = None) -> Action | None:
        """Count one occurrence of `event`; the action to take, or None."""
        if event not in EVENTS:
            raise ValueError(f"event {event!r} was not declared")
        count = self.counts[event] = self.counts.get(event, 0) + 1
        for rule in self.rules.get(event, ()):
            if rule.key == key if rule.key is not None else rule.count in (0, count):
                return self._log(event, rule.action)
        if self.ask is None or (action := self.ask(event, key)) is None:
            return None
        return self._log(event, action)

    def _log(self, event: str, action: Action) -> Action:
        if len(self.fired) < 1000:  # for people, bounded
            self.fired.append(f"{event}:{self.counts[event]}:{action}")
        return action

    @property
    def idle(self) -> bool:
        """Nothing can go wrong: its counts are of no interest to anybody."""
        return not self.rules and self.ask is None

    def save(self) -> dict[str, Any]:
        return {"version": 1, "counts": dict(self.counts), "fired": list(self.fired), "added": [str(rule) for rule in self.added]}

    def load(self, state: dict[str, Any]) -> None:
        if state.get("version") != 1:
            raise ConfigError("saved injector state is of another version")
        self.counts = dict(state["counts"])
        self.fired = list(state["fired"])
        self._forget_added()
        for text in state.get("added", ()):
            rule = parse_rule(text)
            self.added.append(rule)
            self.rules.setdefault(rule.event, []).insert(0, rule)

    def _forget_added(self) -> None:
        for rule in self.added:
            self.rules[rule.event].remove(rule)
            if not self.rules[rule.event]:
                del self.rules[rule.event]
        self.added.clear()

    def load_idle(self) -> None:
        """Put back the state of an injector that was idle: what it has counted is of no interest."""
        self._forget_added()
