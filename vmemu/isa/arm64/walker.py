# SPDX-License-Identifier: GPL-2.0-or-later
"""Reference walk of the arm64 EL1&0 regime, 4 KiB granule: slow, written from DDI 0487 D5 and apart from the C unit.

The C walker must agree with this one on random tables (tests/core/test_walk_arm64.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.isa.base import WalkResult

#: Reads a doubleword of guest physical memory; None where there is no memory.
Read64 = Callable[[int], "int | None"]

PA_BITS = 44  # ID_AA64MMFR0_EL1.PARange = 0b0100 of the Cortex-A72
IPS = {0: 32, 1: 36, 2: 40, 3: 42, 4: 44, 5: 48, 6: 48, 7: 48}

ADDRESS_SIZE, TRANSLATION, ACCESS_FLAG, PERMISSION, WALK_ABORT = 0x00, 0x04, 0x08, 0x0C, 0x14


@dataclass(frozen=True, slots=True)
class WalkState:
    """Registers that decide about a translation."""

    sctlr: int
    tcr: int
    ttbr0: int
    ttbr1: int


def bits(value: int, hi: int, lo: int) -> int:
    return value >> lo & (1 << hi - lo + 1) - 1


def _fault(code: int, level: int, table_error: bool = False) -> WalkResult:
    return WalkResult(False, fault=code + level, table_error=table_error)


def walk(read64: Read64, state: WalkState, va: int, access: int, user: bool) -> WalkResult:
    """Translate ``va`` for ``access`` (0 read, 1 write, 2 fetch) from EL0 (``user``) or EL1.

    A failed walk carries the fault status code (DFSC or IFSC, level included).
    """
    upper = bits(va, 55, 55) == 1
    tagged = bits(state.tcr, 38, 38) if upper else bits(state.tcr, 37, 37)
    if not state.sctlr & 1:
        address = bits(va, 55, 0) if tagged else va
        if address >> PA_BITS:
            return _fault(ADDRESS_SIZE, 0)
        return WalkResult(True, address, True, True, True)

    # D5.2.4: the range, its size and whether walks of it are allowed
    size = bits(state.tcr, 21, 16) if upper else bits(state.tcr, 5, 0)
    disabled = bits(state.tcr, 23, 23) if upper else bits(state.tcr, 7, 7)
    four_k = bits(state.tcr, 31, 30) == 2 if upper else bits(state.tcr, 15, 14) == 0
    ttbr = state.ttbr1 if upper else state.ttbr0
    if disabled or not four_k or not 16 <= size <= 39:
        return _fault(TRANSLATION, 0)
    top = 55 if tagged else 63
    input_bits = 64 - size
    if bits(va, top, input_bits) != (bits(-1 & (1 << 64) - 1, top, input_bits) if upper else 0):
        return _fault(TRANSLATION, 0)

    # D5.2.3, D5.2.5: 9 bits a level, counted from the page up; the first level takes what is left
    output_bits = min(IPS[bits(state.tcr, 34, 32)], PA_BITS)
    levels = -(-(input_bits - 12) // 9)
    level = 4 - levels
    low = 12 + 9 * (levels - 1)
    high = input_bits - 1
    if bits(ttbr, 47, 12) << 12 >> output_bits:
        return _fault(ADDRESS_SIZE, 0)
    entries = 1 << high - low + 1
    table = bits(ttbr, 47, 0) & ~(entries * 8 - 1)

    no_user = read_only = table_pxn = table_uxn = False
    while True:
        descriptor = read64(table + bits(va, high, low) * 8)
        if descriptor is None:
            return _fault(WALK_ABORT, level, table_error=True)
        if state.sctlr >> 25 & 1:
            descriptor = int.from_bytes(descriptor.to_bytes(8, "little"), "big")
        kind = bits(descriptor, 1, 0)
        if kind in (0, 2) or (kind == 1 and level in (0, 3)):
            return _fault(TRANSLATION, level)
        if bits(descriptor, 47, 12) << 12 >> output_bits:
            return _fault(ADDRESS_SIZE, level)
        if kind == 1 or level == 3:
            break
        no_user |= bool(bits(descriptor, 61, 61))
        read_only |= bool(bits(descriptor, 62, 62))
        table_uxn |= bool(bits(descriptor, 60, 60))
        table_pxn |= bool(bits(descriptor, 59, 59))
        table = bits(descriptor, 47, 12) << 12
        level += 1
        high, low = low - 1, low - 9

    if not bits(descriptor, 10, 10):
        return _fault(ACCESS_FLAG, level)

    # D5.4.1 with the hierarchical controls of D5.4.3
    may_user = bool(bits(descriptor, 6, 6)) and not no_user
    may_write = not bits(descriptor, 7, 7) and not read_only
    if user:
        read, write = may_user, may_user and may_write
        execute = not bits(descriptor, 54, 54) and not table_uxn
    else:
        read, write = True, may_write
        execute = not bits(descriptor, 53, 53) and not table_pxn and not (may_user and may_write)
    if bits(state.sctlr, 19, 19) and write:
        execute = False
    if not (read, write, execute)[access]:
        return _fault(PERMISSION, level)
    offset = (1 << low) - 1
    return WalkResult(True, (bits(descriptor, 47, 12) << 12) & ~offset | va & offset, read, write, execute)
