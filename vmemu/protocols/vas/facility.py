# SPDX-License-Identifier: GPL-2.0-or-later
"""What both owners of the switchboard share: the devices on the machine, their clock, their state and their figures."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from vmemu.clock.inject import Do
from vmemu.core.events import EventKind
from vmemu.devices.base import State
from vmemu.devices.nx_job import Limits
from vmemu.devices.vas import PASTE_BASE, PASTE_SHIFT, Switches, Vas, Window
from vmemu.machine.boards.pseries import Pseries
from vmemu.machine.facility import Facility
from vmemu.machine.insight import JOBS, Insight
from vmemu.protocols.interventions import add as add_steerable
from vmemu.protocols.vas.interventions import Jobs
from vmemu.protocols.vas.switches import CCW_KEPT, FAULT_OVERRUN, INTERRUPT, JOB

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.boot import BootOptions
    from vmemu.machine.machine import Machine

EVENT, LATE = "nx.engine", "nx.interrupt"
#: A job's life in the machine's history; detail as in vmemu.core.events.
LIVES = {
    EventKind.JOB_PASTED: "pasted, place {detail} of the receive FIFO", EventKind.JOB_BEGUN: "begun, function code {detail:#x}",
    EventKind.JOB_DONE: "done, completion code << 8 | extension {detail:#x}", EventKind.JOB_FAULTED: "ended by a fault at {detail:#x}",
}  # fmt: skip
#: A duplicate that came at the same time would be one interrupt.
DUPLICATE_NS = 5_000


class VasFacility(Facility):
    """A switchboard with one gzip engine on the pseries board. `windows`: numbers below it have a paste address."""

    def __init__(self, machine: Machine, options: BootOptions, windows: int, limits: Limits | None = None) -> None:
        super().__init__(machine)
        board = machine.board
        assert isinstance(board, Pseries)
        self.board = board
        bugs = set(options.bugs)
        switches = Switches(keep_ccw=CCW_KEPT in bugs, ignore_fault_credits=FAULT_OVERRUN in bugs)
        machine.queue.define(EVENT, lambda now, data: self.vas.engine.on_event(now))
        machine.queue.define(LATE, lambda now, number: self.interrupt(self.vas.windows[number]) if number in self.vas.windows else None)
        self.vas = Vas(machine.memory, machine.now, self._post, self._interrupt, self._note, limits, switches,
                       lambda: machine.memory.injector.check(JOB.name))  # fmt: skip
        #: The job that the engine does in no time; 0: none.
        self.hurry = 0
        add_steerable(machine, Jobs(self))
        board.add_paste(PASTE_BASE, windows << PASTE_SHIFT, self._paste)

    def _post(self, deadline: int) -> None:
        job = self.vas.engine.job
        if self.hurry and job is not None and job.number == self.hurry:
            deadline = self.machine.instant()
        self.machine.queue.post(deadline, EVENT)
        self.machine.deadline_changed()

    def due(self) -> int | None:
        """When the engine goes on (ns); None: it is idle, or stands still."""
        event = self.machine.queue.find(EVENT)
        return None if event is None else event.deadline

    def move_event(self, when: int) -> None:
        """The engine goes on then (ns) instead."""
        event = self.machine.queue.find(EVENT)
        if event is not None:
            self.machine.queue.cancel(event)
        self.machine.queue.post(when, EVENT)
        self.machine.deadline_changed()

    def insight(self) -> Insight:
        from vmemu.protocols.vas.insight import VasInsight

        return VasInsight(self)

    def _note(self, kind: EventKind, job: int, window: int, detail: int) -> None:
        if self.machine.history is not None:
            text = LIVES[kind].format(detail=detail) + f" of window {window}"
            self.machine.history.note(kind.name.lower(), f"j{job}", JOBS | job, text)
        vcpu = self.machine.vcpus[self.machine.running_vcpu] if kind is EventKind.JOB_PASTED else None
        self.machine.core.put_event(kind, job, window, detail, vcpu=vcpu, cycles=self.machine.units(self.machine.now()))

    def _paste(self, vcpu: CoreVcpu, address: int, block: bytes) -> bool:
        return self.vas.paste(address, block)

    def _interrupt(self, window: Window) -> None:
        action = self.machine.memory.injector.check(INTERRUPT.name)
        if action is not None and action.do is not Do.DROP:
            late = DUPLICATE_NS if action.do is Do.DUPLICATE else action.delay_ns
            self.machine.queue.post(self.machine.now() + late, LATE, window.number)
            self.machine.deadline_changed()
        if action is None or action.do is Do.DUPLICATE:
            self.interrupt(window)

    @abstractmethod
    def interrupt(self, window: Window) -> None:
        """A fault CRB of that send window was pasted."""

    # --------------------------------------------------------------------- state
    def save(self) -> State:
        return {"version": 1, "vas": self.vas.save(), "owner": self.save_owner(), "hurry": self.hurry}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"vas: state version {state['version']}")
        self.vas.load(state["vas"])
        self.load_owner(state["owner"])
        self.hurry = state["hurry"]

    @abstractmethod
    def save_owner(self) -> State:
        """What the owner of the windows adds to the state."""

    @abstractmethod
    def load_owner(self, state: State) -> None:
        """Put back what `save_owner` gave."""

    # ------------------------------------------------------------------- figures
    def summary(self) -> dict[str, Any]:
        return {"vas": self.vas.summary()} if self.vas.counts else {}

    def lines(self) -> list[str]:
        counts, engine = self.vas.counts, self.vas.engine
        if not counts:
            return []
        figures = engine.figures
        refused = sum(n for name, n in counts.items() if name.startswith("refused_"))
        rate = f", {(figures.bytes_in + figures.bytes_out) * 1000 // figures.busy_ns} MB/s in and out" if figures.busy_ns else ""
        return [
            f"nx: {counts['pastes']} pastes, {refused} refused, {sum(engine.completions.values())} jobs completed, {counts['faults']} "
            f"translation faults, {figures.stalls} stalls; busy {figures.busy_ns / 1e6:.3f} ms{rate}; credits "
            + ("home" if self.vas.home else "out")
        ]

    def invariants(self) -> list[str]:
        return self.vas.invariants()

    def stalled(self) -> str | None:
        out = [str(w.number) for w in self.vas.windows.values() if w.busy]
        return f"credits of VAS windows {', '.join(out)} are out" if out else None
