# SPDX-License-Identifier: GPL-2.0-or-later
"""An exploration: a strategy's plans are run until one violates something, everything was tried, or the budget is spent."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmemu.errors import ConfigError
from vmemu.lab.explore.coverage import Coverage
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.runners import Runner, runner_for
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.explore.strategies import Strategy

#: Told after each execution: how many there were, seconds since the first.
Progress = Callable[[int, float], None]
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Budget:
    """At most so many executions, or so many seconds (the execution that is running then is the last one)."""

    executions: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """``10000``, ``30s``, ``5m``, ``1h``. Raises ConfigError."""
        match = re.fullmatch(r"([0-9]{1,9})([smh]?)", text)
        if match is None or not int(match[1]):
            raise ConfigError(f"--budget {text}: a number of executions, or a time like 30s, 5m, 1h")
        return cls(seconds=int(match[1]) * _UNITS[match[2]]) if match[2] else cls(executions=int(match[1]))


@dataclass
class Report:
    """What came of an exploration. All but the seconds is the same for any number of jobs, unless the budget was a time.

    found: the first execution, in the order of the strategy, that violated something; number: which one it was, from 1.
    ended: why nothing more was tried: "violation", "exhausted", "budget", "interrupted".
    """

    scenario: str
    bugs: tuple[str, ...]
    strategy: str
    executions: int = 0
    seconds: float = 0.0
    found: Execution | None = None
    ended: str = ""
    progress: str = ""
    coverage: Coverage = field(default_factory=Coverage)

    @property
    def number(self) -> int:
        return self.executions if self.found is not None else 0

    def to_json(self) -> dict[str, Any]:
        found = self.found
        return {
            "scenario": self.scenario, "bugs": list(self.bugs), "strategy": self.strategy, "progress": self.progress,
            "executions": self.executions, "ended": self.ended, "seconds": round(self.seconds, 3),
            "found": None if found is None else {
                "execution": self.number, "schedule": found.schedule, "length": len(found.made),
                "instructions": found.insns, "ns": found.ns,
                "violations": [
                    {"invariant": v.invariant, "text": v.text, "token": v.token, "vcpu": v.vcpu, "insns": v.insns} for v in found.violations
                ],
            },
            "coverage": self.coverage.to_json(),
        }  # fmt: skip


def search(runner: Runner, strategy: Strategy, budget: Budget, report: Report, *, progress: Progress | None = None,
           asked_to_stop: Callable[[], bool] = lambda: False) -> Report:
    """Run the strategy's plans, in order, into the report; and say in it how that ended."""
    started = time.monotonic()
    spent = False

    def stopped() -> bool:
        nonlocal spent
        spent = budget.seconds is not None and time.monotonic() - started >= budget.seconds
        return spent or asked_to_stop()

    def ended() -> str:
        while True:
            tasks = strategy.batch()
            if budget.executions is not None:
                if report.executions >= budget.executions:
                    return "budget"
                del tasks[budget.executions - report.executions :]
            if not tasks:
                return "exhausted"
            count = 0
            for execution in runner.results([task.plan for task in tasks], stopped):
                task = tasks[count]
                count += 1
                report.executions += 1
                report.coverage.add(execution, report.executions)
                strategy.learn(task, execution)
                if progress is not None:
                    progress(report.executions, time.monotonic() - started)
                if execution.violations:
                    report.found = execution
                    return "violation"
            if count < len(tasks):
                return "budget" if spent else "interrupted"

    report.ended = ended()
    report.seconds = time.monotonic() - started
    report.progress = strategy.describe()
    return report


def explore(scenario: Scenario, strategy: Strategy, budget: Budget, *, bugs: Sequence[str] = (), jobs: int = 1,
            progress: Progress | None = None, asked_to_stop: Callable[[], bool] = lambda: False) -> Report:
    """Explore a scenario. Raises ConfigError for one that cannot be run."""
    report = Report(scenario.name, tuple(bugs), strategy.name, coverage=Coverage.of(scenario.events))
    runner = runner_for(lambda: Explorer(scenario, bugs), jobs)
    try:
        return search(runner, strategy, budget, report, progress=progress, asked_to_stop=asked_to_stop)
    finally:
        runner.close()
