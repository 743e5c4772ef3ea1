# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu explore``: run a scenario under ever other decisions until a model objects."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from vmemu.cli import trace as trace_option
from vmemu.cli.boot import INTERRUPTED, Interrupt
from vmemu.cli.output import check_place, count, duration, print_table, report_file, say
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.lab.explore.execution import Execution
    from vmemu.lab.explore.scenario import Scenario
    from vmemu.lab.explore.schedule import Schedule
    from vmemu.lab.explore.search import Report
    from vmemu.machine.machine import Machine

VIOLATED = 1
#: Options that name files for what was found.
_FILES = ("as-pytest", "record", "trace")
STRATEGIES = ("random", "pct", "exhaustive", "portfolio")

EPILOG = """\b
Examples:
  vmemu explore --list
  vmemu explore smallest-x86_64 --strategy exhaustive --budget 1000
  vmemu explore storm-arm64 --strategy portfolio --budget 5m --jobs 2
  vmemu explore storm-x86_64 --bug apf-wake-one --as-pytest test_wake_one.py
  vmemu explore storm-x86_64 --bug apf-wake-one --schedule act#12,step#4 --record run.rec
  vmemu explore my_scenarios.py:two-cpus --budget 30s

\b
Exit status: 0 nothing was found, 1 something was violated, 2 usage, 5 host failure, 130 interrupted.
"""


class Line:
    """A line on a terminal that is written over; silence elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._next = 0.0

    def show(self, text: Callable[[], str]) -> None:
        if self._live and (now := time.monotonic()) >= self._next:
            self._next = now + 0.2
            click.echo(f"\r\x1b[K{text()[:100]}", nl=False, err=True)

    def clear(self) -> None:
        if self._live and self._next:
            click.echo("\r\x1b[K", nl=False, err=True)


@click.command(epilog=EPILOG)
@click.argument("scenario", required=False, metavar="SCENARIO|FILE.py[:NAME]")
@click.option("--list", "listing", is_flag=True, help="Show the built-in scenarios and what they may do.")
@click.option("--strategy", type=click.Choice(STRATEGIES), default="portfolio", show_default=True,
              help="Which executions are tried: docs/exploring.md.")
@click.option("--budget", default="10000", show_default=True, metavar="N|TIME", help="Executions, or a time: 30s, 5m, 1h.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N",
              help="Processes. What is found does not depend on it.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, metavar="N", help="Of random and pct.")
@click.option("--bug", "bugs", multiple=True, metavar="NAME", help="Switch on a known bug (vmemu bugs). Repeatable.")
@click.option("--schedule", metavar="STRING", help="Run this one schedule and tell its story.")
@click.option("--no-shrink", is_flag=True, help="Show what was found as it was found.")
@click.option("--json", "json_path", metavar="FILE", help="Write the report to FILE; - is stdout.")
@click.option("--as-pytest", metavar="FILE", help="Write what was found as a test that fails as long as it is there.")
@click.option("--record", metavar="FILE", help="Record what was found, for vmemu replay and vmemu debug.")
@click.option("--trace", metavar="FILE", help=trace_option.HELP)
@click.option("--lines", type=click.IntRange(0), default=60, show_default=True, metavar="N", help="Length of the story.")
def explore(scenario: str | None, listing: bool, strategy: str, budget: str, jobs: int, seed: int, bugs: tuple[str, ...],
            schedule: str | None, no_shrink: bool, json_path: str | None, **outputs: Any) -> int:
    """Run SCENARIO again and again, each time under other decisions, until a model finds a rule broken."""
    from vmemu.bugs import resolve
    from vmemu.lab.explore import scenario as scenarios
    from vmemu.lab.explore import strategies
    from vmemu.lab.explore.search import Budget
    from vmemu.lab.explore.search import explore as search

    if listing:
        return _list()
    if scenario is None:
        raise click.UsageError("which SCENARIO? `vmemu explore --list` shows those that are built in")
    found = scenarios.find(scenario)
    limit = Budget.parse(budget)
    chosen = strategies.make(strategy, seed)
    switched = tuple(bug.id for bug in resolve(bugs))
    trace_option.check(outputs["trace"])
    for option in _FILES:
        check_place(outputs[option.replace("-", "_")], f"--{option}")
    if schedule is not None:
        return _show(found, schedule, switched, outputs)
    with report_file(json_path) as file:
        line, interrupt = Line(), Interrupt()
        with interrupt.installed():
            report = search(
                found, chosen, limit, bugs=switched, jobs=jobs, asked_to_stop=lambda: interrupt.asked,
                progress=lambda n, s: line.show(lambda: f"{found.name}: {count(n)} executions, {n / max(s, 1e-9):.0f} a second"),
            )  # fmt: skip
        line.clear()
        best = report.found if no_shrink or report.found is None else _shrunk(found, switched, report.found)
        if file is not None:
            file.write(json.dumps(_json(report, best), indent=2) + "\n")
            file.flush()
    quiet = json_path == "-"
    if not quiet:
        _print(report)
    if best is None:
        if missing := [f"--{option}" for option in _FILES if outputs[option.replace("-", "_")] is not None]:
            say(f"nothing was found, so {' and '.join(missing)} {'has' if len(missing) == 1 else 'have'} nothing to write")
        return INTERRUPTED if report.ended == "interrupted" else 0
    _show(found, best.schedule, switched, outputs, quiet)
    return VIOLATED


def _list() -> int:
    from vmemu.lab.explore import scenario as scenarios
    from vmemu.lab.explore.actions import ACTIONS

    print_table(("scenario", "text"), [(s.name, s.text) for s in sorted(scenarios.known().values(), key=lambda s: s.name)])
    if sys.stdout.isatty():
        click.echo()
        print_table(("action", "text"), [(a.name, a.text) for a in ACTIONS.values()])
    return 0


def _print(report: Report) -> None:
    rate = report.executions / max(report.seconds, 1e-9)
    click.echo(f"{report.scenario}: {report.executions} executions in {duration(report.seconds * 1e9)}, {rate:.0f} a second, "
               f"strategy {report.strategy}: {_ENDED[report.ended]}")
    for text in (report.progress, *report.coverage.lines()):
        if text:
            click.echo(f"  {text}")


_ENDED = {
    "violation": "a rule was broken", "exhausted": "everything was tried, nothing was found", "budget": "nothing was found",
    "interrupted": "interrupted, nothing was found so far",
}  # fmt: skip


def _json(report: Report, best: Execution | None) -> dict[str, Any]:
    plain = report.to_json()
    if best is not None:
        plain["shrunk"] = {"schedule": best.schedule, "length": len(best.made), "invariants": list(best.invariants)}
    return plain


def _shrunk(scenario: Scenario, bugs: tuple[str, ...], found: Execution) -> Execution:
    from vmemu.lab.explore.execution import Explorer
    from vmemu.lab.explore.shrink import Shrinker

    explorer, line = Explorer(scenario, bugs), Line()

    def progress(tried: int, best: Schedule) -> None:
        line.show(lambda: f"shrinking: {_deviations(len(best))}, {tried} executions")

    try:
        shrinker = Shrinker(explorer.run, found.violations[0].invariant, progress=progress)
        best = explorer.run(shrinker.shrink(found.made))
    finally:
        line.clear()
        explorer.close()
    say(f"shrunk from {_deviations(len(found.made))} to {len(best.made)} in {shrinker.tried} executions")
    return best


def _show(scenario: Scenario, schedule: str, bugs: tuple[str, ...], outputs: dict[str, Any], quiet: bool = False) -> int:
    """Run one schedule, tell its story, and write the files that were asked for."""
    from vmemu.lab.explore import as_pytest
    from vmemu.lab.explore.replay import replay
    from vmemu.lab.explore.schedule import parse_schedule

    trace = outputs["trace"]

    def tracing(machine: Machine) -> AbstractContextManager[Any]:
        return trace_option.tracing(machine, trace)

    replayed = replay(scenario, schedule, bugs=bugs, record=outputs["record"], tracing=None if trace is None else tracing)
    execution = replayed.execution
    command = _command(scenario, execution.schedule, bugs)
    if not quiet:
        for text in replayed.lines(outputs["lines"]):
            click.echo(text)
        for violation in execution.violations:
            click.echo(f"violated: {violation}")
        if not execution.violations:
            click.echo(f"nothing was violated: {execution.reason} after {execution.insns} instructions, {duration(execution.ns)}")
    if vanished := [str(d) for d in parse_schedule(schedule) if d not in execution.made]:
        say(f"no such decision or option was met, so all went on as usual there: {', '.join(vanished)}")
    if execution.violations:
        say(f"{_deviations(len(execution.made))}; reproduce with {command}")
    if outputs["as_pytest"] is not None:
        if not execution.violations:
            raise ConfigError("--as-pytest: this schedule violates nothing")
        as_pytest.write(outputs["as_pytest"], as_pytest.test_file(scenario, bugs, execution, command))
    return VIOLATED if execution.violations else 0


def _deviations(number: int) -> str:
    return f"{number} deviation{'s' if number != 1 else ''}"


def _command(scenario: Scenario, schedule: str, bugs: tuple[str, ...]) -> str:
    where = f"{scenario.source}:{scenario.name}" if scenario.source else scenario.name
    return shlex.join(["vmemu", "explore", where, *(word for bug in bugs for word in ("--bug", bug)), "--schedule", schedule])
