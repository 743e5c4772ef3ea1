# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu zoo``: is every known bug found, and nothing where there is none?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from vmemu.cli.boot import INTERRUPTED, Interrupt
from vmemu.cli.explore import Line
from vmemu.cli.output import count, duration, open_output, print_table, say
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.lab.zoo.case import Case
    from vmemu.lab.zoo.runner import Table

ESCAPED = 1

EPILOG = """\b
Examples:
  vmemu zoo
  vmemu zoo --only B01 --only apf-no-eoi
  vmemu zoo --budget 2000 --jobs 2 --json zoo.json
  vmemu zoo --markdown table.md

\b
Exit status: 0 every bug was found by what should find it, and nothing else; 1 a bug escaped, or a false alarm; 2 usage;
5 host failure; 130 interrupted.
"""


@click.command(epilog=EPILOG)
@click.option("--only", multiple=True, metavar="NAME", help="This bug (vmemu bugs) or sheet number only. Repeatable.")
@click.option("--budget", type=click.IntRange(1), default=10_000, show_default=True, metavar="N", help="Executions for each bug.")
@click.option("--off-budget", type=click.IntRange(0), metavar="N",
              help="Executions for each bug with its switch off; as --budget unless given, 0 leaves that pass out.")
@click.option("--clean", is_flag=True, help="Only the pass with the switches off.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N",
              help="Processes. The table does not depend on it.")
@click.option("--json", "json_path", metavar="FILE", help="Write the table to FILE; - is stdout.")
@click.option("--markdown", metavar="FILE", help="The same as Markdown.")
def zoo(only: tuple[str, ...], budget: int, off_budget: int | None, clean: bool, jobs: int, json_path: str | None,
        markdown: str | None) -> int:
    """Look for every known bug with its switch on, and for anything at all with the switches off."""
    from vmemu.lab.zoo.runner import run

    cases = _chosen(only)
    files = [(None if path is None else open_output(path, option)) for path, option in ((json_path, "--json"), (markdown, "--markdown"))]
    line, interrupt = Line(), Interrupt()
    with interrupt.installed():
        table = run(
            cases, 0 if clean else budget, budget if off_budget is None else off_budget, jobs=jobs,
            progress=lambda what, n: line.show(lambda: f"{what}: {count(n)} executions"), asked_to_stop=lambda: interrupt.asked,
        )  # fmt: skip
    line.clear()
    for file, text in zip(files, (json.dumps(table.to_json(), indent=2) + "\n", table.markdown()), strict=True):
        if file is not None:
            file.write(text)
            file.flush() if file is sys.stdout else file.close()
    if sys.stdout not in files:
        _print(table)
    for row in table.escaped:
        say(f"{row.bug} escaped" + (f": what was found first is {row.invariant}: {row.text}" if row.invariant else ""))
    for quiet in table.false_alarms:
        say(f"false alarm: scenario {quiet.scenario}: {quiet.invariant}: {quiet.text}")
    if interrupt.asked:
        return INTERRUPTED
    return ESCAPED if table.escaped or table.false_alarms else 0


def _chosen(names: tuple[str, ...]) -> list[Case]:
    from vmemu.bugs import canonical, known
    from vmemu.lab.zoo import CASES, OUTSIDE

    if not names:
        return [CASES[bug] for bug in sorted(known()) if bug in CASES]
    bugs = canonical(names)
    if bad := [bug for bug in bugs if bug not in CASES]:
        raise ConfigError(f"--only: {bad[0]} has no case: {OUTSIDE.get(bad[0], 'nobody has said why')}")
    return [CASES[bug] for bug in bugs]


def _print(table: Table) -> None:
    rows = [
        (row.bug, " ".join(row.sheets), "found" if row.found else "ESCAPED", row.invariant, str(row.executions),
         str(row.length) if row.found else "", duration(row.seconds * 1e9))
        for row in table.rows
    ]  # fmt: skip
    print_table(("bug", "sheet", "", "by", "executions", "decisions", "time"), rows)
    click.echo(table.summary())
