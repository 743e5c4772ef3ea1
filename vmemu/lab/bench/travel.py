# SPDX-License-Identifier: GPL-2.0-or-later
"""What moving in time costs: one step, one seek, a snapshot with its restore, a reset in place."""

from __future__ import annotations

import time
from collections.abc import Callable

from vmemu.core import PAGE_SIZE, PageState, ffi, lib
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock
from vmemu.machine import snapshot
from vmemu.machine.machine import Machine
from vmemu.machine.timeline import SPACING, first_instant

#: design.md 7
SNAPSHOT_US, RESETS_A_SECOND = 200.0, 1000.0
PAGES = 256
#: Far beyond the end of any guest here.
_END = 1 << 62


def _best(repeat: int, action: Callable[[], float]) -> float:
    return min(action() for _ in range(repeat))


def _middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def step(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """One instruction forwards, one backwards, and seeks over a run of `tasks`."""
    report = Report()
    for isa in isas:
        machine = Machine.boot("tasks", isa=isa)
        machine.travel()
        machine.run()
        total = machine.insns
        machine.seek(total // 2)
        forward, backward, far = [], [], []
        for _ in range(30 * repeat):
            start = time.perf_counter()
            machine.seek(machine.insns + 1)
            forward.append(time.perf_counter() - start)
        for _ in range(10 * repeat):
            start = time.perf_counter()
            machine.seek(machine.insns - 1)
            backward.append(time.perf_counter() - start)
        for i in range(5 * repeat):
            target = total * (2 * i + 1) * 7919 // 10_007 % (total // 2)
            start = time.perf_counter()
            machine.seek(target)
            far.append(time.perf_counter() - start)
            machine.seek(total // 2)
        text = f"median; run of {total / 1e6:.0f} M instructions, a snapshot each {SPACING / 1e6:g} M, 32 kept"
        report.add(Line(isa, "one instruction forwards", _middle(forward) * 1e6, "us", reference=text))
        report.add(Line(isa, "one instruction backwards", _middle(backward) * 1e6, "us"))
        report.add(Line(isa, "seek to anywhere before", _middle(far) * 1e3, "ms", reference=f"worst {max(far) * 1e3:.1f} ms"))
        machine.close()
    report.print(echo)
    return report


def _snapshot(machine: Machine, pages: list[int]) -> tuple[float, float, float, float]:
    """Seconds for taking one, for writing 256 pages, for writing them again (nothing is copied), and for restoring."""
    core = machine.core.ptr

    def write() -> None:
        for gpa in pages:
            lib.s2_ptr(core, gpa, True)

    taken: list[snapshot.Snapshot] = []
    take = clock(lambda: taken.append(snapshot.take(machine)))
    first, again = clock(write), clock(write)
    restore = clock(lambda: snapshot.restore(machine, taken[0]))
    snapshot.drop(machine, taken[0])
    return take, first, again, restore


def snapshots(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """Save and restore with 256 dirty pages."""
    report = Report()
    one, two = ffi.new("uint8_t[]", PAGES * PAGE_SIZE), ffi.new("uint8_t[]", PAGES * PAGE_SIZE)
    for isa in isas:
        machine = Machine.boot("walk", isa=isa, append="pages=512 passes=8")
        machine.run_to(1_000_000)
        resident = [i for i in machine.core.not_zero_pages() if machine.core.page(i).state == PageState.RESIDENT]
        pages = [machine.core.gpa(i) for i in resident[-PAGES:]]
        rounds = [_snapshot(machine, pages) for _ in range(20 * repeat)]
        take, first, again, restore = (min(column) * 1e6 for column in zip(*rounds, strict=True))
        memcpy = _best(20 * repeat, lambda: clock(lambda: ffi.memmove(two, one, PAGES * PAGE_SIZE))) * 1e6
        copies = first - again
        text = f"save {take:.0f}, copies {copies:.0f}, restore {restore:.0f}; a bare copy of the pages {memcpy:.0f} us"
        name = f"snapshot and restore, {len(pages)} dirty pages"
        report.add(Line(isa, name, take + copies + restore, "us", goal=SNAPSHOT_US, reference=text))
        machine.close()
    report.print(echo)
    return report


def _executions(isa: str, syscall: int, repeat: int) -> tuple[float, float, int]:
    """Executions a second of `hello` from its K-th system call to the end; seconds for the reset alone; instructions."""
    machine = Machine.boot("hello", isa=isa)
    first_instant(machine, lambda m: m.vcpus[0].counters()["syscall"] >= syscall)
    base, before = snapshot.take(machine), machine.insns
    machine.run_to(_END)
    length, output = machine.insns - before, bytes(machine.console.output)

    def burst() -> None:
        for _ in range(200):
            snapshot.restore(machine, base)
            machine.run_to(_END)
            assert machine.power[0] and machine.console.output == output

    def alone() -> None:
        for _ in range(200):
            snapshot.restore(machine, base)

    rate = 200 / _best(3 * repeat, lambda: clock(burst))
    reset = _best(3 * repeat, lambda: clock(alone)) / 200
    machine.close()
    return rate, reset, length


def resets(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """Executions a second, reset in place: the smallest scenario (a task's exit to power-off), and one that prints."""
    report = Report()
    for isa in isas:
        rate, reset, length = _executions(isa, 2, repeat)
        fresh = _best(repeat, lambda isa=isa: clock(lambda: Machine.boot("hello", isa=isa).close())) * 1e3  # type: ignore[misc]
        text = f"{length} instructions each; reset alone {reset * 1e6:.0f} us; booting anew takes {fresh:.1f} ms"
        report.add(Line(isa, "a task exits", rate, "a second", goal=RESETS_A_SECOND, at_least=True, reference=text))
        rate, _, length = _executions(isa, 1, repeat)
        report.add(Line(isa, "a task prints and exits", rate, "a second", reference=f"{length} instructions each"))
    report.print(echo)
    return report
