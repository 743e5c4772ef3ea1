# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page-ins by hand: their I/O ends now, later, or without the page; what is announced can be late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.clock.inject import EVENTS
from vmemu.machine.control import Refused
from vmemu.protocols.async_page.mishaps import READY_LATE
from vmemu.protocols.async_page.work import Mishap, Work
from vmemu.protocols.interventions import Steerable, Target

if TYPE_CHECKING:
    from vmemu.protocols.async_page.pager import AsyncPager

#: Words of `drop` and `duplicate`, for every protocol that declares the event.
WORDS = {
    "not-present": "apf.not_present", "ready": "apf.ready", "kick": "apf.kick", "irq": "apf.irq",
}  # fmt: skip


class PageIns(Steerable):
    """Of one pager. A target's key is its work's id."""

    def __init__(self, pager: AsyncPager, notifications: dict[str, str] | None = None) -> None:
        self._pager, self._machine = pager, pager.machine
        self.notifications = {word: event for word, event in (WORDS | (notifications or {})).items() if event in EVENTS}

    def targets(self) -> list[Target]:
        works = sorted(self._pager.works.values(), key=lambda w: w.id)
        return [Target("token", w.token, w.gpa, w.id) for w in works if not w.wake_all and w.mishap != Mishap.AGAIN]

    def _work(self, target: Target) -> Work:
        return self._pager.works[target.key]

    def _in_flight(self, target: Target, verb: str) -> Work:
        """The work, when its I/O is under way. Raises Refused."""
        work = self._work(target)
        if work.id in self._pager.io.get(work.index, ()):
            return work
        where = "its page is there, and it waits to be announced" if work.fetched else "its I/O has not begun: its setup is interrupted"
        raise Refused(f"EBUSY: {verb} {target}: {where}")

    def complete(self, target: Target) -> str:
        work = self._work(target)
        late = self._machine.queue.find(READY_LATE, work.id) if work.mishap == Mishap.LATE else None
        if late is not None:
            self._machine.queue.cancel(late)
            self._machine.queue.post(self._machine.instant(), READY_LATE, work.id)
            self._machine.deadline_changed()
            return f"{target}: announced as soon as the guest can be told"
        work = self._in_flight(target, "complete")
        left = work.deadline - self._machine.instant()
        self._pager.mishaps.end_io(work.index, self._machine.instant())
        return f"{target}: its I/O ends now, {max(left, 0) / 1000:.3f} us before its time{self._shared(work)}"

    def fail(self, target: Target) -> str:
        work = self._in_flight(target, "fail")
        self._pager.mishaps.lose_page(work.index)
        self._pager.ledger.lost(f"{work}: its page is lost (by hand)")
        self._pager.mishaps.end_io(work.index, self._machine.instant())
        return f"{target}: its I/O ends now, and the store cannot give page {work.gpa & ~0xFFF:#x} back{self._shared(work)}"

    def delay(self, target: Target, ns: int) -> str:
        work = self._work(target)
        if work.id in self._pager.io.get(work.index, ()):
            self._pager.mishaps.end_io(work.index, max(work.deadline, self._machine.instant()) + ns)
            return f"{target}: its I/O ends {ns // 1000} us later, at {work.deadline / 1000:.3f} us{self._shared(work)}"
        if self._pager.announces_early and work.done:
            raise Refused(f"EBUSY: delay {target}: it is announced already")
        if work.mishap == Mishap.LATE or not work.done or work.id not in self._pager.done[work.vcpu]:
            raise Refused(f"EBUSY: delay {target}: it is between two steps, or late already")
        self._pager.mishaps.hold_back(work, ns)
        return f"{target}: announced {ns // 1000} us from now at the earliest, and what waits behind it after that"

    def _shared(self, work: Work) -> str:
        others = [number for number in self._pager.io.get(work.index, ()) if number != work.id]
        return "; so does that of " + ", ".join(f"token {self._pager.works[n].token:#x}" for n in others) if others else ""
