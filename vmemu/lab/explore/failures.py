# SPDX-License-Identifier: GPL-2.0-or-later
"""Events that may go wrong (clock/inject.py), as decisions: every occurrence is one, whose kind is the event's name.

Option 0: it happens as it should. The others are the event's failures; a delay comes in three lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmemu.clock.inject import EVENTS, Action, Do, parse_action
from vmemu.errors import ConfigError

#: Longer than most page-ins, about one, and shorter than any but zram's.
DELAYS_NS = (1_000_000, 100_000, 10_000)
#: No run has so many: a rule for it never fires, but has the store behind an injector, as one that does.
NEVER = (1 << 63) - 1


def alternatives(text: str) -> tuple[str, tuple[Action, ...]]:
    """``EVENT``, or ``EVENT:ACTION,ACTION``: the event and what may become of it. Raises ConfigError."""
    name, _, actions = text.partition(":")
    if name not in EVENTS:
        raise ConfigError(f"event {name!r} is not known; known are {' '.join(sorted(EVENTS))}")
    can = EVENTS[name].actions
    if not actions:
        found = []
        for do in (d for d in Do if d in can):
            found += [Action(do, ns) for ns in DELAYS_NS] if do is Do.DELAY else [Action(do)]
        return name, tuple(found)
    chosen = tuple(parse_action(word, text) for word in actions.split(","))
    wrong = next((a for a in chosen if a.do not in can), None)
    if wrong is not None:
        raise ConfigError(f"{text}: {name} cannot {wrong.do.value}, only {' '.join(sorted(d.value for d in can))}")
    return name, chosen


def asker(events: Iterable[str], choose: Callable[[str, int], int]) -> Callable[[str, int | None], Action | None] | None:
    """What an `Injector` shall ask; None when nothing may go wrong."""
    known = dict(alternatives(text) for text in events)
    if not known:
        return None

    def ask(event: str, key: int | None) -> Action | None:
        actions = known.get(event)
        if actions is None:
            return None
        index = choose(event, 1 + len(actions))
        return actions[index - 1] if index else None

    return ask


def rules_that_never_fire(events: Iterable[str]) -> tuple[str, ...]:
    """For BootOptions.inject: machines are built differently when the store may fail."""
    return tuple(f"{name}:{NEVER}:{actions[0]}" for name, actions in map(alternatives, events) if name.startswith("store."))
