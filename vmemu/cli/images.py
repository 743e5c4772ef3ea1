# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu images``: what comes with vmemu."""

from __future__ import annotations

import click

from vmemu.cli.output import print_json, print_table


@click.command(epilog="\b\nExamples:\n  vmemu images\n  vmemu images --json | jq -r '.[].path'\n  vmemu images --check")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with sizes, checksums and paths.")
@click.option("--check", is_flag=True, help="Read every file and compare it with the manifest.")
def images(as_json: bool, check: bool) -> int:
    """List the built-in images. Those of kind program and bare can be booted by name."""
    from vmemu.machine.images import catalogue

    found = catalogue()
    if check:
        for image in found:
            image.read()
    if as_json:
        print_json([image.to_json() for image in found])
    else:
        print_table(
            ("name", "architecture", "kind", "bytes", "what it does"),
            [(i.name, i.isa, i.kind, str(i.size), i.description) for i in found],
        )
    return 0
