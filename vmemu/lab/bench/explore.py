# SPDX-License-Identifier: GPL-2.0-or-later
"""Executions of the explorer: the smallest scenario of each architecture, reset in place, with every model that applies watching."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.lab.bench.report import Line, Report
from vmemu.lab.bench.timing import clock, interleaved
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.scenario import find
from vmemu.lab.explore.strategies import Random
from vmemu.machine import snapshot
from vmemu.machine.machine import Machine

#: design.md 7
EXECUTIONS_A_SECOND = 1000.0
_BURST = 200
Until = Callable[[Machine], bool] | None


def measure(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """The default execution, random ones, and for reference what a reset and the guest cost by themselves."""
    report = Report()
    for isa in isas:
        explorer = Explorer(find(f"smallest-{isa}"))
        machine = explorer.machine
        first = explorer.run(())
        assert first.status == 0 and not first.violations

        def default(explorer: Explorer = explorer) -> float:
            return clock(lambda: [explorer.run(()) for _ in range(_BURST)])

        def reset(explorer: Explorer = explorer) -> float:
            def burst() -> None:
                for _ in range(_BURST):
                    explorer.reset()

            return clock(burst)

        def random(explorer: Explorer = explorer, first: Execution = first) -> float:
            strategy = Random(1)
            strategy.learn(strategy.batch()[0], first)
            plans = [strategy.plan() for _ in range(_BURST)]
            return clock(lambda: [explorer.run(plan) for plan in plans])

        whole, alone, wild = interleaved(3 * repeat, default, reset, random)
        explorer.watch.detach()

        until = explorer.scenario.until

        def bare(machine: Machine = machine, base: snapshot.Snapshot = explorer.base, until: Until = until) -> float:
            def burst() -> None:
                for _ in range(_BURST):
                    snapshot.restore(machine, base)
                    while machine.turn() is None and not (until is not None and until(machine)):
                        pass

            return clock(burst)

        unwatched = interleaved(3 * repeat, bare)[0]
        models = ", ".join(model.name for model in explorer.watch.models)
        text = (f"{first.insns} instructions; a reset alone {alone / _BURST * 1e6:.0f} us; reset and run, unwatched, "
                f"{_BURST / unwatched:.0f} a second; models: {models}")
        name, unit = "one page fault, told, until the page is back", "executions a second"
        report.add(Line(isa, name, _BURST / whole, unit, goal=EXECUTIONS_A_SECOND, at_least=True, reference=text))
        report.add(Line(isa, "the same with random deviations", _BURST / wild, unit))
        explorer.close()
    report.print(echo)
    return report
