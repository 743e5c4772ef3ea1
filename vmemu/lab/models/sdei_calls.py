# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI's calls and handlers as a client may expect them (Arm DEN 0054, as TF-A implements it): results, states, nesting.

Knows no machine: who uses it says which call was made on which PE, and compares. All events of these platforms are private.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vmemu.devices.psci import cpu_of

BASE, LAST = 0xC4000020, 0xC400003F  # of SDEI's function ids
(VERSION, REGISTER, ENABLE, DISABLE, CONTEXT, COMPLETE, RESUME, UNREGISTER, STATUS, GET_INFO, ROUTING_SET, MASK, UNMASK, BIND,
 RELEASE, SIGNAL, FEATURES, PRIVATE_RESET, SHARED_RESET) = range(BASE, BASE + 19)  # fmt: skip
NOT_SUPPORTED, INVALID, DENIED, PENDING = -1, -2, -3, -5
#: Version 1.1, vendor KVM.
VERSION_VALUE = 1 << 48 | 1 << 32 | 0x564BCAA9
KEPT = 18  # x0 to x17

#: Handler states: registered, enabled, running.
G, E, R = 1, 2, 4


@dataclass(slots=True)
class Handler:
    """Of one event on one PE. since: when its signal began to wait, -1: none waits."""

    state: int = 0
    entry: int = 0
    arg: int = 0
    since: int = -1


@dataclass(slots=True)
class Pe:
    """contexts: event, then x0 to x17, PC and PSTATE of what it interrupted, innermost last; None where nobody could look."""

    masked: bool = True
    contexts: list[tuple[int, tuple[int | None, ...]]] = field(default_factory=list)


class SdeiCalls:
    """events: number -> critical? Of every PE."""

    def __init__(self, pes: int, events: dict[int, bool]) -> None:
        self.events = events
        self.pes = [Pe() for _ in range(pes)]
        self.handlers = [{number: Handler() for number in events} for _ in range(pes)]

    def reset(self, pe: int) -> None:
        """The PE went away: private events are unregistered, and it comes back masked."""
        self.pes[pe] = Pe()
        self.handlers[pe] = {number: Handler() for number in self.events}

    # ------------------------------------------------------------------ signals
    def signal(self, event: int, pe: int, now: int) -> bool:
        """False: nobody waits for it there, and it is lost."""
        handler = self.handlers[pe][event]
        if not handler.state & G:
            return False
        if handler.since < 0:
            handler.since = now
        return True

    def waits(self, pe: int) -> bool:
        """Does any signal wait there?"""
        return any(handler.since >= 0 for handler in self.handlers[pe].values())

    def due(self, pe: int) -> list[int]:
        """Events that must be delivered when the PE next enters its guest, the first one first."""
        me = self.pes[pe]
        if me.masked:
            return []
        running = [self.events[event] for event, _ in me.contexts]
        found = []
        for event, handler in self.handlers[pe].items():
            room = not any(running) if self.events[event] else not running
            if handler.since >= 0 and handler.state & (G | E | R) == G | E and room:
                found.append(event)
        return sorted(found, key=lambda event: (not self.events[event], event))

    def could_deliver(self, event: int, pe: int) -> bool:
        """Were it signalled now, its handler would be next."""
        handler = self.handlers[pe][event]
        if handler.state != G | E or self.pes[pe].masked:
            return False
        running = [self.events[other] for other, _ in self.pes[pe].contexts]
        return (not any(running) if self.events[event] else not running) and self.due(pe) in ([], [event])

    def delivered(self, event: int, pe: int, context: tuple[int | None, ...]) -> None:
        handler = self.handlers[pe][event]
        handler.since = -1
        handler.state |= R
        self.pes[pe].contexts.append((event, context))

    # -------------------------------------------------------------------- calls
    def call(self, pe: int, function: int, args: list[int], now: int) -> int | None:
        """What x0 must be; None: the call does not come back, but goes on elsewhere."""
        me = self.pes[pe]
        if function == CONTEXT:
            return INVALID if args[0] >= KEPT else (me.contexts[-1][1][args[0]] if me.contexts else DENIED)
        if function in (COMPLETE, RESUME):
            return None if me.contexts else DENIED
        if function == MASK:
            was, me.masked = me.masked, True
            return int(not was)
        if function == UNMASK:
            me.masked = False
            return 0
        if function == PRIVATE_RESET:
            running = [handler for handler in self.handlers[pe].values() if handler.state & R]
            for handler in self.handlers[pe].values():
                self._unregister(handler)
            return DENIED if running else 0
        if function == SIGNAL:
            target = cpu_of(args[1])
            if args[0] != 0 or not 0 <= target < len(self.pes):
                return INVALID
            self.signal(0, target, now)
            return 0
        plain = {VERSION: VERSION_VALUE, FEATURES: 0 if args[0] <= 1 else INVALID, SHARED_RESET: 0}
        return plain[function] if function in plain else self._of_event(pe, function, args)

    def _of_event(self, pe: int, function: int, args: list[int]) -> int:
        if function not in (REGISTER, ENABLE, DISABLE, UNREGISTER, STATUS, GET_INFO, ROUTING_SET):
            return NOT_SUPPORTED
        handler = self.handlers[pe].get(args[0])
        if handler is None or function == ROUTING_SET:  # that is for shared events
            return INVALID
        if function == STATUS:
            return handler.state
        if function == GET_INFO:
            answers = {0: 0, 1: 1, 2: int(self.events[args[0]])}  # private, software can signal it, its class
            return answers.get(args[1], INVALID)
        if function == REGISTER:
            return self._register(handler, args)
        if not handler.state & G:
            return PENDING if function == UNREGISTER and handler.state & R else DENIED
        if function == UNREGISTER:
            return self._unregister(handler)
        handler.state = handler.state | E if function == ENABLE else handler.state & ~E
        return 0

    @staticmethod
    def _register(handler: Handler, args: list[int]) -> int:
        _, entry, arg, flags = args[:4]
        if entry == 0 or flags > 1:
            return INVALID
        if handler.state:
            return DENIED
        handler.state, handler.entry, handler.arg = G, entry, arg
        return 0

    @staticmethod
    def _unregister(handler: Handler) -> int:
        handler.since = -1  # a signal to what is not registered is lost
        handler.state &= R
        return PENDING if handler.state else 0

    def completed(self, pe: int) -> tuple[int, tuple[int | None, ...]]:
        """The innermost handler is over: its event, and what it had interrupted."""
        event, context = self.pes[pe].contexts.pop()
        self.handlers[pe][event].state &= ~R
        return event, context

    # -------------------------------------------------------------------- state
    def save(self) -> Any:
        pes = [(pe.masked, [(event, tuple(context)) for event, context in pe.contexts]) for pe in self.pes]
        return pes, [{n: (h.state, h.entry, h.arg, h.since) for n, h in handlers.items()} for handlers in self.handlers]

    def load(self, state: Any) -> None:
        pes, handlers = state
        self.pes = [Pe(masked, [(event, tuple(context)) for event, context in contexts]) for masked, contexts in pes]
        self.handlers = [{int(n): Handler(*fields) for n, fields in one.items()} for one in handlers]
