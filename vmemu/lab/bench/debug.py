# SPDX-License-Identifier: GPL-2.0-or-later
"""What the debugger costs: attached and idle, with a watch that nobody touches, and back across 100 million instructions."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.core import PAGE_SIZE
from vmemu.debug.session import Session
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock, interleaved
from vmemu.machine.machine import Machine

#: Instructions of one measured run, and of one leap back.
RUN = 100_000_000
IDLE_PERCENT, BACK_S = 5.0, 2.0
#: More than two runs of the same differ by on this machine.
NOISE_PERCENT = 3.0
_WORK = {"image": "walk", "append": "pages=512 passes=1000"}
#: The firmware's second instruction: executed once.
_EARLY = 1


def _boot(isa: str) -> Machine:
    machine = Machine.boot(isa=isa, **_WORK)
    machine.run_to(1_000_000)
    return machine


def _plain(isa: str) -> float:
    machine = _boot(isa)
    seconds = clock(lambda: machine.run_to(RUN))
    machine.close()
    return seconds


def _attached(isa: str, watch: bool) -> float:
    machine = _boot(isa)
    session = Session(machine)
    if watch:
        session.add_watch(machine.core.gpa(int(machine.core.ptr.npages) - 900), PAGE_SIZE, "rw")
    seconds = clock(lambda: session.cont(RUN))
    assert machine.insns == RUN
    machine.close()
    return seconds


def _back(isa: str) -> tuple[float, float, float]:
    """Seconds back to a breakpoint, to an index, and by a count of instructions."""
    machine = Machine.boot(isa=isa, **_WORK)
    session = Session(machine)
    session.cont(_EARLY)
    point = session.add_break(machine.vcpus[0].pc)
    session.cont(RUN + _EARLY)
    to_break = clock(session.back_cont)
    assert machine.insns == _EARLY, machine.insns
    session.remove(point.id)
    session.cont(2 * RUN)
    to_index = clock(lambda: session.goto(RUN))
    session.cont(2 * RUN)
    steps = clock(lambda: session.back_stepi(RUN))
    assert machine.insns == RUN
    machine.close()
    return to_break, to_index, steps


def measure(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """All figures. Plain and attached runs take turns."""
    report = Report()
    for isa in isas:
        plain, idle, watched = interleaved(
            4 * repeat, lambda isa=isa: _plain(isa), lambda isa=isa: _attached(isa, False), lambda isa=isa: _attached(isa, True),  # type: ignore[misc]
        )  # fmt: skip
        report.add(Line(isa, "debugger attached, nothing set", (idle / plain - 1) * 100, "%", goal=IDLE_PERCENT,
                        reference=f"of a run at {RUN / plain / 1e6:.0f} M instructions a second"))
        report.add(Line(isa, "a watch that nobody touches", (watched / idle - 1) * 100, "%", goal=NOISE_PERCENT,
                        reference="of the attached run"))
        worst = [max(column) for column in zip(*(_back(isa) for _ in range(repeat)), strict=True)]
        for name, seconds in zip(("to a breakpoint", "to an index", "by a count"), worst, strict=True):
            text = f"{RUN // 1_000_000} M instructions; worst of {repeat}"
            report.add(Line(isa, f"back {name}", seconds, "s", goal=BACK_S, reference=text))
    report.print(echo)
    return report
