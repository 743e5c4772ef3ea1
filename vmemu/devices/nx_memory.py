# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory as the engine reaches it: effective addresses of a process, or real ones for the kernel's own windows.

The hypervisor fetches translation tables, and frames for pages that are known to hold zeros. Everything else that is not there
is the guest's business: a `TranslationFault`.
"""

from __future__ import annotations

from typing import Protocol

from vmemu.core import CoreMachine, DmaEnd
from vmemu.devices.nx_format import FaultStatus
from vmemu.memory.memory import Memory

_STATUS = {DmaEnd.AWAY: FaultStatus.ABSENT, DmaEnd.RIGHTS: FaultStatus.RIGHTS, DmaEnd.UNMAPPED: FaultStatus.UNMAPPED}
_REAL_BITS = (1 << 60) - 1


class TranslationFault(Exception):
    """The engine cannot translate `address`, the first byte that it misses."""

    def __init__(self, address: int, status: FaultStatus, store: bool) -> None:
        super().__init__(f"{address:#x}: {status.name}")
        self.address, self.status, self.store = address, status, store


class LostMemory(Exception):
    """There is a translation, but no memory behind it: completion code 7."""

    def __init__(self, address: int) -> None:
        super().__init__(f"{address:#x}")
        self.address = address


class Space(Protocol):
    """Both raise TranslationFault and LostMemory; a write stores everything in front of the byte that fails."""

    def read(self, address: int, size: int) -> bytes: ...
    def write(self, address: int, data: bytes) -> None: ...


class ProcessSpace:
    """Effective addresses of process `pid`, with problem-state rights."""

    def __init__(self, core: CoreMachine, memory: Memory, pid: int) -> None:
        self._core, self._memory, self._pid = core, memory, pid

    def read(self, address: int, size: int) -> bytes:
        parts: list[bytes] = []
        done = 0
        while done < size:
            data, end, gpa = self._core.dma_read(self._pid, address + done, size - done)
            parts.append(data)
            done += len(data)
            if end is not DmaEnd.DONE:
                self._resolve(address + done, end, gpa, store=False)
        return b"".join(parts)

    def write(self, address: int, data: bytes) -> None:
        done = 0
        while done < len(data):
            n, end, gpa = self._core.dma_write(self._pid, address + done, data[done:])
            done += n
            if end is not DmaEnd.DONE:
                self._resolve(address + done, end, gpa, store=True)

    def _resolve(self, address: int, end: DmaEnd, gpa: int, store: bool) -> None:
        """Make the access possible, or raise."""
        address &= (1 << 64) - 1
        if end in _STATUS:
            raise TranslationFault(address, _STATUS[end], store)
        if end not in (DmaEnd.TABLE, DmaEnd.ZERO) or not self._memory.serve(None, gpa):
            raise LostMemory(address)


class RealSpace:
    """Real addresses, for windows that do not translate: the kernel's requests never fault, the hypervisor pages in."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def _check(self, address: int, size: int) -> int:
        address &= _REAL_BITS
        if not self._memory.is_ram(address, size):
            raise LostMemory(address)
        return address

    def read(self, address: int, size: int) -> bytes:
        return self._memory.read(self._check(address, size), size)

    def write(self, address: int, data: bytes) -> None:
        self._memory.write(self._check(address, len(data)), data)
