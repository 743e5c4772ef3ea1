# SPDX-License-Identifier: GPL-2.0-or-later
"""The profile `halt`: the guest is not told. Page-ins are asynchronous for the host, and a vCPU that waits for one takes interrupts
meanwhile, so that timers and messages from other vCPUs are served on time (KVM with APF off in the guest, x86-apf.md 5).
"""

from __future__ import annotations

from vmemu.core import CoreVcpu, Exit
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.work import Work


class Halting(AsyncPager):
    """Nothing but the generic layer."""

    def refuse(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        return None

    def new_token(self, vcpu: CoreVcpu) -> int:
        return self.next_work  # no guest sees it

    def may_tell(self, vcpu: CoreVcpu, work: Work) -> bool:
        return False

    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        return False

    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        return True

    def announces(self, vcpu: CoreVcpu, work: Work) -> bool:
        return False

    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        return False
