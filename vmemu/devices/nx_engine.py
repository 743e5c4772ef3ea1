# SPDX-License-Identifier: GPL-2.0-or-later
"""The NX gzip engine: takes CRBs from a receive FIFO and runs them, one at a time, in virtual time.

The engine knows the switchboard only by the six things it asks of it (`Port`). One event of the clock is outstanding while
a job runs; none while the engine is idle, or stands still because its fault paste was rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from vmemu.clock.inject import Action, Do
from vmemu.core.events import EventKind
from vmemu.devices.base import State
from vmemu.devices.nx_format import CC, CE_ERROR, FaultStatus, Result
from vmemu.devices.nx_job import Job, Limits
from vmemu.devices.nx_memory import Space, TranslationFault

#: How long the engine's watchdog waits for a job that hangs (vmemu's choice).
WATCHDOG_NS = 10_000_000
#: UM 4.3: about 370 ns to start; up to 16 KiB per microsecond.
STARTUP_NS, BYTES_PER_US = 370, 16384


def _time(size: int) -> int:
    """ns for so many bytes, rounded up."""
    return -(-size * 1000 // BYTES_PER_US)


class Port(Protocol):
    """What the switchboard does for its engine."""

    def dequeue(self) -> tuple[int, int, bytes] | None:
        """The next CRB: (job, send window, 128 bytes); its receive credit is home then."""

    def waiting(self) -> int:
        """CRBs that wait in the receive FIFO."""

    def space(self, window: int) -> Space:
        """Memory as the window's opener sees it."""

    def fault(self, window: int, crb: bytes, fault: TranslationFault) -> bool:
        """Paste a fault CRB; False: rejected."""

    def completed(self, window: int, interrupt: bool) -> None:
        """A job ended with a CSB: its send credit goes home."""

    def note(self, kind: EventKind, job: int, window: int, detail: int) -> None:
        """For traces."""


@dataclass(slots=True)
class Figures:
    """Counted since the start: virtual ns, bytes of plain and coded data."""

    jobs: int = 0
    busy_ns: int = 0
    stalled_ns: int = 0
    stalls: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Engine:
    """One gzip engine. `post(deadline)` asks the clock to call `on_event` at that time; `mishap` says what goes wrong with a job."""

    def __init__(self, port: Port, now: Callable[[], int], post: Callable[[int], None], limits: Limits | None = None,
                 mishap: Callable[[], Action | None] = lambda: None) -> None:
        self._port, self._now, self._post, self._mishap = port, now, post, mishap
        self._limits = limits or Limits()
        self.reset()

    def reset(self) -> None:
        self.job: Job | None = None
        #: The running job's fault: on its way, and rejected for want of a credit.
        self.missed: TranslationFault | None = None
        self.rejected: TranslationFault | None = None
        self._since = 0
        self.figures = Figures()
        self.completions: Counter[int] = Counter()
        self.faults: Counter[int] = Counter()

    # --------------------------------------------------------------- transitions
    def kick(self) -> None:
        """There may be work, or a fault credit."""
        if self.rejected is not None:
            self._paste_fault(self.rejected)
        if self.job is None:
            self._next()

    def _next(self) -> None:
        taken = self._port.dequeue()
        if taken is None:
            return
        self.job = Job(*taken)
        self._since = self._now()
        self._port.note(EventKind.JOB_BEGUN, self.job.number, self.job.window, self.job.parsed.ccw & 0xFF)
        self._post(self._since + STARTUP_NS + self._spoil(self.job))

    def _spoil(self, job: Job) -> int:
        """Failures of the hardware, when they are asked for. What the job's start is late by, in ns."""
        action = self._mishap()
        if action is None:
            return 0
        code = {Do.FAIL: CC.INTERNAL, Do.CORRUPT: CC.CORRUPT, Do.DROP: CC.WATCHDOG}.get(action.do)
        if code is not None:
            job.result = Result(code, CE_ERROR, 0, 0, b"")
        return WATCHDOG_NS if action.do is Do.DROP else action.delay_ns

    def on_event(self, now: int) -> None:
        """A slice's time is over: the next one, or the end of the job."""
        job = self.job
        if job is None or self.rejected is not None:
            return
        if self.missed is not None:
            self._paste_fault(self.missed)
            if self.job is None:
                self._next()
            return
        space = self._port.space(job.window)
        try:
            if job.result is None:
                moved = job.step(space, self._limits, self._port.waiting() > 0)
                self._post(now + _time(moved))
                return
            job.finish(space)
        except TranslationFault as fault:
            self.faults[int(fault.status)] += 1
            self.missed = fault
            self._post(now + _time(job.reached(fault)))
            return
        self._complete(job)
        if self.job is None:
            self._next()

    def _complete(self, job: Job) -> None:
        assert job.result is not None
        cc = CC(job.result.cc)
        self.completions[cc] += 1
        self.figures.bytes_in += job.position
        self.figures.bytes_out += job.produced
        self._port.note(EventKind.JOB_DONE, job.number, job.window, job.result.cc << 8 | job.result.ce)
        self._over()
        self._port.completed(job.window, cc is not CC.CRB and job.parsed.wants_interrupt)

    def _paste_fault(self, fault: TranslationFault) -> None:
        """UM 6.9. Rejected, for want of a credit: the job stays, nothing else runs."""
        job = self.job
        assert job is not None
        if self._port.fault(job.window, job.crb, fault):
            self._port.note(EventKind.JOB_FAULTED, job.number, job.window, fault.address)
            self._over()
        elif self.rejected is None:
            self.figures.stalls += 1
            self._charge()
            self.rejected = fault

    def _over(self) -> None:
        self._charge()
        self.figures.jobs += 1
        self.job = self.rejected = self.missed = None

    def _charge(self) -> None:
        elapsed, self._since = self._now() - self._since, self._now()
        if self.rejected is None:
            self.figures.busy_ns += elapsed
        else:
            self.figures.stalled_ns += elapsed

    # --------------------------------------------------------------------- state
    def save(self) -> State:
        return {
            "version": 1,
            "job": None if self.job is None else self.job.save(),
            "missed": None if self.missed is None else [self.missed.address, int(self.missed.status), self.missed.store],
            "rejected": self.rejected is not None,
            "since": self._since,
            "figures": [getattr(self.figures, name) for name in Figures.__slots__],
            "completions": {str(k): v for k, v in sorted(self.completions.items())},
            "faults": {str(k): v for k, v in sorted(self.faults.items())},
        }

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"nx: state version {state['version']}")
        self.job = None if state["job"] is None else Job.restore(state["job"])
        self.missed = None
        if state["missed"] is not None:
            address, status, store = state["missed"]
            self.missed = TranslationFault(address, FaultStatus(status), store)
        self.rejected = self.missed if state["rejected"] else None
        self._since = state["since"]
        self.figures = Figures(*state["figures"])
        self.completions = Counter({int(k): v for k, v in state["completions"].items()})
        self.faults = Counter({int(k): v for k, v in state["faults"].items()})

    def summary(self) -> dict[str, Any]:
        figures = {name: getattr(self.figures, name) for name in Figures.__slots__}
        return figures | {
            "completions": {str(cc): n for cc, n in sorted(self.completions.items())},
            "faults": {FaultStatus(s).name.lower(): n for s, n in sorted(self.faults.items())},
        }
