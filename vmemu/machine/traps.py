# SPDX-License-Identifier: GPL-2.0-or-later
"""Breakpoints and watchpoints of one machine: where a run stops, exactly, without being changed by it.

A breakpoint is a guest-virtual PC, on every vCPU and in whatever address space; a watchpoint a range of guest-physical bytes. The
work is the C unit's (core/src/debug.c). When one is hit, the turn stays open as after any exact stop, and `taken` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: access of a watchpoint -> bits: 1 reads, 2 writes.
ACCESS = {"r": 1, "w": 2, "rw": 3}


@dataclass(frozen=True, slots=True)
class Trap:
    """Why a run stopped.

    kind: "break", before the instruction at `pc`; "watch", before the access of a guest's instruction, or after one that the
    engine or the host made (`by_host`); "asked", what `stop_soon` asked for. vcpu: -1 for the host's own doing.
    va: the address as the guest gave it, 0 when it gave none. access: "r" or "w".
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
    """The traps of one machine (`machine.traps`). They cost nothing where they do not lie, and nothing at all while there are none."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._breaks: dict[int, int] = {}
        self._watches: dict[tuple[int, int, str], int] = {}

    def add_break(self, va: int) -> None:
        """Stop before the instruction at `va`, on every vCPU. As often added, as often to be removed."""
        self._breaks[va] = self._breaks.get(va, 0) + 1

    def remove_break(self, va: int) -> None:
        """Raises ConfigError when there is none."""
        if va not in self._breaks:
            raise ConfigError(f"no breakpoint at {va:#x}")
        self._breaks[va] -= 1
        if not self._breaks[va]:
            del self._breaks[va]

    def add_watch(self, gpa: int, size: int, access: str) -> None:
        """Stop before a guest's instruction reads ("r"), writes ("w") or does either ("rw") to one of these bytes.

        Raises ConfigError for a range that is not RAM.
        """
        if access not in ACCESS or size < 1 or not self.machine.is_ram(gpa, size):
            raise ConfigError(f"watch {gpa:#x}+{size} {access}: must be bytes of RAM, and r, w or rw")
        key = gpa, size, access
        self._watches[key] = self._watches.get(key, 0) + 1

    def remove_watch(self, gpa: int, size: int, access: str) -> None:
        """Raises ConfigError when there is none."""
        key = gpa, size, access
        if key not in self._watches:
            raise ConfigError(f"no watchpoint on {gpa:#x}+{size} {access}")
        self._watches[key] -= 1
        if not self._watches[key]:
            del self._watches[key]

    def clear(self) -> None:
        """Remove all."""
        self._breaks.clear()
        self._watches.clear()
