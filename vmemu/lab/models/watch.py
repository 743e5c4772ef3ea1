# SPDX-License-Identifier: GPL-2.0-or-later
"""Models at work on a machine: shows them everything, has them compare after each turn, and keeps the story for the report."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from vmemu.core.observe import Observer, Seen, What
from vmemu.lab.models.base import End, Model, Violation
from vmemu.lab.models.words import in_words

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: So much of the story is kept, unless asked otherwise.
KEPT = 4096
_TURN, _COMMAND = What.TURN, What.COMMAND


class Moment(NamedTuple):
    """An observation and when it was made: virtual ns, the machine's index of instants."""

    ns: int
    insns: int
    seen: Seen

    def __str__(self) -> str:
        who = f"vCPU {self.seen.vcpu}" if self.seen.vcpu >= 0 else "host"
        return f"{self.ns / 1e9:.9f} {self.insns:>10} {who:>7}  {in_words(self.seen)}"


class Watch:
    """Attach it before the machine has run, or load a state that was saved where the machine stands.

    Args:
        models: they see everything, in this order.
        keep: observations kept for the report; 0 keeps none.
        each_turn: told after the models have compared, for coverage.

    Other observers of the machine go on seeing everything.
    """

    def __init__(self, machine: Machine, models: Iterable[Model], *, keep: int = KEPT,
                 each_turn: Callable[[Watch], None] | None = None) -> None:
        self.machine = machine
        self.models = list(models)
        self.timeline: deque[Moment] = deque(maxlen=keep)
        self.each_turn = each_turn
        self._keeps = keep > 0
        wanted: dict[What, list[Callable[[Seen], None]]] = {what: [] for what in What}
        for model in self.models:
            model.peers = self.models
            own_way = type(model).see is not Model.see
            for what in What if own_way else model.on:
                wanted[what].append(model.see if own_way else model.on[what])
        #: By the value of `What`: an enum as a key of a dict is slow, and this is on the path of everything that is seen.
        self._wanted = [tuple(wanted[What(i)]) if i in What._value2member_map_ else () for i in range(max(What) + 1)]
        self._before: Observer | None = None
        self._mine: Observer = self._see  # one object: bound methods are made anew at each look
        self._attached = False
        self.attach()

    # ------------------------------------------------------------- observing
    def attach(self) -> None:
        if self._attached:
            return
        self._before = self.machine.core.observe
        self.machine.core.observe = self._mine if self._before is None else tee(self._before, self._mine)
        self._attached = True

    def detach(self) -> None:
        """See no more. Whoever observed before is alone again."""
        if self._attached:
            self.machine.core.observe = self._before
            self._attached = False

    def _see(self, seen: Seen) -> None:
        what = seen.what
        if self._keeps and what is not _TURN:
            self.timeline.append(Moment(self.machine.now(), self.machine.insns, seen))
        for handler in self._wanted[what]:
            handler(seen)
        if what is _COMMAND and seen.data == b"migrate":
            for model in self.models:
                model.migrated()
        elif what is _TURN:
            for model in self.models:
                model.check()
            if self.each_turn is not None:
                self.each_turn(self)

    # --------------------------------------------------------------- verdict
    @property
    def violations(self) -> list[Violation]:
        """Of all models, in the order of their instants."""
        return sorted((v for model in self.models for v in model.violations), key=lambda v: v.insns)

    def at_rest(self) -> list[Violation]:
        for model in self.models:
            model.at_rest()
        return self.violations

    def at_end(self, end: End) -> list[Violation]:
        for model in self.models:
            model.at_end(end)
        return self.violations

    def state(self) -> Hashable:
        """Of all models together: for coverage."""
        return tuple(model.state() for model in self.models)

    def story(self, violation: Violation, lines: int = 40) -> list[str]:
        """What was seen last before a violation, one line each, of its vCPU and the host."""
        found = [m for m in self.timeline if m.insns <= violation.insns and (violation.vcpu is None or m.seen.vcpu in (-1, violation.vcpu))]
        return [str(m) for m in found[-lines:]]

    # ----------------------------------------------------------------- state
    def save(self) -> Any:
        """Plain data, for a snapshot of the machine taken at the same instant."""
        return {"version": 1, "models": {model.name: model.save() for model in self.models}, "timeline": list(self.timeline)}

    def load(self, state: Any) -> None:
        """After the machine was put back: what was seen while that was done is forgotten, violations as well."""
        for model in self.models:
            model.load(state["models"][model.name])
            model.violations.clear()
        self.timeline.clear()
        self.timeline.extend(state["timeline"])


def tee(first: Observer, second: Observer) -> Observer:
    """Two observers in one slot."""

    def both(seen: Seen) -> None:
        first(seen)
        second(seen)

    return both
