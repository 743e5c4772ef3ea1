# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages that are away when the guest maps them (LoPAR 2.9 12.3.3): a call under cooperative memory over-commitment answers "long busy"
and is made again, while the page comes back behind it. Nothing is told through the ring of expropriation notifications: that is for
accesses, and this is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.clock.inject import Do
from vmemu.core import Cycles, PageState
from vmemu.devices import cas
from vmemu.devices.base import State
from vmemu.errors import StoreError
from vmemu.machine.boards.pseries import Pseries
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.tce.bugs import ARRIVAL

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: An event of the queue; and the same after its time was moved.
PAGE_IN, PAGE_IN_LATE = ARRIVAL.name, "tce.page_in_late"
#: A page that came and was taken away again so often is waited for: the guest gets on.
MOST_TRIES = 16


class Away:
    """Page-ins that calls wait for. `asked`: page index -> when it will be there (ns); `tries`: how often it was asked for."""

    def __init__(self, machine: Machine, busy: bool) -> None:
        self.machine, self.busy = machine, busy
        self.asked: dict[int, int] = {}
        self.tries: dict[int, int] = {}
        self.answered = 0  # calls that were told to come again
        machine.queue.define(PAGE_IN, self._due)
        machine.queue.define(PAGE_IN_LATE, self._arrive)

    def may_answer_busy(self) -> bool:
        """Only a guest that has agreed to over-commitment knows the answer; and without I/O there is nothing to wait for."""
        board = self.machine.board
        assert isinstance(board, Pseries)
        return self.busy and bool(self.machine.core.ptr.timing.latency) and board.cas.has(cas.CMO)

    def ask(self, vcpu: CoreVcpu, index: int) -> bool:
        """See to it that a swapped page comes. False: it has been asked for too often, wait for it."""
        machine, core = self.machine, self.machine.core
        if core.page(index).state != PageState.SWAPPED:
            return False
        if index in self.asked or (isinstance(machine.pager, AsyncPager) and machine.pager.io.get(index)):
            return True
        tries = self.tries.get(index, 0)
        if tries >= MOST_TRIES:
            return False
        self.tries[index] = tries + 1
        self.asked[index] = machine.nanoseconds(core.store_charge(vcpu.cycles))
        machine.queue.post(self.asked[index], PAGE_IN, index)
        machine.deadline_changed()
        return True

    def wait(self, vcpu: CoreVcpu, index: int) -> bool:
        """Suspend the vCPU until the page is there. False: the store cannot give it back."""
        memory, gpa = self.machine.memory, self.machine.core.gpa(index)
        due = self.asked.get(index)
        if due is None:
            return memory.serve(vcpu, gpa)
        vcpu.add_cycles(max(self.machine.units(due) - vcpu.cycles, 0), Cycles.BLOCKED)
        return memory.serve(None, gpa)

    def there(self, index: int) -> None:
        """A call has got the page."""
        self.tries.pop(index, None)

    def _due(self, now: int, index: int) -> None:
        action = self.machine.memory.injector.check(PAGE_IN, self.machine.core.gpa(index) >> 12)
        if action is not None and action.do is Do.DELAY:
            self.end_io(index, now + action.delay_ns)
            return
        if action is not None:
            self.lose_page(index)
        self._arrive(now, index)

    def end_io(self, index: int, when: int) -> None:
        """A page that was asked for comes then (ns), and nothing more goes wrong with it."""
        for kind in (PAGE_IN, PAGE_IN_LATE):
            event = self.machine.queue.find(kind, index)
            if event is not None:
                self.machine.queue.cancel(event)
        self.asked[index] = when
        self.machine.queue.post(when, PAGE_IN_LATE, index)
        self.machine.deadline_changed()

    def lose_page(self, index: int) -> None:
        """The store cannot give back a page that it has: the call that needs it ends with H_HARDWARE."""
        if self.machine.core.page(index).state == PageState.SWAPPED:
            self.machine.core.mark_bad(index)

    def _arrive(self, now: int, index: int) -> None:
        del self.asked[index]
        try:
            self.machine.memory.serve(None, self.machine.core.gpa(index))
        except StoreError:
            pass  # no frame is free: the next call asks again

    # ---------------------------------------------------------------- snapshots
    def save(self) -> State:
        return {"asked": sorted(self.asked.items()), "tries": sorted(self.tries.items()), "answered": self.answered}

    def load(self, state: State) -> None:
        self.asked = {int(index): int(due) for index, due in state["asked"]}
        self.tries = {int(index): int(n) for index, n in state["tries"]}
        self.answered = state["answered"]
