# SPDX-License-Identifier: GPL-2.0-or-later
"""What leaving the engine and coming back costs: budget ends and exact stops, called from Python."""

from __future__ import annotations

from vmemu.core import lib
from vmemu.lab.bare import Guest
from vmemu.lab.bench.kernels import loop
from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock

STOPS = 3000


def _budget(isa: str) -> float:
    """Seconds for one run of a few blocks, from C's side of the boundary (no Exit object is built)."""
    g = Guest(isa, loop(isa, 1 << 40))
    g.run(insn_limit=100_000)
    v = g.vcpu

    def work() -> None:
        for _ in range(STOPS):
            lib.vcpu_run(v.ptr, v.ptr.cycles + 64, (1 << 64) - 1)

    return clock(work) / STOPS


def _exact(isa: str, step: int) -> float:
    g = Guest(isa, loop(isa, 1 << 40))
    g.run(insn_limit=100_000)
    v = g.vcpu

    def work() -> None:
        at = v.insns
        for _ in range(STOPS // 5):
            at += step
            lib.vcpu_run(v.ptr, (1 << 64) - 1, at)

    return clock(work) / (STOPS // 5)


def measure(report: Report, isas: tuple[str, ...], repeat: int) -> None:
    for isa in isas:
        budget = min(_budget(isa) for _ in range(repeat)) * 1e6
        exact = min(_exact(isa, 803) for _ in range(repeat)) * 1e6
        text = f"exact stop inside a block {exact:.1f} us"
        report.add(Line("stops", f"{isa}: budget stop and restart, through cffi", budget, "us", reference=text))
