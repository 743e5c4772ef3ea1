# SPDX-License-Identifier: GPL-2.0-or-later
"""What an SDEI dispatcher remembers, and how it may change: the table of handler states, which event is next, resets.

Nothing here knows registers or calls. "DEN 0054" is Arm's document; the table is its section 6.1 as TF-A implements it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from vmemu.protocols.sdei.calls import Code, Routing, Status

NONE = Status(0)
G, GE = Status.REGISTERED, Status.REGISTERED | Status.ENABLED
RG, RGE, R = G | Status.RUNNING, GE | Status.RUNNING, Status.RUNNING  # R: unregistered while its handler runs
STATES = (NONE, G, GE, RG, RGE, R)


class Op(Enum):
    """What can happen to a handler."""

    REGISTER = "register"
    ENABLE = "enable"
    DISABLE = "disable"
    UNREGISTER = "unregister"
    ROUTE = "route"
    DISPATCH = "dispatch"
    COMPLETE = "complete"


#: op -> state -> next state. What is not here is denied.
TRANSITIONS: dict[Op, dict[Status, Status]] = {
    Op.REGISTER: {NONE: G},
    Op.ENABLE: {G: GE, GE: GE, RG: RGE, RGE: RGE},
    Op.DISABLE: {G: G, GE: G, RG: RG, RGE: RG},
    Op.UNREGISTER: {G: NONE, GE: NONE, RG: R, RGE: R, R: R},  # with R the answer is PENDING
    Op.ROUTE: {G: G},
    Op.DISPATCH: {GE: RGE},
    Op.COMPLETE: {RG: G, RGE: GE, R: NONE},
}


@dataclass(frozen=True, slots=True)
class EventInfo:
    """An event that the platform has."""

    number: int
    shared: bool = False
    critical: bool = False
    signalable: bool = False


@dataclass(slots=True)
class Handler:
    """The client's side of one event: of each PE for a private one, one for all for a shared one."""

    state: Status = NONE
    entry: int = 0
    arg: int = 0
    routing: int = int(Routing.ANY)
    affinity: int = 0  # MPIDR, and
    pe: int = 0  # the PE it names, with Routing.PE
    pending: bool = False

    def apply(self, op: Op) -> Code:
        """Make the transition, or deny it and change nothing."""
        after = TRANSITIONS[op].get(self.state)
        if after is None:
            return Code.DENIED
        self.state = after
        if op is Op.UNREGISTER and after == R:
            return Code.PENDING
        if after == NONE:
            self.clear()
        return Code.SUCCESS

    def clear(self) -> None:
        """As if it had never been registered; a signal that waits goes with it."""
        self.state, self.entry, self.arg, self.pending = NONE, 0, 0, False
        self.routing, self.affinity, self.pe = int(Routing.ANY), 0, 0

    def save(self) -> list[int]:
        return [int(self.state), self.entry, self.arg, self.routing, self.affinity, self.pe, int(self.pending)]

    @classmethod
    def saved(cls, data: list[int]) -> Handler:
        state, entry, arg, routing, affinity, pe, pending = data
        return cls(Status(state), entry, arg, routing, affinity, pe, bool(pending))


@dataclass(slots=True)
class Context:
    """What a handler interrupted: x0..x17, PC, PSTATE."""

    event: int
    registers: list[int]
    pc: int
    pstate: int


@dataclass(slots=True)
class Pe:
    """One PE: born masked. Handlers that run are nested, the innermost last: at most a critical one over a normal one."""

    masked: bool = True
    contexts: list[Context] = field(default_factory=list)


class SdeiState:
    """Every event, handler and PE of a machine."""

    def __init__(self, pes: int, events: Iterable[EventInfo]) -> None:
        self.events = {event.number: event for event in events}
        self.pes = [Pe() for _ in range(pes)]
        self._private = [{n: Handler() for n, e in self.events.items() if not e.shared} for _ in range(pes)]
        self._shared = {n: Handler() for n, e in self.events.items() if e.shared}

    def handler(self, number: int, pe: int) -> Handler | None:
        """The handler of an event as one PE sees it; None: no such event."""
        return self._private[pe].get(number) or self._shared.get(number)

    def handlers(self, pe: int, shared: bool) -> Iterator[tuple[int, Handler]]:
        """(number, handler) of all private or all shared events."""
        yield from sorted((self._shared if shared else self._private[pe]).items())

    # ---------------------------------------------------------------- delivery
    def room(self, pe: int, critical: bool) -> bool:
        """The PE could begin a handler of that class now."""
        state = self.pes[pe]
        if state.masked:
            return False
        return not any(self.events[c.event].critical for c in state.contexts) if critical else not state.contexts

    def deliverable(self, number: int, pe: int) -> bool:
        """The event, were it signalled now, would be delivered on that PE at once."""
        handler = self.handler(number, pe)
        if handler is None or handler.state not in TRANSITIONS[Op.DISPATCH]:
            return False
        if handler.routing == Routing.PE and self.events[number].shared and handler.pe != pe:
            return False
        return self.room(pe, self.events[number].critical) and self.next_event(pe) in (None, number)

    def next_event(self, pe: int) -> int | None:
        """What is to be delivered on a PE now: critical events first, then the lowest number."""
        best: tuple[bool, int] | None = None
        for handlers in (self._private[pe], self._shared):
            for number, handler in handlers.items():
                if not handler.pending or handler.state not in TRANSITIONS[Op.DISPATCH]:
                    continue
                event = self.events[number]
                if event.shared and handler.routing == Routing.PE and handler.pe != pe:
                    continue
                key = (not event.critical, number)
                if self.room(pe, event.critical) and (best is None or key < best):
                    best = key
        return None if best is None else best[1]

    # ------------------------------------------------------------------ resets
    def reset_pe(self, pe: int) -> None:
        """The PE goes away, or comes back: private events unregistered, masked, nothing runs on it (DEN 0054 6.4)."""
        for context in self.pes[pe].contexts:
            if self.events[context.event].shared:
                self._shared[context.event].apply(Op.COMPLETE)
        for handler in self._private[pe].values():
            handler.clear()
        self.pes[pe] = Pe()

    def unregister_all(self, pe: int, shared: bool) -> Code:
        """PRIVATE_RESET, SHARED_RESET: those that run are unregistered when they complete, and the answer is DENIED."""
        running = False
        for _, handler in self.handlers(pe, shared):
            running |= bool(handler.state & Status.RUNNING)
            handler.apply(Op.UNREGISTER)
        return Code.DENIED if running else Code.SUCCESS

    # ------------------------------------------------------------------- saved
    def save(self) -> dict[str, Any]:
        return {
            "version": 1,
            "pes": [
                {"masked": pe.masked, "contexts": [[c.event, c.pc, c.pstate, *c.registers] for c in pe.contexts]} for pe in self.pes
            ],
            "private": [[[n, *h.save()] for n, h in sorted(handlers.items())] for handlers in self._private],
            "shared": [[n, *h.save()] for n, h in sorted(self._shared.items())],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Raises ValueError for another version or other events."""
        if state["version"] != 1:
            raise ValueError(f"sdei: state version {state['version']}")
        if [row[0] for row in state["shared"]] != sorted(self._shared):
            raise ValueError("sdei: saved with other events")
        self.pes = [Pe(bool(pe["masked"]), [Context(c[0], list(c[3:]), c[1], c[2]) for c in pe["contexts"]]) for pe in state["pes"]]
        self._private = [{row[0]: Handler.saved(row[1:]) for row in rows} for rows in state["private"]]
        self._shared = {row[0]: Handler.saved(row[1:]) for row in state["shared"]}

    def invariants(self) -> list[str]:
        """Violations: illegal states, nesting, handlers that run nowhere or twice."""
        wrong = []
        running: list[tuple[int, int]] = []
        for pe, state in enumerate(self.pes):
            classes = [self.events[c.event].critical for c in state.contexts]
            if classes not in ([], [False], [True], [False, True]):
                wrong.append(f"sdei: PE {pe} nests {classes}")
            for context in state.contexts:
                running.append((context.event, -1 if self.events[context.event].shared else pe))
        marked = [(n, pe) for pe, handlers in enumerate(self._private) for n, h in handlers.items() if h.state & Status.RUNNING]
        marked += [(n, -1) for n, h in self._shared.items() if h.state & Status.RUNNING]
        if sorted(running) != sorted(marked):
            wrong.append(f"sdei: running {sorted(running)}, marked {sorted(marked)}")
        for handlers in (*self._private, self._shared):
            wrong += [f"sdei: event {n:#x} in state {h.state!r}" for n, h in handlers.items() if h.state not in STATES]
            wrong += [f"sdei: event {n:#x} is pending and not registered" for n, h in handlers.items() if h.pending and h.state == NONE]
        return wrong
