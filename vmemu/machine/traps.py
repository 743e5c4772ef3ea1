# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints and watchpoints of one machine: where a run stops, exactly, without being changed by it.

A breakpoint is a guest-virtual PC, on every vCPU and in whatever address space; a watchpoint a range of guest-physical bytes. The
work is the C unit's (core/src/debug.c). When one is hit, the turn stays open as after any exact stop, and `taken` says why: whoever
runs the machine asks after each turn. A breakpoint that has stopped a vCPU lets it go on, and so does a watchpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.core import NO_VCPU, TrapKind
from vmemu.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: access of a watchpoint -> bits: 1 reads, 2 writes.
ACCESS = {"r": 1, "w": 2, "rw": 3}
_LETTERS = {0: "", 1: "r", 2: "w", 3: "rw"}
_KINDS = {TrapKind.BREAK: "break", TrapKind.WATCH: "watch", TrapKind.ASKED: "asked"}


@dataclass(frozen=True, slots=True)
class Trap:
    """Why a run stopped.

    kind: "break", before the instruction at `pc`; "watch", before the access of a guest's instruction, or after one that the
    engine or the host made (`by_host`: exception entry, copy, a device); "asked", what `stop_soon` asked for. vcpu: -1 for the
    host's own doing. va: the address as the guest gave it, 0 when it gave none. gpa, size: the bytes accessed. access: "r" or "w".
    """

    kind: str
    vcpu: int
    pc: int
    va: int = 0
    gpa: int = 0
    size: int = 0
    access: str = ""
    by_host: bool = False


class Traps:
    """The traps of one machine (`machine.traps`). They cost nothing where they do not lie, and nothing at all while there are none.

    A load that crosses into a watched page counts with all the bytes it is wide only where it lies; instructions that test a whole
    range first (dcbz, DC ZVA, lmw, stmw, string moves) with the range. The hardware's own walks of page tables are no accesses.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._breaks: dict[int, int] = {}
        self._watches: dict[tuple[int, int, str], list[int]] = {}
        self._off = 0

    def __bool__(self) -> bool:
        """Is anything set?"""
        return bool(self._breaks or self._watches)

    def add_break(self, va: int) -> None:
        """Stop before the instruction at `va`, on every vCPU. As often added, as often to be removed. Raises ConfigError."""
        if not 0 <= va < (1 << 64) - 1:
            raise ConfigError(f"breakpoint at {va:#x}: not an address")
        if va not in self._breaks:
            try:
                self.machine.core.set_break(va, True)
            except EngineError as error:
                raise ConfigError(f"breakpoint at {va:#x}: {error}") from None
        self._breaks[va] = self._breaks.get(va, 0) + 1

    def remove_break(self, va: int) -> None:
        """Raises ConfigError when there is none."""
        if va not in self._breaks:
            raise ConfigError(f"no breakpoint at {va:#x}")
        self._breaks[va] -= 1
        if not self._breaks[va]:
            del self._breaks[va]
            self.machine.core.set_break(va, False)

    def add_watch(self, gpa: int, size: int, access: str) -> None:
        """Stop when a guest's instruction reads ("r"), writes ("w") or does either ("rw") to one of these bytes.

        Raises ConfigError for a range that is not RAM.
        """
        if access not in ACCESS or size < 1 or gpa < 0 or not self.machine.is_ram(gpa, size):
            raise ConfigError(f"watch {gpa:#x}+{size} {access}: must be bytes of RAM, and r, w or rw")
        try:
            number = self.machine.core.add_watch(gpa, size, ACCESS[access])
        except EngineError as error:
            raise ConfigError(f"watch {gpa:#x}+{size} {access}: {error}") from None
        self._watches.setdefault((gpa, size, access), []).append(number)

    def remove_watch(self, gpa: int, size: int, access: str) -> None:
        """Raises ConfigError when there is none."""
        key = gpa, size, access
        if key not in self._watches:
            raise ConfigError(f"no watchpoint on {gpa:#x}+{size} {access}")
        self.machine.core.remove_watch(self._watches[key].pop())
        if not self._watches[key]:
            del self._watches[key]

    def clear(self) -> None:
        """Remove all."""
        for va in self._breaks:
            self.machine.core.set_break(va, False)
        for numbers in self._watches.values():
            for number in numbers:
                self.machine.core.remove_watch(number)
        self._breaks.clear()
        self._watches.clear()

    @contextmanager
    def off(self) -> Iterator[None]:
        """Nothing traps meanwhile: for runs that go somewhere."""
        self._off += 1
        if self._off == 1:
            self.machine.core.switch_traps(False)
        try:
            yield
        finally:
            self._off -= 1
            if not self._off:
                self.machine.core.switch_traps(True)

    def stop_soon(self) -> None:
        """From a callback: the run stops at the end of the block that runs."""
        self.machine.core.stop_soon()

    def taken(self) -> Trap | None:
        """The trap that stopped the last turn, once; None: there was none."""
        found = self.machine.core.take_trap()
        if found is None:
            return None
        vcpu = -1 if found.vcpu == NO_VCPU else found.vcpu
        return Trap(_KINDS[found.kind], vcpu, found.pc, found.va, found.gpa, found.size, _LETTERS[found.access], found.by_host)
