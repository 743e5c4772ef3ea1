# SPDX-License-Identifier: GPL-2.0-or-later
"""Stage-1 walks, explained: the architecture's reference walker does them, and each entry that it reads is noted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmemu.isa.arm64.registers import DESCRIPTOR, FAULT_STATUS
from vmemu.isa.base import Format, WalkResult
from vmemu.isa.ppc64 import walker as ppc64
from vmemu.isa.ppc64.registers import DSISR, PDE, PROCESS_ENTRY
from vmemu.isa.ppc64.registers import PTE as RADIX_PTE
from vmemu.isa.x86_64 import walker as x86
from vmemu.isa.x86_64.registers import PF_ERROR
from vmemu.isa.x86_64.registers import PTE as X86_PTE
from vmemu.machine import view

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

READ, WRITE, FETCH = range(3)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry that a walk has read. raw None: no memory answered."""

    level: str
    gpa: int
    raw: int | None
    format: Format

    def __str__(self) -> str:
        return f"{self.level} at {self.gpa:#x}: " + ("no memory there" if self.raw is None else self.format.show(self.raw))


@dataclass(frozen=True, slots=True)
class Walked:
    """A walk: its entries in order, the walker's result, and for a failure why, in words."""

    va: int
    off: bool
    steps: tuple[Step, ...]
    result: WalkResult
    why: str


def walk(machine: Machine, vcpu: CoreVcpu, va: int, access: int = READ, user: bool = False, root: int | None = None) -> Walked:
    """Translate va as the vCPU would now, or in the address space of a task (its root handle). Changes nothing."""
    read: Noted = []

    def note(gpa: int) -> int | None:
        value = view.read64(machine, gpa)
        read.append((gpa, value))
        return value

    result = view.walk(machine, vcpu, va, access, user, root=root, read=note)
    return _EXPLAIN[machine.board.isa](vcpu, va, read, result)


Noted = list[tuple[int, "int | None"]]


def _x86(vcpu: CoreVcpu, va: int, read: Noted, result: WalkResult) -> Walked:
    steps = tuple(Step(name, *entry, X86_PTE) for name, entry in zip(("PML4E", "PDPTE", "PDE", "PTE"), read, strict=False))
    why = ""
    if not result.ok:
        if result.fault == x86.NONCANONICAL:
            why = f"{va:#x} is not canonical"
        elif result.fault == x86.UNMODELLED:
            why = "paging is on without long mode"
        else:
            rights = "" if PF_ERROR.get(result.fault, "P") == 0 else " (rights or reserved bits)"
            why = f"the {steps[-1].level} says no{rights}: #PF error {PF_ERROR.show(result.fault)}"
    return Walked(va, not read and result.ok, steps, result, why)


def _arm64(vcpu: CoreVcpu, va: int, read: Noted, result: WalkResult) -> Walked:
    tcr = vcpu.get("tcr_el1")
    size = tcr >> 16 & 63 if va >> 55 & 1 else tcr & 63
    first = 4 - -(-(64 - size - 12) // 9)
    steps = tuple(Step(f"level {first + place} descriptor", *entry, DESCRIPTOR) for place, entry in enumerate(read))
    code = dict(FAULT_STATUS).get(result.fault, f"{result.fault:#x}")
    where = f"the {steps[-1].level} says no: " if steps else f"{va:#x} is in no range of TCR_EL1: "
    return Walked(va, not read and result.ok, steps, result, "" if result.ok else f"{where}{code} fault")


def _ppc64(vcpu: CoreVcpu, va: int, read: Noted, result: WalkResult) -> Walked:
    steps = []
    for place, (gpa, raw) in enumerate(read):
        leaf = place > 0 and raw is not None and bool(PDE.get(raw, "L"))
        steps.append(Step(_radix_name(place, leaf), gpa, raw, PROCESS_ENTRY if not place else RADIX_PTE if leaf else PDE))
    why = ""
    if not result.ok:
        what = f"{va:#x} is outside of the tree" if result.fault == ppc64.SEGMENT else DSISR.show(result.fault)
        why = f"the {steps[-1].level} says no: {what}" if steps else f"no process table entry: {what}"
    return Walked(va, not read and result.ok, tuple(steps), result, why)


def _radix_name(place: int, leaf: bool) -> str:
    return "process table entry" if not place else "page table entry" if leaf else f"level {place} directory entry"


_EXPLAIN = {"x86_64": _x86, "arm64": _arm64, "ppc64": _ppc64}


def translate(machine: Machine, vcpu: CoreVcpu, va: int, root: int | None = None) -> Walked:
    """The walk that finds what lies at va, whatever the rights: as the kernel reads, else as a user does, else as it fetches."""
    first = walk(machine, vcpu, va, READ, False, root)
    for access, user in ((READ, True), (FETCH, False), (FETCH, True)):
        if first.result.ok:
            return first
        other = walk(machine, vcpu, va, access, user, root)
        if other.result.ok:
            return other
    return first
