# SPDX-License-Identifier: GPL-2.0-or-later
"""Sequences of named atomic steps. What a host thread does is a list of names; between two of them Choices ("step") may let
everybody else run: other vCPUs their guests, other workers their steps. By default a sequence runs through at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: Virtual ns for which a sequence that was interrupted rests: longer than a turn of a few instructions, shorter than a page-in.
REST = 500
EVENT = "async_page.step"


@dataclass(slots=True)
class Sequence:
    """A thread's way through its steps. `vcpu`: on whose behalf; `holds`: the same where it is the vCPU's own thread, which cannot
    be in its guest meanwhile, -1 for a worker's.

    `left`: names of the steps still to be done. `value`: what the steps have to say to each other.
    """

    id: int
    kind: str
    actor: str
    work: int
    vcpu: int
    holds: int
    left: list[str]
    value: int = 0

    def save(self) -> list[Any]:
        return [self.id, self.kind, self.actor, self.work, self.vcpu, self.holds, list(self.left), self.value]


Step = Callable[[Sequence], None]


@dataclass
class Sequencer:
    """Runs sequences. `steps`: the code behind each name; `finished` is called at the end of each kind of sequence."""

    machine: Machine
    steps: dict[str, Step]
    finished: dict[str, Step]
    between: Callable[[], None]
    resting: dict[int, Sequence] = field(default_factory=dict)
    next_id: int = 1
    _plain: dict[str, Sequence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.machine.queue.define(EVENT, self._go_on)

    def start(self, kind: str, actor: str, work: int, vcpu: int, names: tuple[str, ...], own: bool = True) -> Sequence:
        """Begin a sequence and run it as far as it comes; it is complete when nothing is `left`. `own`: in the vCPU's thread."""
        number = self.next_id
        self.next_id += 1
        if self.machine.choices.is_default:  # nothing can come between: no sequence of a kind begins while another one is amid
            sequence = self._plain.get(kind)
            if sequence is None:
                sequence = self._plain[kind] = Sequence(0, kind, "", 0, 0, 0, [])
            sequence.id, sequence.actor, sequence.work, sequence.value = number, actor, work, 0
            sequence.vcpu, sequence.holds = vcpu, vcpu if own else -1
            for name in names:
                self.steps[name](sequence)
            self.finished[kind](sequence)
            return sequence
        sequence = Sequence(number, kind, actor, work, vcpu, vcpu if own else -1, list(names))
        self._run(sequence)
        return sequence

    def _run(self, sequence: Sequence) -> None:
        choices = self.machine.choices
        while sequence.left:
            self.steps[sequence.left.pop(0)](sequence)
            self.between()
            if sequence.left and choices.choose("step", 2):
                self._rest(sequence)
                return
        self.finished[sequence.kind](sequence)

    def _rest(self, sequence: Sequence) -> None:
        self.resting[sequence.id] = sequence
        if sequence.holds >= 0:
            self.machine.hold(sequence.holds, True)
        self.machine.queue.post(self.machine.now() + REST, EVENT, sequence.id)

    def _go_on(self, now: int, number: int) -> None:
        sequence = self.resting.pop(number, None)
        if sequence is None:  # it was waited for, and is complete
            return
        if sequence.holds >= 0 and self.holder(sequence.holds) is None:
            self.machine.hold(sequence.holds, False)
        self._run(sequence)

    def holder(self, vcpu: int) -> Sequence | None:
        """The interrupted sequence that is the vCPU's own."""
        return next((s for s in self.resting.values() if s.holds == vcpu), None) if self.resting else None

    def complete(self, sequence: Sequence) -> None:
        """Somebody waits for it: run what is left, without interruption."""
        self.resting.pop(sequence.id, None)
        if sequence.holds >= 0 and self.holder(sequence.holds) is None:
            self.machine.hold(sequence.holds, False)
        while sequence.left:
            self.steps[sequence.left.pop(0)](sequence)
        self.finished[sequence.kind](sequence)

    def workers(self, vcpu: int) -> list[Sequence]:
        """Interrupted sequences of the vCPU's workers."""
        return [s for s in self.resting.values() if s.vcpu == vcpu and s.holds < 0]

    def save(self) -> dict[str, Any]:
        return {"next": self.next_id, "resting": [s.save() for s in self.resting.values()]}

    def load(self, state: dict[str, Any]) -> None:
        self.next_id = state["next"]
        self.resting = {s[0]: Sequence(s[0], s[1], s[2], s[3], s[4], s[5], list(s[6]), s[7]) for s in state["resting"]}
        held = {s.holds for s in self.resting.values()}
        for vcpu in self.machine.vcpus:
            vcpu.held = vcpu.id in held
