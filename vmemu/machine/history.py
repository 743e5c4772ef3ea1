# SPDX-License-Identifier: GPL-2.0-or-later
"""What has happened lately, kept for people: lives of page-ins and jobs as the facilities note them, and what crossed the border.

Attached by whoever wants to know (`History.of`); no part of the machine's state. It follows the machine back in time: what lies
in the future of an instant that was restored is forgotten, and noted again when it happens again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from vmemu.core.observe import Observer, Seen, What

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: So many of each are kept; older ones are forgotten.
MOST_NOTES, MOST_SEEN = 20_000, 4_000
#: Kinds of notes, as `until event KIND` knows them.
KINDS = {
    "begun": "a page-in is set up", "not_present": "the guest is told that a page is away", "untold": "it is not told, and its vCPU waits",
    "io": "when the I/O ends is known, or moved", "fetched": "the page is there, or lost", "completed": "a page-in is done",
    "ready": "the guest is told that the page is back", "wake_all": "all of a vCPU's sleepers are to wake",
    "acknowledged": "the guest has taken what was announced", "repeated": "a page that is under way is touched again",
    "refused": "a fault is served synchronously", "unsent": "a page-in is over, and was not announced",
    "over": "the guest did not wait for it",
    "cancelled": "a flush throws a page-in away", "mishap": "something goes wrong, by hand or by an injection",
    "job_pasted": "an accelerator has taken a request", "job_begun": "it begins it", "job_done": "it has done it",
    "job_faulted": "it has found a page missing",
}  # fmt: skip
#: Registers in which a hypercall has its number and its arguments, and its results.
ARGUMENTS = {
    "x86_64": ("rax", "rbx", "rcx", "rdx", "rsi"), "arm64": ("x0", "x1", "x2", "x3", "x4"), "ppc64": ("r3", "r4", "r5", "r6", "r7"),
}  # fmt: skip


#: Observations that are not kept, and those that follow from the one before them in the same turn.
_LEFT_OUT = frozenset({What.TURN, What.NOTE, What.REG_READ, What.REG_READ_DONE, What.HOST_WRITING, What.DMA_READ, What.DMA_WRITE})
_FOLLOW = frozenset({
    What.FAULT_DONE, What.REG_WRITE_DONE, What.PASTE_DONE, What.HOST_WRITE, What.EXCEPTION, What.INTERRUPT, What.LINE, What.MEM_ERROR,
})  # fmt: skip
#: Kinds of notes in which a task touches a page.
_TOUCHES = frozenset({"begun", "repeated", "refused"})


class Note(NamedTuple):
    """One moment of something's life. subject: whose ("w17"); number: what the guest calls it (a token), 0: nothing; vcpu -1: nobody's.

    turn, insns: the run loop's turn and the machine's instruction index; ns: virtual time. task: number of the guest's task that
    touched the page, 0: nobody, or not known.
    """

    turn: int
    insns: int
    ns: int
    vcpu: int
    kind: str
    subject: str
    number: int
    text: str
    task: int = 0


class Moment(NamedTuple):
    """One observation, and when it was made. arguments: of a hypercall, in the order of ARGUMENTS."""

    turn: int
    insns: int
    ns: int
    seen: Seen
    arguments: tuple[int, ...] = ()
    task: int = 0


class History:
    """Of one machine; `machine.history`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.notes: deque[Note] = deque(maxlen=MOST_NOTES)
        self.moments: deque[Moment] = deque(maxlen=MOST_SEEN)
        self._before: Observer | None = machine.core.observe
        machine.core.observe = self._see

    @classmethod
    def of(cls, machine: Machine) -> History:
        """The machine's, from now on."""
        if machine.history is None:
            machine.history = cls(machine)
        return machine.history

    def _see(self, seen: Seen) -> None:
        if self._before is not None:
            self._before(seen)
        what = seen.what
        if what in _LEFT_OUT:
            return
        machine, last = self._machine, self.moments[-1] if self.moments else None
        if last is not None and last.turn == machine.turns and what in _FOLLOW:  # of the same instruction as what it follows from
            self.moments.append(Moment(last.turn, last.insns, last.ns, seen, (), last.task))
            return
        arguments: tuple[int, ...] = ()
        if what is What.HCALL or what is What.HCALL_DONE:
            arguments = tuple(machine.vcpus[seen.vcpu].get(name) for name in ARGUMENTS[machine.board.isa])
        self.moments.append(Moment(machine.turns, machine.insns, machine.instant(), seen, arguments, self.task(seen.vcpu)))

    def task(self, vcpu: int) -> int:
        """Number of the guest's task that runs on a vCPU now; 0: none, or the guest does not tell."""
        core = self._machine.core
        if core.tasks is None or not 0 <= vcpu < core.tasks[1]:
            return 0
        return int.from_bytes(core.read_resident(core.tasks[0] + 8 * vcpu, 8), "big" if core.isa.big_endian else "little")

    def note(self, kind: str, subject: str, number: int, text: str, vcpu: int = -1) -> None:
        machine = self._machine
        task = self.task(vcpu) if kind in _TOUCHES else 0
        self.notes.append(Note(machine.turns, machine.insns, machine.instant(), vcpu, kind, subject, number, text, task))
        if machine.core.observe is not None and machine.core.observe != self._see:  # somebody besides us looks on
            machine.core.observe(Seen(What.NOTE, vcpu, number, data=kind.encode()))

    def about(self, subject: str) -> list[Note]:
        """One life, oldest first."""
        return [note for note in self.notes if note.subject == subject]

    def called(self, number: int) -> list[Note]:
        """All that the guest has known by that number, oldest first."""
        return [note for note in self.notes if note.number == number]

    def last(self, kinds: tuple[str, ...], vcpu: int) -> Note | None:
        """The newest note of these kinds about a vCPU."""
        return next((note for note in reversed(self.notes) if note.kind in kinds and note.vcpu == vcpu), None)

    def rewind(self) -> None:
        """The machine has gone back to an instant: what came after it has not happened."""
        now = self._machine.turns, self._machine.insns
        for kept in (self.notes, self.moments):
            while kept and kept[-1][:2] >= now:
                kept.pop()
