# SPDX-License-Identifier: GPL-2.0-or-later
"""XICS as a partition sees it (LoPAR 2.9, "Interrupt controller virtualization"): presenters and one list of sources.

XIRR = CPPR << 24 | XISR. Lower priorities are more urgent, 0xff is masked. Source 2 is the inter-processor interrupt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.devices.base import Quiet, State, flat
from vmemu.devices.papr import H_PARAMETER, NoWindow, Refused

IPI = 2
MASKED = 0xFF
FIRST_SOURCE = 0x1000


@dataclass(slots=True)
class Presenter:
    """Presentation controller of one CPU."""

    cppr: int = 0
    mfrr: int = MASKED


@dataclass(slots=True)
class Source:
    """One interrupt source. ``level``: it stays pending while ``asserted``; else every pulse is one interrupt."""

    level: bool
    server: int = 0
    priority: int = MASKED
    saved: int = MASKED
    asserted: bool = False
    pending: bool = False
    in_service: bool = False


class Xics(NoWindow, Quiet):
    """Controller of ``cpus`` CPUs; ``set_line(cpu, level)`` drives their external interrupt."""

    def __init__(self, cpus: int, set_line: Callable[[int, bool], None]) -> None:
        self._cpus, self._set_line = cpus, set_line
        self._kinds: dict[int, bool] = {}
        #: Called when the guest has ended an interrupt of that source.
        self.on_eoi: dict[int, Callable[[], None]] = {}
        self.reset()

    def reset(self) -> None:
        self.presenters = [Presenter() for _ in range(self._cpus)]
        self.sources = {number: Source(level) for number, level in self._kinds.items()}

    # ------------------------------------------------------------- for devices
    def add_source(self, number: int, *, level: bool) -> None:
        """Declare a source. Raises ValueError for a number that is taken or reserved."""
        if number < 16 or number in self._kinds:
            raise ValueError(f"interrupt source {number:#x} is taken or reserved")
        self._kinds[number] = level
        self.sources[number] = Source(level)

    def pulse(self, number: int) -> None:
        """One edge of an edge source."""
        self.sources[number].pending = True
        self._update()

    def set_level(self, number: int, level: bool) -> None:
        """The level of a level source."""
        source = self.sources[number]
        source.asserted = level
        source.pending = level and not source.in_service
        self._update()

    # --------------------------------------------------------------- hypercalls
    def xirr(self, cpu: int) -> int:
        """H_XIRR: accept the most urgent interrupt; the XIRR as it was."""
        presenter = self.presenters[cpu]
        priority, number = self._best(cpu)
        answer = presenter.cppr << 24 | number
        if number:
            presenter.cppr = priority
            if number != IPI:
                self.sources[number].pending = False
                self.sources[number].in_service = True
        self._update()
        return answer

    def poll(self, cpu: int) -> tuple[int, int]:
        """H_IPOLL: (XIRR, MFRR) without accepting. Raises Refused."""
        self._check(cpu)
        return self.presenters[cpu].cppr << 24 | self._best(cpu)[1], self.presenters[cpu].mfrr

    def set_cppr(self, cpu: int, cppr: int) -> None:
        """H_CPPR."""
        self.presenters[cpu].cppr = cppr & 0xFF
        self._update()

    def eoi(self, cpu: int, xirr: int) -> None:
        """H_EOI: end of the interrupt in `xirr`, whose top byte becomes CPPR. Raises Refused for an unknown source."""
        number = xirr & 0xFF_FFFF
        if number not in (0, IPI) and number not in self.sources:
            raise Refused(H_PARAMETER)
        self.presenters[cpu].cppr = xirr >> 24 & 0xFF
        source = self.sources.get(number)
        ended = source is not None and source.in_service
        if source is not None:
            source.in_service = False
            source.pending = source.pending or (source.level and source.asserted)
        self._update()
        if ended and number in self.on_eoi:
            self.on_eoi[number]()

    def ipi(self, cpu: int, mfrr: int) -> None:
        """H_IPI: set the most favoured request of a CPU. Raises Refused."""
        self._check(cpu)
        self.presenters[cpu].mfrr = mfrr & 0xFF
        self._update()

    # -------------------------------------------------------------------- RTAS
    def set_xive(self, number: int, server: int, priority: int) -> bool:
        """Route a source; False: no such source or CPU."""
        source = self.sources.get(number)
        if source is None or not 0 <= server < self._cpus or not 0 <= priority <= MASKED:
            return False
        source.server, source.priority, source.saved = server, priority, priority
        self._update()
        return True

    def get_xive(self, number: int) -> tuple[int, int] | None:
        source = self.sources.get(number)
        return None if source is None else (source.server, source.priority)

    def enable(self, number: int, on: bool) -> bool:
        """int-on, int-off: off keeps the priority for the next on."""
        source = self.sources.get(number)
        if source is None:
            return False
        if not on and source.priority != MASKED:
            source.saved = source.priority
        source.priority = source.saved if on else MASKED
        self._update()
        return True

    # ----------------------------------------------------------------- internals
    def _check(self, cpu: int) -> None:
        if not 0 <= cpu < self._cpus:
            raise Refused(H_PARAMETER)

    def _best(self, cpu: int) -> tuple[int, int]:
        """(priority, source) of what would be accepted now; source 0: nothing. Ties go to the lower number."""
        presenter = self.presenters[cpu]
        waiting = [(s.priority, n) for n, s in self.sources.items() if s.pending and s.server == cpu]
        waiting.append((presenter.mfrr, IPI))
        priority, number = min(waiting)
        return (priority, number) if priority < presenter.cppr else (MASKED, 0)

    def _update(self) -> None:
        for cpu in range(self._cpus):
            self._set_line(cpu, self._best(cpu)[1] != 0)

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {
            "version": 1,
            "presenters": [flat(p) for p in self.presenters],
            "sources": {str(n): flat(s) for n, s in sorted(self.sources.items())},
        }

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"xics: state version {state['version']}")
        self.presenters = [Presenter(**p) for p in state["presenters"]]
        self.sources = {int(n): Source(**s) for n, s in state["sources"].items()}
