# SPDX-License-Identifier: GPL-2.0-or-later
"""A look at guest memory that changes nothing: no page moves, no bit of a page table is set, nobody is told.

Pages that lie in the store are read there. Translation is the reference walkers' (vmemu.isa), with the rights of nobody checked:
who looks from outside may read what is mapped at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.core import PAGE_SIZE, CoreVcpu
from vmemu.isa.arm64 import walker as arm64
from vmemu.isa.base import WalkResult
from vmemu.isa.ppc64 import walker as ppc64
from vmemu.isa.x86_64 import walker as x86_64

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

_READ, _FETCH = 0, 2
_NONE = (1 << 64) - 1
#: On ppc64 an address space's root, as the test kernel names it, holds the tree's PID in its low bits (kernel/arch/ppc64/vm.c).
_HANDLE_PID = 0xFFF
Read64 = Callable[[int], "int | None"]


def read_physical(machine: Machine, gpa: int, size: int) -> bytes:
    """Up to `size` bytes from `gpa` on; shorter at the first page that is not RAM or that the store has lost."""
    out = bytearray()
    while len(out) < size:
        at = gpa + len(out)
        index = machine.core.index(at & ~(PAGE_SIZE - 1)) if at < 1 << 64 else -1
        page = machine.memory.peek(index) if index >= 0 else None
        if page is None:
            break
        out += page[at % PAGE_SIZE :][: size - len(out)]
    return bytes(out)


def read64(machine: Machine, gpa: int) -> int | None:
    """The doubleword at gpa as the guest reads it; None where there is none."""
    data = read_physical(machine, gpa, 8)
    return int.from_bytes(data, "big" if machine.core.isa.big_endian else "little") if len(data) == 8 else None


def walk(
    machine: Machine, vcpu: CoreVcpu, va: int, access: int = _READ, user: bool = False, *, root: int | None = None,
    read: Read64 | None = None,
) -> WalkResult:
    """The reference walker's result for an access by the vCPU as it is now.

    `root`: another address space, as the test kernel names it (mm->root). `read`: called for every table entry instead of `read64`.
    """
    return _WALKS[machine.board.isa](read or (lambda gpa: read64(machine, gpa)), vcpu, va & _NONE, access, user, root)


def translate(machine: Machine, vcpu: CoreVcpu, va: int, root: int | None = None) -> int | None:
    """Guest-physical address of `va` as the vCPU is now; None: not mapped, or a table is lost."""
    for access in (_READ, _FETCH):  # code may be mapped for execution only
        found = walk(machine, vcpu, va, access, root=root)
        if found.ok:
            return found.gpa
    return None


def read_virtual(machine: Machine, vcpu: CoreVcpu, va: int, size: int) -> bytes:
    """Up to `size` bytes from guest-virtual `va` on; shorter at the first page that cannot be read."""
    out = bytearray()
    while len(out) < size:
        at = va + len(out) & _NONE
        gpa = translate(machine, vcpu, at)
        want = min(size - len(out), PAGE_SIZE - at % PAGE_SIZE)
        part = read_physical(machine, gpa, want) if gpa is not None else b""
        out += part
        if len(part) < want:
            break
    return bytes(out)


def _walk_x86_64(read: Read64, vcpu: CoreVcpu, va: int, access: int, user: bool, root: int | None) -> WalkResult:
    state = x86_64.State(vcpu.get("cr0"), vcpu.get("cr3") if root is None else root, vcpu.get("cr4"), vcpu.get("efer"))
    return x86_64.walk(read, state, va, access, user)


def _walk_arm64(read: Read64, vcpu: CoreVcpu, va: int, access: int, user: bool, root: int | None) -> WalkResult:
    lower = vcpu.get("ttbr0_el1") if root is None else root
    state = arm64.WalkState(vcpu.get("sctlr_el1"), vcpu.get("tcr_el1"), lower, vcpu.get("ttbr1_el1"))
    return arm64.walk(read, state, va, access, user)


def _walk_ppc64(read: Read64, vcpu: CoreVcpu, va: int, access: int, user: bool, root: int | None) -> WalkResult:
    msr, table = vcpu.get("msr"), vcpu.get("prtbl")
    base, size = (0, 0) if table == _NONE else (table & (1 << 60) - PAGE_SIZE, 1 << (table & 31) + 12)
    on, pid = root is not None, vcpu.get("pidr") if root is None else root & _HANDLE_PID
    # both kinds of access are translated alike: AMR and IAMR are left out on purpose
    state = ppc64.RadixState(on or bool(msr >> 5 & 1), on or bool(msr >> 4 & 1), pid, base, size)
    return ppc64.walk(read, state, va, access, user)


_WALKS: dict[str, Callable[[Read64, CoreVcpu, int, int, bool, int | None], WalkResult]] = {
    "x86_64": _walk_x86_64, "arm64": _walk_arm64, "ppc64": _walk_ppc64,
}  # fmt: skip
