# SPDX-License-Identifier: GPL-2.0-or-later
"""What every pager owes, whatever it tells the guest: a fault ends, a vCPU that waits is woken, a lost page is reported (HALT, ERR)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core.observe import Fate, Seen, What
from vmemu.lab.models.base import Model, Wait, vcpu_node
from vmemu.lab.models.ledger import SOON_NS
from vmemu.lab.models.registry import Entry, register

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: So many failed page-ins of one page without a report to the guest are one too many: one by the worker, one by the next fault.
MOST_FAILURES = 3
#: So often a vCPU may come back to the same fault without anything having happened: once for each interruption of the host's own work.
MOST_RETRIES = 8


class FaultModel(Model):
    """By vCPU: `faults` [page, instructions completed, times in a row], `halts` page it waits for -> when that was seen to be there."""

    name = "faults"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.failures: dict[int, int] = {}
        self.faults: list[tuple[int, int, int]] = [(-1, 0, 0)] * len(machine.vcpus)
        self.halts: dict[int, tuple[int, int]] = {}
        self._open = 0  # faults that are being served: a page-in meanwhile is on their account
        self.on = {What.FAULT: self._fault, What.FAULT_DONE: self._done, What.PAGE_IN: self._page_in, What.MEM_ERROR: self._told_lost}

    def _fault(self, seen: Seen) -> None:
        self._open += 1
        gfn, insns = seen.a >> 12, self.machine.vcpus[seen.vcpu].insns
        before = self.faults[seen.vcpu]
        times = before[2] + 1 if before[:2] == (gfn, insns) else 1
        self.faults[seen.vcpu] = gfn, insns, times
        if times > MOST_RETRIES:
            self.wrong("HALT", f"the vCPU faults on gfn {gfn:#x} again and again, and neither waits nor is told", vcpu=seen.vcpu)

    def _done(self, seen: Seen) -> None:
        self._open -= 1
        gfn = seen.a >> 12
        if seen.c == Fate.HALT:
            self.halts[seen.vcpu] = gfn, -1
        else:
            self.halts.pop(seen.vcpu, None)
        if seen.c != Fate.RETRY:
            self.faults[seen.vcpu] = -1, 0, 0
        if seen.c == Fate.FATAL and gfn not in self.failures:
            self.wrong("ERR", f"gfn {gfn:#x} is said to be lost, and the store has lost nothing", vcpu=seen.vcpu)

    def _page_in(self, seen: Seen) -> None:
        gfn = seen.a >> 12
        self.faults = [(-1, 0, 0) if fault[0] == gfn else fault for fault in self.faults]
        if seen.b:
            self.failures.pop(gfn, None)
        else:
            self.failures[gfn] = self.failures.get(gfn, 0) + 1
            if self.failures[gfn] > MOST_FAILURES:
                self.wrong("ERR", f"gfn {gfn:#x} could not be brought back {self.failures[gfn]} times, and the guest never heard of it")
        if not self._open:
            now = self.machine.now()
            for vcpu, (wanted, since) in self.halts.items():
                if wanted == gfn and since < 0:
                    self.halts[vcpu] = gfn, now

    def _told_lost(self, seen: Seen) -> None:
        self.failures[seen.b >> 12] = 1

    def check(self) -> None:
        if not self.halts:
            return
        now = self.machine.now()
        for number, (gfn, since) in list(self.halts.items()):
            vcpu = self.machine.vcpus[number]
            if not vcpu.host_halted or not vcpu.online:
                del self.halts[number]
            elif vcpu.event_pending:
                self.wrong("HALT", f"the vCPU waits for gfn {gfn:#x}, and an event is there for it to enter", vcpu=number)
            elif since >= 0 and now > since + SOON_NS:
                self.wrong("HALT", f"the vCPU waits for gfn {gfn:#x}, which came {now - since} ns ago", vcpu=number)

    def at_rest(self) -> None:
        for vcpu in self.machine.vcpus:
            if vcpu.online and vcpu.host_halted:
                self.wrong("HALT", "the vCPU waits for a page, and nothing will wake it", vcpu=vcpu.id)

    def waits(self) -> list[Wait]:
        return [Wait(vcpu_node(vcpu), f"page {gfn:#x}", "the host has halted it for that page") for vcpu, (gfn, _) in self.halts.items()]

    def state(self) -> Hashable:
        return tuple(sorted(self.halts)), bool(self.failures)

    def save(self) -> Any:
        return [dict(self.failures), list(self.faults), dict(self.halts)]

    def load(self, state: Any) -> None:
        failures, faults, halts = state
        self.failures, self.halts, self._open = dict(failures), {k: tuple(v) for k, v in halts.items()}, 0
        self.faults = [tuple(f) for f in faults]


register(Entry(FaultModel.name, lambda machine: machine.pager is not None, FaultModel))
