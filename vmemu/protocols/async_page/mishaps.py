# SPDX-License-Identifier: GPL-2.0-or-later
"""What the injector, or somebody at a debugger, makes go wrong on a page's way: notifications that are lost, late or told twice,
I/O that ends sooner or later than the store said, or without the page. The pager asks here at each such place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.clock.inject import Action, Do, EventKind
from vmemu.core import CoreVcpu, PageState
from vmemu.protocols.async_page.switches import IO, IRQ, KICK, NOT_PRESENT, READY
from vmemu.protocols.async_page.work import Mishap, Work

if TYPE_CHECKING:
    from vmemu.protocols.async_page.pager import AsyncPager

IO_DONE = "async_page.io"
#: The same, after its end was moved: the injector is not asked about this end again.
IO_LATE = "async_page.io_late"
KICK_LATE, READY_LATE, IRQ_LATE = "async_page.kick_late", "async_page.ready_late", "async_page.irq_late"
#: How long after an interrupt its duplicate comes: the handler of the first is over.
DUPLICATE_NS = 20_000

_SPOILED = {Do.DROP: Mishap.DROPPED, Do.DELAY: Mishap.LATE, Do.DUPLICATE: Mishap.TWICE}


class Mishaps:
    """Of one pager. Its events are in the machine's queue, and what waits for them says so in `Work.mishap`."""

    def __init__(self, pager: AsyncPager) -> None:
        self._pager, self._machine, self._ledger = pager, pager.machine, pager.ledger
        queue = pager.machine.queue
        queue.define(IO_LATE, pager.io_ended)
        queue.define(KICK_LATE, lambda now, number: pager.on_exit(pager.vcpus[number]))
        queue.define(READY_LATE, self._ready_late)
        queue.define(IRQ_LATE, lambda now, number: pager.raise_interrupt(pager.vcpus[number]))

    def _check(self, event: EventKind, key: int) -> Action | None:
        return self._machine.memory.injector.check(event.name, key)

    def _later(self, action: Action, kind: str, data: int) -> str:
        self._machine.queue.post(self._machine.instant() + action.delay_ns, kind, data)
        self._machine.deadline_changed()
        return f"{action.delay_ns // 1000} us later (injected)"

    # ---------------------------------------------------------------------- away
    def inform(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Tell the guest that a page is away, as it may be told. False: it was not."""
        pager, action = self._pager, self._check(NOT_PRESENT, work.token)
        if action is not None and action.do is Do.DROP:
            pager.told_in_vain(vcpu, work)
            self._ledger.lost(f"token {work.token:#x}: not-present dropped (injected)")
            pager.note("mishap", work, "what the guest would be told is lost on its way")
            return True
        if action is None and pager.not_present(vcpu, work):
            return True
        if action is not None:
            self._ledger.note(f"token {work.token:#x}: the guest cannot be told (injected)")
            pager.note("mishap", work, "the guest cannot be told (injected)")
        pager.not_told(vcpu, work)
        return False

    # ----------------------------------------------------------------------- I/O
    def io_done(self, now: int, index: int) -> None:
        """The I/O of a page ends, as the store said."""
        pager, action = self._pager, self._check(IO, self._pager.core.gpa(index) >> 12)
        if action is not None and action.do is Do.DELAY:
            for number in pager.io[index]:
                self._ledger.note(f"{pager.works[number]}: its I/O ends {action.delay_ns // 1000} us later (injected)")
            self.end_io(index, now + action.delay_ns)
            return
        if action is not None:
            for number in pager.io[index]:
                self._ledger.lost(f"{pager.works[number]}: its page is lost (injected)")
            self.lose_page(index)
        pager.io_ended(now, index)

    def cancel_io(self, index: int) -> None:
        for kind in (IO_DONE, IO_LATE):
            event = self._machine.queue.find(kind, index)
            if event is not None:
                self._machine.queue.cancel(event)

    def end_io(self, index: int, when: int) -> None:
        """The I/O of a page that is under way ends then (ns), and nothing more goes wrong with it."""
        self.cancel_io(index)
        for number in self._pager.io[index]:
            work = self._pager.works[number]
            work.deadline = when
            self._pager.note("io", work, f"the end of its I/O is moved to {when / 1000:.3f} us")
        self._machine.queue.post(when, IO_LATE, index)
        self._machine.deadline_changed()

    def lose_page(self, index: int) -> None:
        """The store cannot give back a page that it has: every later touch is a memory error."""
        for number in self._pager.io.get(index, ()):
            self._pager.note("mishap", self._pager.works[number], "the store loses the page")
        if self._pager.core.page(index).state == PageState.SWAPPED:
            self._pager.core.mark_bad(index)

    def no_kick(self, vcpu: CoreVcpu, work: Work) -> bool:
        """True: the kick is lost, or comes later."""
        action = self._check(KICK, vcpu.id)
        if action is None:
            return False
        if action.do is Do.DELAY:
            self._ledger.note(f"{work}: kicks {self._later(action, KICK_LATE, vcpu.id)}")
        else:
            self._ledger.lost(f"{work}: kick dropped (injected)")
            self._pager.note("mishap", work, "the kick of its vCPU is lost")
        return True

    # ---------------------------------------------------------------------- back
    def is_late(self, vcpu: CoreVcpu, work: Work) -> bool:
        """What becomes of its announcement, which is about to be made? True: it waits, and `_ready_late` goes on."""
        if not work.mishap and self._pager.announces(vcpu, work):
            action = self._check(READY, work.token)
            if action is not None:
                work.mishap = _SPOILED[action.do]
                self._pager.note("mishap", work, f"its announcement is to go wrong: {action}")
                if action.do is Do.DELAY:
                    self._ledger.note(f"{work}: announced {self._later(action, READY_LATE, work.id)}")
        return work.mishap == Mishap.LATE

    def hold_back(self, work: Work, ns: int) -> None:
        """A completion that waits in the list is announced that much later."""
        work.mishap = Mishap.LATE
        self._ledger.note(f"{work}: announced {self._later(Action(Do.DELAY, ns), READY_LATE, work.id)}")
        self._pager.note("mishap", work, f"its announcement is held back for {ns // 1000} us")

    def _ready_late(self, now: int, number: int) -> None:
        work = self._pager.works[number]
        work.mishap = Mishap.PAST
        self._pager.announce(work)

    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Announce it, or not. True: the guest was told."""
        pager = self._pager
        if work.mishap == Mishap.DROPPED:
            pager.announced_in_vain(vcpu, work)
            self._ledger.lost(f"token {work.token:#x}: ready event dropped (injected)")
            return False
        told = pager.present(vcpu, work)
        if told and work.mishap == Mishap.TWICE:
            self._ledger.note(f"token {work.token:#x}: announced twice (injected)")
            if pager.announces_early:
                pager.present(vcpu, work)
            else:  # behind what waits already
                fields = (work.vcpu, work.token, work.gpa, work.gva, work.access, work.index, work.born)
                pager.enqueue_done(
                    Work(pager.next_work, *fields, wake_all=work.wake_all, injected=True, fetched=True, done=True, mishap=Mishap.AGAIN)
                )
        return told

    def cancelled(self, work: Work) -> None:
        """A work is thrown away whose announcement may be late."""
        late = self._machine.queue.find(READY_LATE, work.id) if work.mishap == Mishap.LATE else None
        if late is not None:
            self._machine.queue.cancel(late)
            if not work.done:  # its worker has fetched the page, and would have gone on
                self._pager.put_references(work.id)

    def interrupt(self, vcpu: CoreVcpu, work: Work) -> None:
        """The interrupt of that work's ready event."""
        token = work.token
        action = self._check(IRQ, token)
        if action is None or action.do is Do.DUPLICATE:
            self._pager.raise_interrupt(vcpu)
        if action is None:
            return
        if action.do is Do.DROP:
            self._ledger.lost(f"token {token:#x}: its interrupt dropped (injected)")
            self._pager.note("mishap", work, "the interrupt of its announcement is lost")
        else:
            late = Action(Do.DELAY, DUPLICATE_NS) if action.do is Do.DUPLICATE else action
            self._ledger.note(f"token {token:#x}: an interrupt {self._later(late, IRQ_LATE, vcpu.id)}")
