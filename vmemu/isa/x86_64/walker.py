# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference page walker, written from SDM volume 3 chapter 4 (4-level paging), for clarity and not for speed.

It is the judge of the C walker: same inputs, same outcome, same accessed and dirty bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.isa.base import WalkResult
from vmemu.isa.x86_64.registers import CR0, CR4, EFER, PF_ERROR, PTE

#: Physical address bits of the modelled CPU (CPUID 0x80000008).
MAXPHYADDR = 40
#: `fault` of addresses that are no addresses: #GP(0) or #SS(0) instead of #PF.
NONCANONICAL = 1 << 31
#: `fault` of paging without long mode, which is not modelled.
UNMODELLED = 1 << 30

READ, WRITE, FETCH = range(3)

#: 8 bytes of a table at a physical address, or None where no memory answers.
Read64 = Callable[[int], int | None]
Write64 = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class State:
    """The registers that a walk depends on."""

    cr0: int
    cr3: int
    cr4: int
    efer: int


def _reserved(entry: int, level: int, no_execute: bool) -> bool:
    """Does a present entry of this level (4 = PML4E, 1 = PTE) set a bit that must be zero?"""
    if entry >> MAXPHYADDR & (1 << (52 - MAXPHYADDR)) - 1:
        return True
    if PTE.get(entry, "NX") and not no_execute:
        return True
    if level == 1 or not PTE.get(entry, "PS"):
        return False
    if level == 4:
        return True
    page_bits = {3: 30, 2: 21}[level]
    return bool(entry >> 13 & (1 << (page_bits - 13)) - 1)  # bit 12 is PAT


def walk(
    read64: Read64, state: State, va: int, access: int, user: bool, write64: Write64 | None = None
) -> WalkResult:
    """Translate `va` (64 bits) for one access.

    Args:
        access: READ, WRITE or FETCH.
        user: the access has user rights (CPL 3 and not implicit).
        write64: where accessed and dirty bits go; None leaves memory alone.
    """
    if not CR0.get(state.cr0, "PG"):
        return WalkResult(True, va & 0xFFFFFFFF, True, True, True)
    if not EFER.get(state.efer, "LMA"):
        return WalkResult(False, fault=UNMODELLED)
    if va >> 47 not in (0, (1 << 17) - 1):
        return WalkResult(False, fault=NONCANONICAL)

    no_execute = bool(EFER.get(state.efer, "NXE"))
    smep = bool(CR4.get(state.cr4, "SMEP"))
    error = PF_ERROR.set(0, W=int(access == WRITE), U=int(user), I=int(access == FETCH and (no_execute or smep)))

    writable = user_page = True
    executable = True
    path: list[tuple[int, int]] = []
    table = state.cr3 & (1 << MAXPHYADDR) - 4096
    level = 4
    while True:
        shift = 12 + 9 * (level - 1)
        address = table + (va >> shift & 511) * 8
        entry = read64(address)
        if entry is None:  # open bus: all ones, so reserved bits are set
            return WalkResult(False, fault=PF_ERROR.set(error, P=1, RSVD=1), table_error=True)
        if not PTE.get(entry, "P"):
            return WalkResult(False, fault=error)
        if _reserved(entry, level, no_execute):
            return WalkResult(False, fault=PF_ERROR.set(error, P=1, RSVD=1))
        path.append((address, entry))
        writable &= bool(PTE.get(entry, "RW"))
        user_page &= bool(PTE.get(entry, "US"))
        executable &= not PTE.get(entry, "NX")
        table = PTE.get(entry, "ADDR") << 12
        if level == 1 or PTE.get(entry, "PS"):
            break
        level -= 1

    if user:
        may_read, may_write, may_fetch = user_page, user_page and writable, user_page and executable
    else:
        may_read = True
        may_write = writable or not CR0.get(state.cr0, "WP")
        may_fetch = executable and not (user_page and smep)
    if not {READ: may_read, WRITE: may_write, FETCH: may_fetch}[access]:
        return WalkResult(False, fault=PF_ERROR.set(error, P=1))

    for i, (address, entry) in enumerate(path):
        leaf = i == len(path) - 1
        new = PTE.set(entry, A=1, D=1) if leaf and access == WRITE else PTE.set(entry, A=1)
        path[i] = (address, new)
        if write64 is not None and new != entry:
            write64(address, new)
    dirty = bool(PTE.get(path[-1][1], "D"))
    page = (1 << shift) - 1
    # a clean page is not offered for writing: the first write has to come back and set D
    return WalkResult(True, table & ~page | va & page, True, may_write and dirty, may_fetch)
