# SPDX-License-Identifier: GPL-2.0-or-later
"""Accesses of the guest that Python serves while the instruction waits: device memory, ports, system registers, CPUID, paste."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu, IoKind, IoResult
from vmemu.core.observe import Seen, What
from vmemu.machine.board import RegisterFault

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: What an observer is told before and after accesses of these kinds.
_SEEN_IO: dict[int, tuple[What, What | None]] = {
    IoKind.REG_READ: (What.REG_READ, What.REG_READ_DONE),
    IoKind.REG_WRITE: (What.REG_WRITE, What.REG_WRITE_DONE),
    IoKind.MMIO_WRITE: (What.MMIO_WRITE, None),
    IoKind.PASTE: (What.PASTE, What.PASTE_DONE),
}


class Accesses:
    """Of one machine: `serve` is what the engine calls."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._core = machine, machine.core

    def serve(self, vcpu: CoreVcpu, kind: int, addr: int, size: int, value: Any) -> tuple[int, Any]:
        """(IoResult, answer) to an access; `value` is what is written (core.IoHandler)."""
        observe = self._core.observe
        if observe is None or kind not in _SEEN_IO:
            return self._answer(vcpu, kind, addr, size, value)
        before, after = _SEEN_IO[kind]
        data = value if kind == IoKind.PASTE else b""
        given = value if kind in (IoKind.REG_WRITE, IoKind.MMIO_WRITE) else 0
        observe(Seen(before, vcpu.id, addr, given, size, data))
        result, answer = self._answer(vcpu, kind, addr, size, value)
        if after is not None:
            read = given if kind == IoKind.REG_WRITE else answer
            observe(Seen(after, vcpu.id, addr, read, int(result == IoResult.FAULT)))
        return result, answer

    def _answer(self, vcpu: CoreVcpu, kind: int, addr: int, size: int, value: Any) -> tuple[int, Any]:
        machine = self._machine
        board = machine.board
        answer: Any = 0
        try:
            if kind == IoKind.MMIO_READ:
                answer = board.mmio.read(addr, size, (1 << 8 * size) - 1)
            elif kind == IoKind.MMIO_WRITE:
                board.mmio.write(addr, size, value)
            elif kind == IoKind.PORT_IN:
                answer = board.ports.read(addr, size, (1 << 8 * size) - 1)
            elif kind == IoKind.PORT_OUT:
                board.ports.write(addr, size, value)
            elif kind == IoKind.REG_READ:
                answer = board.read_register(vcpu, addr)
            elif kind == IoKind.REG_WRITE:
                board.write_register(vcpu, addr, value)
            elif kind == IoKind.PASTE:
                answer = int(board.paste(vcpu, addr, value))
            elif kind == IoKind.RECLAIM:
                answer = machine.choices.choose("reclaim", 8)
            else:
                answer = board.cpuid(vcpu, addr & 0xFFFFFFFF, addr >> 32)
        except RegisterFault:
            return IoResult.FAULT, answer
        return IoResult.STOP if machine.powered_off else IoResult.OK, answer
