# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers as gdb sees them: a slot of so many bits, made of parts that are registers of the isa room."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.core import CoreVcpu

#: Parts of a slot, least significant first: (register, bits). Which they are may depend on the vCPU's state.
Parts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Slot:
    """One register of gdb's. `parts` empty: it reads as zero, and writing it does nothing."""

    name: str
    bits: int
    type: str
    parts: Parts | Callable[[CoreVcpu], Parts]
    group: str = ""

    def _parts(self, vcpu: CoreVcpu) -> Parts:
        return self.parts(vcpu) if callable(self.parts) else self.parts

    def read(self, vcpu: CoreVcpu) -> int:
        value = shift = 0
        for name, bits in self._parts(vcpu):
            value |= (vcpu.get(name) & (1 << bits) - 1) << shift
            shift += bits
        return value & (1 << self.bits) - 1

    def split(self, vcpu: CoreVcpu, value: int) -> list[tuple[str, int]]:
        """(register, value) of each part that a write of `value` changes."""
        found = []
        for name, bits in self._parts(vcpu):
            part = value & (1 << bits) - 1
            value >>= bits
            if part != vcpu.get(name) & (1 << bits) - 1:
                found.append((name, part))
        return found


def whole(name: str, bits: int = 64, type: str = "int64", own: str | None = None, group: str = "") -> Slot:
    """A slot that is one register, called `own` in the isa room."""
    return Slot(name, bits, type, ((own or name, bits),), group)


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature of a target description. `types`: XML of types that its slots use."""

    name: str
    slots: tuple[Slot, ...]
    types: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """What gdb wants to know of an architecture.

    arch: BFD's name. features: gdb's own, in its order. covered: registers of the isa room that they show, for which
    no slot of vmemu's own feature is made. expedited: go with each stop. after_write: gdb expects to hear of a watched access
    when it has been made, not before (gdbarch have_nonsteppable_watchpoint is 0). user: does it run with user rights?
    call_size: bytes of a system call.
    """

    arch: str
    features: tuple[Feature, ...]
    pc: str
    sp: str
    user: Callable[[CoreVcpu], bool]
    call_size: int
    expedited: tuple[str, ...]
    after_write: bool = False
