# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages for DMA: what virtual mode does, and what user space asks the kernel for (get_user_pages, in Linux)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vmemu.core import PageFlag, PageState
from vmemu.devices.papr import H_HARDWARE
from vmemu.errors import StoreError
from vmemu.memory.memory import MIN_UNPINNED
from vmemu.protocols.tce.away import Away
from vmemu.protocols.tce.native import GIVEN, MAPPED, Host, Table
from vmemu.protocols.tce.wire import H_LONG_BUSY_1MS, H_NOT_ENOUGH_RESOURCES, PAGE, PERMS

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine


class NoPage(Exception):
    """A page cannot be had for DMA; `code` is what the guest is told."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class Kernel:
    """Pins pages and changes tables. Entries of the device's side are host address | permissions, one for each 4 KiB."""

    def __init__(self, machine: Machine, host: Host, away: Away) -> None:
        self.machine, self.host, self.away = machine, host, away

    def set_limit(self) -> None:
        """A guest may pin what leaves the rest of it room to live (Linux: RLIMIT_MEMLOCK)."""
        core = self.machine.core
        pinned = sum(1 for i in core.not_zero_pages() if core.page(i).flags & PageFlag.PINNED)
        self.host.ptr.limit = max(int(core.ptr.nframes) - pinned - 2 * MIN_UNPINNED, 0)

    def is_memory(self, gpa: int) -> bool:
        return self.machine.core.index(gpa) >= 0

    # ---------------------------------------------------------------- pages
    def pin(self, vcpu: CoreVcpu, gpa: int) -> int:
        """The frame of a guest page, resident, dirty, young and with one reference more.

        Raises NoPage: among other things because the page is away, and the guest is to come again.
        """
        core, host = self.machine.core, self.host
        index = core.index(gpa)
        page = core.page(index)
        if page.state != PageState.RESIDENT:
            self._page_in(vcpu, index)
        self.away.there(index)
        frame = int(page.frame)
        if host.refs(frame) == 0 and host.ptr.held >= host.ptr.limit:
            raise NoPage(H_NOT_ENOUGH_RESOURCES)
        page.flags |= PageFlag.ACCESSED | PageFlag.DIRTY
        if not host.get_frame(frame):
            raise NoPage(H_HARDWARE)
        return frame

    def _page_in(self, vcpu: CoreVcpu, index: int) -> None:
        if self.host.ptr.held >= self.host.ptr.limit:
            raise NoPage(H_NOT_ENOUGH_RESOURCES)
        if self.away.may_answer_busy() and self.away.ask(vcpu, index):
            raise NoPage(H_LONG_BUSY_1MS)
        try:
            there = self.away.wait(vcpu, index)
        except StoreError:
            raise NoPage(H_HARDWARE) from None
        if not there:
            raise NoPage(H_HARDWARE)

    def ask_for(self, vcpu: CoreVcpu, values: Iterable[int]) -> None:
        """A call will be made again: have all the pages brought that it needs, not one after the other."""
        for value in values:
            if value & PERMS and self.is_memory(value & PAGE):
                self.away.ask(vcpu, self.machine.core.index(value & PAGE))

    def unpin(self, mapped: int) -> None:
        """Let go what an entry of the device's side holds."""
        self.host.put_frame(mapped >> 12)

    def pin_entry(self, vcpu: CoreVcpu, table: Table, value: int) -> list[int]:
        """The device's side of one entry. A part outside memory has nothing behind it. All or, with NoPage, nothing."""
        parts: list[int] = []
        if not value & PERMS:
            return [0] * table.parts
        try:
            for part in range(table.parts):
                gpa = (value & PAGE) + (part << 12)
                parts.append(self.pin(vcpu, gpa) << 12 | value & PERMS if self.is_memory(gpa) else 0)
        except NoPage:
            self.unpin_all(parts)
            raise
        return parts

    def unpin_all(self, parts: Sequence[int]) -> None:
        for mapped in parts:
            if mapped:
                self.unpin(mapped)

    # --------------------------------------------------------------- tables
    def store(self, table: Table, index: int, given: Sequence[int], mapped: Sequence[int]) -> list[int]:
        """Exchange entries, flush; returns the old device's side, whose references are the caller's now."""
        host = self.host
        host.lock(table)
        for i, value in enumerate(given):
            host.exchange(table, GIVEN, index + i, value)
        first = index * table.parts
        old = [host.exchange(table, MAPPED, first + i, value) for i, value in enumerate(mapped)]
        host.flush()
        host.unlock(table)
        host.ptr.delta += sum(map(bool, mapped)) - sum(map(bool, old))
        return old
