# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu shrink``: make a schedule that violates a rule short."""

from __future__ import annotations

import click

from vmemu.cli.explore import VIOLATED, Line
from vmemu.cli.output import say


@click.command(epilog="\b\nExample:\n  vmemu shrink storm-x86_64 --bug apf-wake-one --schedule act#12,vcpu#3,step#4,latency#9=2")
@click.argument("scenario", metavar="SCENARIO|FILE.py[:NAME]")
@click.option("--schedule", required=True, metavar="STRING", help="A schedule that violates something.")
@click.option("--bug", "bugs", multiple=True, metavar="NAME", help="Switch on a known bug (vmemu bugs). Repeatable.")
@click.option("--invariant", metavar="NAME", help="The rule that must stay broken. Default: the first that the schedule breaks.")
def shrink(scenario: str, schedule: str, bugs: tuple[str, ...], invariant: str | None) -> int:
    """Make a schedule that violates a rule as short and plain as can be; print it. Exit status 1: it violates nothing."""
    from vmemu.bugs import resolve
    from vmemu.lab.explore import scenario as scenarios
    from vmemu.lab.explore.execution import Explorer
    from vmemu.lab.explore.schedule import format_schedule, parse_schedule
    from vmemu.lab.explore.shrink import Shrinker

    found = scenarios.find(scenario)
    plan = parse_schedule(schedule)
    explorer, line = Explorer(found, tuple(bug.id for bug in resolve(bugs))), Line()
    try:
        first = explorer.run(plan)
        rule = invariant or next(iter(first.invariants), None)
        if rule is None or rule not in first.invariants:
            say(f"the schedule violates {', '.join(first.invariants) or 'nothing'}: there is nothing to shrink")
            return VIOLATED
        shrinker = Shrinker(explorer.run, rule, progress=lambda n, s: line.show(lambda: f"{len(s)} deviations, {n} executions"))
        best = shrinker.shrink(first.made)
    finally:
        line.clear()
        explorer.close()
    say(f"{rule}: from {len(first.made)} deviations to {len(best)} in {shrinker.tried} executions")
    click.echo(format_schedule(best))
    return 0
