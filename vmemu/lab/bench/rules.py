# SPDX-License-Identifier: GPL-2.0-or-later
"""What an example of a rule-based test costs: the host's and the guest's part of it, and Hypothesis's own."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from vmemu.lab.bench.report import Line, Report
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.scenario import find
from vmemu.lab.rules import AheadSource, GuestRules, rules_for

EXAMPLES = 100


class _Timed(Explorer):
    """Keeps the time that is spent in machine and models."""

    spent = 0.0

    def begin(self) -> None:
        start = time.thread_time()
        super().begin()
        self.spent += time.thread_time() - start

    def turn(self) -> tuple[int, str] | None:
        start = time.thread_time()
        try:
            return super().turn()
        finally:
            self.spent += time.thread_time() - start

    def offer(self) -> str | None:
        start = time.thread_time()
        try:
            return super().offer()
        finally:
            self.spent += time.thread_time() - start

    def finish(self, end: tuple[int, str] | None) -> Execution:
        start = time.thread_time()
        try:
            return super().finish(end)
        finally:
            self.spent += time.thread_time() - start


def _examples(rules: type[GuestRules]) -> float:
    """Seconds that `EXAMPLES` examples take, the same ones each time."""
    chosen = settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                      suppress_health_check=list(HealthCheck))
    start = time.thread_time()
    run_state_machine_as_test(rules, settings=chosen)
    return time.thread_time() - start


def measure(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """Milliseconds per example of the smallest scenario, with Hypothesis's default number of steps."""
    report = Report()
    for isa in isas:
        rules = rules_for(find(f"smallest-{isa}"))
        timed = _Timed(rules.scenario, source=AheadSource, keep=256)
        rules.use(timed)
        best = (float("inf"), 0.0)
        for _ in range(repeat):
            timed.spent = 0.0
            whole = _examples(rules)
            best = min(best, (whole, timed.spent))
        own = best[0] - best[1]
        text = f"Hypothesis's own work: {own / EXAMPLES * 1e3:.2f} ms an example; together {EXAMPLES / best[0]:.0f} examples a second"
        report.add(Line(isa, "host and guest work per example", best[1] / EXAMPLES * 1e3, "ms", goal=own / EXAMPLES * 1e3, reference=text))
        timed.close()
    report.print(echo)
    return report
