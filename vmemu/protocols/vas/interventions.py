# SPDX-License-Identifier: GPL-2.0-or-later
"""Jobs of the gzip engine by hand: done at once, failed, or late; and fault interrupts that are lost or doubled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices.nx_format import CC, CE_ERROR, Result
from vmemu.devices.nx_job import Job
from vmemu.machine.control import Refused
from vmemu.protocols.interventions import Steerable, Target
from vmemu.protocols.vas.switches import INTERRUPT

if TYPE_CHECKING:
    from vmemu.protocols.vas.facility import VasFacility


class Jobs(Steerable):
    """Of one switchboard. A target's key is its job's number."""

    def __init__(self, facility: VasFacility) -> None:
        self._facility, self._vas = facility, facility.vas
        self.notifications = {"fault-irq": INTERRUPT.name}

    def targets(self) -> list[Target]:
        engine = self._vas.engine
        running = [] if engine.job is None else [engine.job.number]
        queued = [job for window in self._vas.windows.values() for job, _ in window.waiting]
        return [Target("job", number, None, number) for number in (*running, *queued)]

    def _running(self, target: Target, verb: str) -> Job:
        """The engine's own job, while it can be moved. Raises Refused."""
        engine = self._vas.engine
        if engine.job is None or engine.job.number != target.key:
            raise Refused(f"EBUSY: {verb} {target}: it waits in the receive FIFO")
        if engine.rejected is not None:
            raise Refused(f"EBUSY: {verb} {target}: the engine stands still, for its fault CRB has no credit")
        return engine.job

    def complete(self, target: Target) -> str:
        self._running(target, "complete")
        self._facility.hurry = target.key
        self._facility.move_event(self._facility.machine.instant())
        return f"{target}: the engine does the rest of it in no time"

    def fail(self, target: Target) -> str:
        job = self._running(target, "fail")
        if self._vas.engine.missed is not None:
            raise Refused(f"EBUSY: fail {target}: it has run into a fault already")
        job.result = Result(CC.INTERNAL, CE_ERROR, 0, 0, b"")
        self._facility.move_event(self._facility.machine.instant())
        return f"{target}: the engine ends it now with completion code {int(CC.INTERNAL)} ({CC.INTERNAL.name})"

    def delay(self, target: Target, ns: int) -> str:
        self._running(target, "delay")
        due = self._facility.due()
        assert due is not None
        self._facility.move_event(due + ns)
        return f"{target}: the engine goes on with it {ns // 1000} us later"
