# SPDX-License-Identifier: GPL-2.0-or-later
"""DMA windows without a guest: Python makes the calls, moves pages and is the device. For tests and the explorer.

Observers are told of each call as of a guest's, with a turn after it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from vmemu.clock.choices import Choices
from vmemu.core import PAGE_SIZE, PageFlag, PageState
from vmemu.core import lib as core_lib
from vmemu.core.observe import Seen, What
from vmemu.machine.boot import BootOptions, build
from vmemu.machine.machine import Machine
from vmemu.protocols.tce.facility import LIOBN, WINDOW_BASE, Tce
from vmemu.protocols.tce.native import COMPOUND, GIVEN, lib
from vmemu.protocols.tce.wire import Call, Refusal, Token

GET, PUT, STUFF, INDIRECT = Token.GET, Token.PUT, Token.STUFF, Token.INDIRECT
OK, HARDWARE, FUNCTION, PARAMETER, P4, FULL = 0, -1, -2, -4, -57, -44
MASK = (1 << 64) - 1
#: Where lists lie: the last page of memory.
ENTRIES = 1 << 16


class Bench:
    """One machine. `enter`: at which level a call begins: 0 real mode, 1 virtual mode, 2 user space."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.core = machine.core
        found = machine.facilities["tce"]
        assert isinstance(found, Tce)
        self.tce, self.host, self.vcpu = found, found.host, machine.vcpus[0]
        self.host.ptr.limit = MASK
        self.pages = machine.memory_size // PAGE_SIZE
        self.list_gpa = (self.pages - 1) * PAGE_SIZE
        self.refused = Refusal.NONE

    @classmethod
    def make(cls, memory: str = "1M", profile: str = "papr", choices: Choices | None = None, **options: Any) -> Self:
        """A machine of its own, with these boot options."""
        return cls(build(BootOptions(image="", memory=memory, tce=profile, **options), "ppc64", Choices() if choices is None else choices))

    # ---------------------------------------------------------------- calls
    def call(self, token: Token, liobn: int, ioba: int, value: int = 0, count: int = 1, enter: int = 0) -> tuple[int, int | None]:
        """The code that the guest gets, and r4."""
        observe = self.core.observe
        if observe is None:
            return self._call(token, liobn, ioba, value, count, enter)
        for n, register in enumerate((token, liobn, ioba, value, count), 3):
            self.vcpu.set(f"r{n}", register)
        observe(Seen(What.HCALL, self.vcpu.id, 1))
        code, result = self._call(token, liobn, ioba, value, count, enter)
        self.vcpu.set("r3", code)
        if result is not None:
            self.vcpu.set("r4", result)
        observe(Seen(What.HCALL_DONE, self.vcpu.id, 1))
        observe(Seen(What.TURN, self.vcpu.id, 0))
        return code, result

    def _call(self, token: Token, liobn: int, ioba: int, value: int, count: int, enter: int) -> tuple[int, int | None]:
        if enter == 0 and self.host.ptr.real_mode:
            before = self.counts()
            why, result = self.host.real_call(0, token, liobn, ioba, value, count)
            self.host.check()
            changed = [(old, new) for old, new in zip(before, self.counts(), strict=True) if old != new]
            assert all(old and new for old, new in changed), "W2: real mode has freed a page, or woken a free one"
            self.refused = why
            if why is Refusal.NONE:
                return OK, result if token is GET else None
        if enter:
            self.host.ptr.delta = 0  # real mode has counted nothing
        call = Call.of(token, liobn, ioba, value, count)
        if enter == 2 or self.tce.ladder.virtual is None:
            answer = self.tce.ladder.user.call(self.vcpu, call)
            assert isinstance(answer, tuple)
            return answer
        return self.tce.ladder.call(self.vcpu, call)

    def counts(self) -> list[int]:
        """References of every frame; few frames alone are worth the look."""
        frames = int(self.core.ptr.nframes)
        return [self.host.count(frame) for frame in range(frames)] if frames <= 256 else []

    def put(self, index: int, value: int, enter: int = 0) -> int:
        return self.call(PUT, LIOBN, self.at(index), value, enter=enter)[0]

    def stuff(self, index: int, value: int, count: int, enter: int = 0) -> int:
        return self.call(STUFF, LIOBN, self.at(index), value, count, enter)[0]

    def indirect(self, index: int, values: list[int], enter: int = 0, count: int | None = None) -> int:
        data = b"".join((v & MASK).to_bytes(8, "big") for v in values)
        self.machine.write_guest(self.list_gpa, data[:PAGE_SIZE])
        self.core.page(self.core.index(self.list_gpa)).flags |= PageFlag.ACCESSED | PageFlag.DIRTY
        return self.call(INDIRECT, LIOBN, self.at(index), self.list_gpa, len(values) if count is None else count, enter)[0]

    def get(self, index: int, enter: int = 0) -> int:
        code, value = self.call(GET, LIOBN, self.at(index), enter=enter)
        assert code == OK and value is not None
        return value

    @staticmethod
    def at(index: int) -> int:
        return WINDOW_BASE + index * PAGE_SIZE & MASK

    def entries(self) -> dict[int, int]:
        """The first window, as it was given; without zeros."""
        found, table = {}, self.tce.window
        for number in self.host.pages_of(table, GIVEN):
            data = bytes(self.host.page_bytes(table, GIVEN, number))
            for i in range(512):
                value = int.from_bytes(data[8 * i : 8 * i + 8], "big")
                if value:
                    found[number * 512 + i] = value
        return found

    def check(self) -> None:
        """What must hold between two calls: W1, W6, W7, W11 of the facility's own audit."""
        wrong = self.tce.invariants()
        assert not wrong, "\n".join(wrong)

    # ---------------------------------------------------------------- pages
    def page(self, page: int) -> Any:
        return self.core.page(page)

    def touch(self, page: int) -> int:
        """The guest writes to the page: resident, dirty, young. Its frame."""
        self.machine.write_guest(page * PAGE_SIZE, b"t")
        self.page(page).flags |= PageFlag.ACCESSED | PageFlag.DIRTY
        return int(self.page(page).frame)

    def clean(self, page: int, *flags: PageFlag) -> None:
        """Resident, without these flags."""
        self.touch(page)
        for flag in flags:
            self.page(page).flags &= ~flag

    def swap_out(self, page: int) -> bool:
        """False: somebody keeps it."""
        return bool(self.page(page).state == PageState.RESIDENT and core_lib.s2_swap_out(self.core.ptr, page) == 0)

    def discard(self, page: int) -> bool:
        """The guest gives the page back: a balloon."""
        return bool(core_lib.s2_discard(self.core.ptr, page) == 0)

    def make_compound(self, pages: list[int]) -> None:
        """These pages become one: the first is the head. None may be under a TCE."""
        frames = [self.touch(page) for page in pages]
        for frame in frames:
            self.host.set_page(frame, self.host.flags(frame) | COMPOUND[frame != frames[0]], self.host.count(frame), frames[0])

    def split(self, pages: list[int]) -> None:
        for page in pages:
            if self.page(page).state == PageState.RESIDENT:
                frame = int(self.page(page).frame)
                self.host.set_page(frame, self.host.flags(frame) & ~3, self.host.count(frame))

    def reorder(self, block: int) -> None:
        """A block of page structs is taken out of real mode's list and put at its front, as if it had been added last."""
        at = int(lib.tce_realmode_page(self.host.ptr, block << self.host.ptr.block_shift >> 6))
        if at and lib.tce_remove_block(self.host.ptr, block) == 0:
            assert lib.tce_add_block(self.host.ptr, block, at) == 0

    def close(self) -> None:
        self.machine.close()


@contextmanager
def bench(**options: Any) -> Iterator[Bench]:
    made = Bench.make(**options)
    try:
        yield made
    finally:
        made.close()
