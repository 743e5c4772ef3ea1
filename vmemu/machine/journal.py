# SPDX-License-Identifier: GPL-2.0-or-later
"""What people did to a machine, each with its exact instant, so that it is done again whenever that instant is passed again:
by a replay, or by a debugger that went back in time.

Commands (control.py) and console input are what a run does not decide by itself. An instant need not be the end of a turn: a
debugger stops anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from vmemu.core import CoreVcpu, Exit

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


class Instant(NamedTuple):
    """A place in a machine's run, exactly.

    turns, insns: complete turns, and instructions of all vCPUs. units: time of the vCPU whose turn is open, else the machine's
    (CYC). vcpu: whose turn is open, -1 for nobody's: then the rest is 0. settled: no exact stop amid a block. At one instruction
    index lie several instants: before and after an interrupt was taken there, say.
    """

    turns: int
    insns: int
    units: int
    vcpu: int
    settled: int
    pc: int

    @classmethod
    def of(cls, machine: Machine) -> Instant:
        number = machine.open_vcpu
        if number is None:
            return cls(machine.turns, machine.insns, machine.time_units, -1, 0, 0)
        vcpu = machine.vcpus[number]
        return cls(machine.turns, machine.insns, vcpu.cycles, number, int(vcpu.settled), vcpu.pc)


class Entry(NamedTuple):
    """One thing that was done. kind: "command", its text; "input", bytes as hex; "end", nothing: the run was stopped there."""

    at: Instant
    kind: str
    text: str


class Missed(Exception):
    """The run has passed an instant of its journal without meeting it: it is not the run that the journal is of."""


class Journal:
    """The journal of one machine (`machine.journal`). The first `done` entries lie behind it; snapshots keep that number."""

    def __init__(self, machine: Machine, entries: list[Entry] | None = None) -> None:
        self.machine = machine
        self.entries: list[Entry] = [] if entries is None else entries
        self.done = 0
        #: Called when something new is done: what was known of the future is no more.
        self.on_new: Callable[[], None] | None = None
        self._again = False
        machine.console.on_input = self._typed
        machine.journal = self

    def put(self, at: Instant, kind: str, text: str) -> None:
        """Something was done at `at`, which is here. What lay in the future is no more."""
        del self.entries[self.done :]
        self.entries.append(Entry(at, kind, text))
        self.done += 1
        if self.on_new is not None:
            self.on_new()

    def _typed(self, data: bytes) -> None:
        if not self._again:
            self.put(Instant.of(self.machine), "input", data.hex())

    @property
    def at_end(self) -> bool:
        """The machine stands where the journal ends with "end"."""
        return self.done < len(self.entries) and self.entries[self.done].kind == "end" and (
            self.entries[self.done].at == Instant.of(self.machine))

    def now(self) -> None:
        """Do what is to be done here. Raises Missed; and what a command raises, which it did not when it was done first."""
        from vmemu.machine.control import execute

        while self.done < len(self.entries):
            at, kind, text = self.entries[self.done]
            machine = self.machine
            if kind == "end" or (at.turns, at.insns) > (machine.turns, machine.insns):
                return
            if at != Instant.of(machine):
                if at.turns < machine.turns or at.insns < machine.insns:
                    raise Missed(f"at instruction {machine.insns}: {text!r} was given after {at.insns} instructions, amid turn "
                                 f"{at.turns}, and this run was never there")
                return
            self.done += 1
            self._again = True
            try:
                if kind == "input":
                    machine.console.type(bytes.fromhex(text))
                else:
                    execute(machine, text)
            finally:
                self._again = False

    def run(self, vcpu: CoreVcpu, cycle_limit: int, insn_limit: int) -> Exit:
        """`CoreVcpu.run`, but not past an instant amid this turn at which something is to be done."""
        at = self.entries[self.done].at if self.done < len(self.entries) else None
        if at is None or at.turns != self.machine.turns or at.vcpu != vcpu.id:
            return vcpu.run(cycle_limit, insn_limit)
        left = at.insns - self.machine.insns
        if left > 0:
            return vcpu.run(cycle_limit, min(insn_limit, vcpu.insns + left))
        vcpu.stop_at(vcpu.insns, at.units, bool(at.settled), at.pc)  # the count alone does not name the instant
        try:
            return vcpu.run(cycle_limit, min(insn_limit, vcpu.insns + 1))
        finally:
            vcpu.stop_nowhere()
