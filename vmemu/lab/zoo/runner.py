# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the table: each bug is looked for with its switch on, its schedule shrunk; then every scenario with the switches off."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vmemu.bugs import known
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.schedule import Schedule, format_schedule
from vmemu.lab.explore.search import Budget, explore
from vmemu.lab.explore.shrink import Shrinker
from vmemu.lab.explore.strategies import make
from vmemu.lab.zoo.case import Case

#: Executions for each case, and for each with the switch off.
BUDGET = 10_000
#: Seed of every strategy: the table comes out the same each time.
SEED = 1
#: A shrunk schedule of so many decisions is one that people can follow.
SHORT = 15
#: Told after each execution: what is run ("B03 apf-no-eoi"), how many there were.
Progress = Callable[[str, int], None]


@dataclass
class Row:
    """What came of one case. `invariant`: the first violation's, empty when nothing was found. `expected`: it is one of the case's.

    `executions` until then (or the whole budget). `schedule`: the shrunk one; `found_length`: deviations before shrinking.
    """

    bug: str
    sheets: tuple[str, ...]
    scenario: str
    executions: int = 0
    seconds: float = 0.0
    invariant: str = ""
    text: str = ""
    expected: bool = False
    found_length: int = 0
    schedule: Schedule = ()
    shrinking: float = 0.0

    @property
    def found(self) -> bool:
        return self.expected

    @property
    def length(self) -> int:
        return len(self.schedule)

    def to_json(self) -> dict[str, Any]:
        return {
            "bug": self.bug, "sheets": list(self.sheets), "scenario": self.scenario, "found": self.found, "invariant": self.invariant,
            "text": self.text, "executions": self.executions, "seconds": round(self.seconds, 3), "found_length": self.found_length,
            "length": self.length, "schedule": format_schedule(self.schedule), "shrinking_seconds": round(self.shrinking, 3),
        }  # fmt: skip


@dataclass
class Quiet:
    """One scenario without its bug: `invariant` is empty when nothing was found, as it should be."""

    scenario: str
    also: tuple[str, ...]
    executions: int = 0
    seconds: float = 0.0
    invariant: str = ""
    text: str = ""
    schedule: Schedule = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario, "bugs": list(self.also), "executions": self.executions, "seconds": round(self.seconds, 3),
            "invariant": self.invariant, "text": self.text, "schedule": format_schedule(self.schedule),
        }  # fmt: skip


@dataclass
class Table:
    """All rows, and the pass with the switches off."""

    rows: list[Row] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)

    @property
    def escaped(self) -> list[Row]:
        return [row for row in self.rows if not row.found]

    @property
    def false_alarms(self) -> list[Quiet]:
        return [quiet for quiet in self.quiet if quiet.invariant]

    def to_json(self) -> dict[str, Any]:
        return {"seed": SEED, "bugs": [row.to_json() for row in self.rows], "off": [quiet.to_json() for quiet in self.quiet]}

    def summary(self) -> str:
        """The figures that count, in a line or two."""
        lines = []
        if self.rows:
            found = [row for row in self.rows if row.found]
            short = sum(row.length <= SHORT for row in found)
            middle = statistics.median(row.executions for row in found) if found else 0
            most = max((row.executions for row in found), default=0)
            lines.append(
                f"{len(found)} of {len(self.rows)} bugs found, {middle:g} executions in the median, {most} at most; "
                f"{short} schedules of {SHORT} decisions or fewer; {sum(row.executions for row in self.rows)} executions in "
                f"{sum(row.seconds for row in self.rows):.0f} s"
            )
        if self.quiet:
            lines.append(
                f"switches off: {len(self.false_alarms)} false alarms in {sum(q.executions for q in self.quiet)} executions of "
                f"{len(self.quiet)} scenarios, {sum(q.seconds for q in self.quiet):.0f} s"
            )
        return "\n".join(lines)

    def markdown(self) -> str:
        """For the documents."""
        lines = ["| bug | sheet | scenario | found by | executions | decisions |", "|---|---|---|---|---|---|"]
        lines += [
            f"| `{row.bug}` | {' '.join(row.sheets)} | {row.scenario} | {row.invariant if row.found else 'escaped'} | {row.executions} | "
            f"{row.length if row.found else ''} |"
            for row in self.rows
        ]
        return "\n".join([*lines, "", self.summary(), ""])


def run(cases: Sequence[Case], budget: int, off_budget: int, *, jobs: int = 1, progress: Progress = lambda what, count: None,
        asked_to_stop: Callable[[], bool] = lambda: False) -> Table:
    """The whole table. budget, off_budget: executions for each case with its switch on and off; 0 leaves a pass out."""
    bugs, table = known(), Table()
    for case in cases if budget else ():
        if not asked_to_stop():
            table.rows.append(hunt(case, bugs[case.bug].sheets, budget, jobs, progress, asked_to_stop))
    for case, shared_by in once_each(cases) if off_budget else ():
        if not asked_to_stop():
            table.quiet.append(watch(case, off_budget * shared_by, jobs, progress, asked_to_stop))
    return table


def hunt(case: Case, sheets: tuple[str, ...], budget: int, jobs: int = 1, progress: Progress = lambda what, count: None,
         asked_to_stop: Callable[[], bool] = lambda: False) -> Row:
    """Look for one bug. Raises ConfigError for a scenario that cannot be run."""
    row = Row(case.bug, sheets, case.scenario.name)
    bugs = (case.bug, *case.also)
    report = explore(case.scenario, make(case.strategy, SEED), Budget(executions=budget), bugs=bugs, jobs=jobs,
                     progress=lambda count, seconds: progress(case.bug, count), asked_to_stop=asked_to_stop)  # fmt: skip
    row.executions, row.seconds = report.executions, report.seconds
    if report.found is None:
        return row
    violation = report.found.violations[0]
    row.invariant, row.text = violation.invariant, violation.text
    row.expected = violation.invariant in case.invariants
    row.found_length = len(report.found.made)
    started = time.monotonic()
    row.schedule = shrunk(case, bugs, report.found)
    row.shrinking = time.monotonic() - started
    return row


def shrunk(case: Case, bugs: tuple[str, ...], found: Execution) -> Schedule:
    """The shortest schedule that violates the same invariant."""
    explorer = Explorer(case.scenario, bugs)
    try:
        return Shrinker(explorer.run, found.invariants[0]).shrink(found.made)
    finally:
        explorer.close()


def watch(case: Case, budget: int, jobs: int = 1, progress: Progress = lambda what, count: None,
          asked_to_stop: Callable[[], bool] = lambda: False) -> Quiet:
    """The same scenario with the switch off: nothing may be found."""
    quiet = Quiet(case.scenario.name, case.also)
    report = explore(case.scenario, make(case.strategy, SEED), Budget(executions=budget), bugs=case.also, jobs=jobs,
                     progress=lambda count, seconds: progress(f"off: {quiet.scenario}", count), asked_to_stop=asked_to_stop)  # fmt: skip
    quiet.executions, quiet.seconds = report.executions, report.seconds
    if report.found is not None:
        violation = report.found.violations[0]
        quiet.invariant, quiet.text, quiet.schedule = violation.invariant, violation.text, report.found.made
    return quiet


def once_each(cases: Iterable[Case]) -> Iterator[tuple[Case, int]]:
    """Each scenario (with the switches that are on in both passes) once, and how many cases share it."""
    groups: dict[tuple[str, tuple[str, ...], str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.scenario.name, case.also, case.strategy), []).append(case)
    for group in groups.values():
        yield group[0], len(group)
