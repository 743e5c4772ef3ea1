# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference walker for radix translation, written from Power ISA 3.1B Book III 6.7.10 to 6.7.12. Slow and literal.

The C walker must agree with it (tests/core/test_walk_ppc64.py); neither was written from the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.isa.base import WalkResult
from vmemu.isa.ppc64.registers import PDE, PROCESS_ENTRY, PTE

#: Doubleword of guest memory at a physical address as the CPU reads it (big-endian); None: not memory.
Read64 = Callable[[int], "int | None"]
#: Store a doubleword (reference and change bits).
Write64 = Callable[[int, int], None]

READ, WRITE, FETCH = 0, 1, 2
NOPTE, NOEXEC, PROTFAULT, KEYFAULT, BADCONFIG, PRTABLE = 1 << 30, 1 << 28, 1 << 27, 1 << 21, 1 << 19, 1 << 17
#: vmemu's own mark: the interrupt is a segment interrupt (0x380, 0x480), which has no cause bits.
SEGMENT = 1
LEAF_SHIFTS = (12, 16, 21, 30)


@dataclass(frozen=True, slots=True)
class RadixState:
    """What translation depends on. `prtbl_size` in bytes, 0: no process table registered."""

    ir: bool = True
    dr: bool = True
    pid: int = 0
    prtbl: int = 0
    prtbl_size: int = 0
    amr: int = 0
    iamr: int = 0


class _Fault(Exception):
    def __init__(self, bits: int, table: bool = False) -> None:
        self.result = WalkResult(False, fault=bits, table_error=table)


def walk(
    read64: Read64, state: RadixState, va: int, access: int, user: bool, write64: Write64 | None = None
) -> WalkResult:
    """Translate effective address `va`. The rights are those that may be cached now: no write until C is set."""
    if not (state.ir if access == FETCH else state.dr):
        return WalkResult(True, va & ((1 << 60) - 1), True, True, True)
    try:
        return _translate(read64, state, va, access, user, write64)
    except _Fault as fault:
        return fault.result


def _load(read64: Read64, address: int) -> int:
    value = read64(address)
    if value is None:
        raise _Fault(NOPTE | PRTABLE, table=True)
    return value


def _root(read64: Read64, state: RadixState, va: int) -> tuple[int, int, int]:
    """(address of the root directory, log2 of its entries, log2 of the bytes that the tree covers)."""
    quadrant = va >> 62
    if quadrant in (1, 2):  # those are the hypervisor's
        raise _Fault(SEGMENT)
    pid = state.pid & 0xFFFFFFFF if quadrant == 0 else 0
    if pid * 16 >= state.prtbl_size:
        raise _Fault(NOPTE)
    entry = _load(read64, state.prtbl + pid * 16)
    size = PROCESS_ENTRY.get(entry, "RPDS")
    if size == 0:
        raise _Fault(NOPTE)
    covered = (PROCESS_ENTRY.get(entry, "RTS1") << 3 | PROCESS_ENTRY.get(entry, "RTS2")) + 31
    if covered > 62:
        raise _Fault(BADCONFIG)
    if va & ((1 << 62) - 1) >= 1 << covered:
        raise _Fault(SEGMENT)
    return PROCESS_ENTRY.get(entry, "RPDB") << 8, size, covered


def _leaf(read64: Read64, state: RadixState, va: int) -> tuple[int, int, int]:
    """(address of the leaf entry, the entry, log2 of the page size)."""
    base, size, left = _root(read64, state, va)
    while True:
        if not 5 <= size <= 16 or left - size < 12:
            raise _Fault(BADCONFIG)
        left -= size
        address = base + 8 * (((va & ((1 << 62) - 1)) >> left) % (1 << size))
        entry = _load(read64, address)
        if not PDE.get(entry, "V"):
            raise _Fault(NOPTE)
        if PDE.get(entry, "L"):
            if left not in LEAF_SHIFTS:
                raise _Fault(BADCONFIG)
            return address, entry, left
        base, size = PDE.get(entry, "NLB") << 8, PDE.get(entry, "NLS")


def _translate(
    read64: Read64, state: RadixState, va: int, access: int, user: bool, write64: Write64 | None
) -> WalkResult:
    address, entry, shift = _leaf(read64, state, va)
    privileged = bool(PTE.get(entry, "PRIV"))
    hidden = user and privileged
    write = bool(PTE.get(entry, "WRITE")) and not hidden
    read = (bool(PTE.get(entry, "READ")) and not hidden) or write
    execute = bool(PTE.get(entry, "EXEC")) and not hidden and PTE.get(entry, "ATT") != 2  # 2: non-idempotent I/O
    if not (read, write, execute)[access]:
        raise _Fault(NOEXEC if access == FETCH and not hidden else PROTFAULT)
    if not user and not privileged:  # virtual page class key 0
        denied = (state.amr >> 62 & 1, state.amr >> 63 & 1, state.iamr >> 62 & 1)
        if denied[access]:
            raise _Fault(KEYFAULT)
        read, write, execute = read and not denied[0], write and not denied[1], execute and not denied[2]
    changed = bool(PTE.get(entry, "C")) or access == WRITE
    updated = PTE.set(entry, R=1, C=int(changed))
    if updated != entry and write64 is not None:
        write64(address, updated)
    offset = (1 << shift) - 1
    return WalkResult(True, PTE.get(entry, "RPN") << 12 & ~offset | va & offset, read, write and changed, execute)
