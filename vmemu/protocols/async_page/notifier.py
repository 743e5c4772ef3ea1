# SPDX-License-Identifier: GPL-2.0-or-later
"""What a protocol adds to the generic layer: whether, when and how its guest is told that a page is away, and that it is back."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from vmemu.core import CoreVcpu, Exit
from vmemu.machine.facility import Pager
from vmemu.protocols.async_page.work import Work


class Notifier(Pager):
    """announces_early: the worker itself announces, as on s390 and in the pseries RFC. shared_gfns: a page is under way for the
    whole machine, not for one vCPU.
    """

    #: Words for `drop` and `duplicate` besides those of every protocol, and their injectable events.
    notifications: ClassVar[dict[str, str]] = {}
    announces_early = False
    shared_gfns = False

    @abstractmethod
    def refuse(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        """Why this fault must be served synchronously; None when the page-in may be asynchronous."""

    @abstractmethod
    def new_token(self, vcpu: CoreVcpu) -> int:
        """The next token for this vCPU."""

    @abstractmethod
    def may_tell(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Would the guest hear now that this page is away? Changes nothing. False: its vCPU waits."""

    @abstractmethod
    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Tell the guest that the page is away, as it may be told. False: it could not be done, and its vCPU waits."""

    def not_told(self, vcpu: CoreVcpu, work: Work) -> None:
        """It could not be told although it might have been."""

    def told_in_vain(self, vcpu: CoreVcpu, work: Work) -> None:
        """What `not_present` would have said is lost on its way; the host believes that it was told."""

    @abstractmethod
    def announces(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Would `present` tell the guest of this completion? Changes nothing."""

    @abstractmethod
    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        """May the next completion be taken off `done`?"""

    @abstractmethod
    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        """Tell the guest that the page is back (or, for a wake-all, that all are), if it `announces` it. True: it was told."""

    def announced_in_vain(self, vcpu: CoreVcpu, work: Work) -> None:
        """What `present` would have said is lost on its way; the host believes that it was announced."""

    def raise_interrupt(self, vcpu: CoreVcpu) -> None:
        """The interrupt that says that a page is back, for protocols that have one to each vCPU."""

    def asks(self, vcpu: CoreVcpu, work: Work, first: bool) -> bool:
        """Does a completion ask for the vCPU's attention? By default the first of its list does. Asked once for each."""
        return first

    def wants_kick(self, vcpu: CoreVcpu, actor: str) -> bool:
        """Must a first completion kick the vCPU out of its guest? False when the guest will come by itself."""
        return True

    def why_not_told(self, vcpu: CoreVcpu) -> str:
        """Why `may_tell`, or `not_present`, has just said no; for people."""
        return "the guest is not told: the vCPU waits"
