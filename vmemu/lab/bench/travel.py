# SPDX-License-Identifier: GPL-2.0-or-later
"""What moving in time costs: one step, one seek, a snapshot with its restore, a reset in place."""

from __future__ import annotations

import time
from collections.abc import Callable

from vmemu.core import PAGE_SIZE, PageState, ffi, lib
from vmemu.lab.bench.report import Line, Report
from vmemu.machine import snapshot
from vmemu.machine.machine import Machine
from vmemu.machine.timeline import SPACING

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


def _copies() -> float:
    """Reference: what copying the pages out and back again costs by itself."""
    one, two = ffi.new("uint8_t[]", PAGES * PAGE_SIZE), ffi.new("uint8_t[]", PAGES * PAGE_SIZE)
    start = time.perf_counter()
    ffi.memmove(two, one, PAGES * PAGE_SIZE)
    ffi.memmove(one, two, PAGES * PAGE_SIZE)
    return time.perf_counter() - start


def _snapshot(machine: Machine, pages: list[int]) -> tuple[float, float, float]:
    """Seconds for taking one, for the copies made while 256 pages are written, and for restoring it."""
    core = machine.core.ptr

    def write() -> float:
        start = time.perf_counter()
        for gpa in pages:
            lib.s2_ptr(core, gpa, True)
        return time.perf_counter() - start

    start = time.perf_counter()
    taken = snapshot.take(machine)
    take = time.perf_counter() - start
    copy = write() - min(write(), write())  # the same calls again copy nothing
    start = time.perf_counter()
    snapshot.restore(machine, taken)
    restore = time.perf_counter() - start
    snapshot.drop(machine, taken)
    return take, max(copy, 0.0), restore


def snapshots(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """Save and restore with 256 dirty pages."""
    report = Report()
    for isa in isas:
        machine = Machine.boot("walk", isa=isa, append="pages=512 passes=8")
        machine.run_to(1_000_000)
        resident = [i for i in machine.core.not_zero_pages() if machine.core.page(i).state == PageState.RESIDENT]
        pages = [machine.core.gpa(i) for i in resident[-PAGES:]]
        best = min((_snapshot(machine, pages) for _ in range(20 * repeat)), key=sum)
        total = sum(best) * 1e6
        memcpy = _best(20 * repeat, _copies) * 1e6
        parts = ", ".join(f"{name} {value * 1e6:.0f}" for name, value in zip(("save", "copies", "restore"), best, strict=True))
        text = f"{parts}; the bare copies {memcpy:.0f} us"
        report.add(Line(isa, f"snapshot and restore, {len(pages)} dirty pages", total, "us", goal=SNAPSHOT_US, reference=text))
        machine.close()
    report.print(echo)
    return report


def resets(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """Executions a second of the smallest scenario: `hello` from its first system call to the end, reset in place."""
    from vmemu.machine.timeline import first_instant

    report = Report()
    for isa in isas:
        machine = Machine.boot("hello", isa=isa)
        first_instant(machine, lambda m: m.vcpus[0].counters()["syscall"] >= 1)
        base, before = snapshot.take(machine), machine.insns
        machine.run_to(_END)
        length, output = machine.insns - before, bytes(machine.console.output)

        def burst(machine: Machine = machine, base: snapshot.Snapshot = base, output: bytes = output) -> float:
            start = time.perf_counter()
            for _ in range(200):
                snapshot.restore(machine, base)
                machine.run_to(_END)
                assert machine.power[0] and machine.console.output == output
            return (time.perf_counter() - start) / 200

        def alone(machine: Machine = machine, base: snapshot.Snapshot = base) -> float:
            start = time.perf_counter()
            for _ in range(200):
                snapshot.restore(machine, base)
            return (time.perf_counter() - start) / 200

        rate, reset = 1 / _best(3 * repeat, burst), _best(3 * repeat, alone) * 1e6
        start = time.perf_counter()
        Machine.boot("hello", isa=isa).close()
        text = f"{length} instructions each; reset alone {reset:.0f} us, a fresh boot {(time.perf_counter() - start) * 1e3:.1f} ms"
        report.add(Line(isa, "executions", rate, "a second", goal=RESETS_A_SECOND, at_least=True, reference=text))
        machine.close()
    report.print(echo)
    return report
