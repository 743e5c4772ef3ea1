# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu bugs``: the known bugs that --bug switches on."""

from __future__ import annotations

import click

from vmemu.bugs import known
from vmemu.cli.output import print_json, print_table


@click.command(epilog="\b\nExamples:\n  vmemu bugs\n  vmemu boot usertests --bug fork-no-flush\n  vmemu boot storm --apf kvm --bug B03")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def bugs(as_json: bool) -> int:
    """List the known bugs, who implements each, and what goes wrong."""
    found = [bug for _, bug in sorted(known().items())]
    if as_json:
        print_json([bug.to_json() for bug in found])
    else:
        print_table(("bug", "sheet", "owner", "what goes wrong"), [(b.id, b.sheet, b.owner, b.text) for b in found])
    return 0
