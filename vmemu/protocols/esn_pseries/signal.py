# SPDX-License-Identifier: GPL-2.0-or-later
"""The subvention interrupt: an edge source of the partition's XICS, switched by H_VIO_SIGNAL where the profile has that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.clock.inject import Do
from vmemu.protocols.esn_pseries.events import Events
from vmemu.protocols.esn_pseries.switches import PULSE_RULE
from vmemu.protocols.esn_pseries.wire import SOURCE, UNIT, Defect, Profile

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.boards.pseries import Pseries
    from vmemu.machine.machine import Machine

LATE = "esn.irq"


class Signal:
    """Signals when it is due. kicks False: only when the vCPU that faulted is out of its guest (RFC, 2021).

    `unit`: H_VIO_SIGNAL knows the area's unit address, even where (as in the RFC) it switches nothing.
    """

    def __init__(self, machine: Machine, board: Pseries, profile: Profile, events: Events, *, kicks: bool, unit: bool) -> None:
        self._machine, self._board, self._events = machine, board, events
        self._switched = not profile.has(Defect.A1)  # the RFC's is always on
        self.kicks = kicks
        self._once = machine.has_bug(PULSE_RULE)  # between two ends
        #: vCPUs whose next exit signals
        self.requests: list[int] = []
        board.xics.add_source(SOURCE, level=False)
        if unit:
            board.vio.add(UNIT)
        machine.queue.define(LATE, lambda now, data: self._pulse())

    def due(self, vcpu: CoreVcpu) -> None:
        """An event wants the partition's attention; `vcpu` is whose fault it was."""
        self._events.count["signals"] += 1
        if self._switched and not self._board.vio.enabled(UNIT):
            self._events.count["masked"] += 1
        elif self.kicks or vcpu.halted:  # one that waits is woken, and looks
            self._send()
        elif vcpu.id not in self.requests:
            self.requests.append(vcpu.id)

    def left_guest(self, vcpu: CoreVcpu) -> None:
        if vcpu.id in self.requests:
            self.requests.remove(vcpu.id)
            self._send()

    def _send(self) -> None:
        action = self._machine.memory.injector.check(LATE)
        if action is None:
            self._pulse()
        elif action.do is Do.DELAY:
            self._machine.queue.post(self._machine.now() + action.delay_ns, LATE, 0)
            self._machine.deadline_changed()
        elif action.do is Do.DUPLICATE:
            self._pulse()
            self._machine.queue.post(self._machine.now() + action.delay_ns, LATE, 0)
            self._machine.deadline_changed()
        else:
            self._events.lose("an interrupt that was dropped (injected)")

    def _pulse(self) -> None:
        if self._once and self._board.xics.sources[SOURCE].in_service:
            self._events.count["masked"] += 1
        else:
            self._board.xics.pulse(SOURCE)

    def save(self) -> dict[str, Any]:
        return {"requests": list(self.requests)}

    def load(self, state: dict[str, Any]) -> None:
        self.requests = list(state["requests"])
