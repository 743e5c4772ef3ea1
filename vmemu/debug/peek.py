# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a guest without touching it (machine/view.py), with reasons where that cannot be, and where a page is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import PageFlag, PageState
from vmemu.errors import VmemuError
from vmemu.machine.elf import physical
from vmemu.machine.view import read_physical

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


class Unreadable(VmemuError):
    """No bytes there; the text says why."""

    status = 1


def peek(machine: Machine, gpa: int, size: int) -> bytes:
    """Bytes of guest-physical memory, from frames or from the store. Raises Unreadable: not RAM, or lost."""
    data = read_physical(machine, gpa, size)
    if len(data) < size:
        at = gpa + len(data)
        if machine.core.index(at) < 0:
            raise Unreadable(f"{at:#x} is not RAM{_device(machine, at)}")
        raise Unreadable(f"the page of guest-physical {at:#x} is lost: the store could not give it back")
    return data


def number(machine: Machine, raw: bytes) -> int:
    """The number that bytes of the guest's memory are, in its byte order."""
    return int.from_bytes(raw, "big" if machine.core.isa.big_endian else "little")


def _device(machine: Machine, gpa: int) -> str:
    window = machine.board.mmio.find(gpa)
    return "" if window is None else f": it is {window.name}, and a device is not read without touching it"


def away(machine: Machine, gpa: int) -> bool:
    """Is the page's content in the store only?"""
    index = machine.core.index(gpa)
    return index >= 0 and int(machine.core.page(index).state) == PageState.SWAPPED


def stage2(machine: Machine, gpa: int) -> str:
    """Stage-2 state of a page, in words."""
    index = machine.core.index(gpa)
    if index < 0:
        window = machine.board.mmio.find(gpa)
        return "no memory" if window is None else f"device {window.name}"
    page = machine.core.page(index)
    state = PageState(int(page.state))
    if state is PageState.RESIDENT:
        flags = [name for flag, name in ((PageFlag.ACCESSED, "accessed"), (PageFlag.DIRTY, "dirty"), (PageFlag.PINNED, "pinned"))
                 if int(page.flags) & flag]
        return ", ".join([f"resident in frame {int(page.frame)}", *flags])
    if state is PageState.SWAPPED:
        return f"away: in the store, slot {int(page.slot)}, checksum {int(page.crc):#010x}"
    if state is PageState.ZERO:
        return "all zeros, in no frame yet"
    return "lost: every touch is a memory error" if state is PageState.BAD else "not mapped"


def linear(machine: Machine, address: int) -> int:
    """Guest-physical address of a kernel's own address: of its image, or of the linear map that its image is part of."""
    from vmemu.machine.symbols import Symbols

    for module in Symbols.of(machine).modules:
        if module.name != "kernel":
            continue
        segments = module.image.segments
        found = physical(segments, address)
        if found != address:
            return found
        shift = next((s.vaddr - s.paddr for s in segments if s.vaddr != s.paddr), 0)
        if shift and address >= shift:
            return address - shift
    return address


def kernel(machine: Machine, address: int, size: int) -> bytes:
    """Bytes at a kernel's own address, whichever vCPU runs what. Raises Unreadable."""
    return peek(machine, linear(machine, address), size)
