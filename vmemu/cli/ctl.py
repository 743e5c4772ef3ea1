# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu ctl``: give a running machine a command."""

from __future__ import annotations

import shlex

import click

from vmemu.cli.output import say

EPILOG = """\b
Examples:
  vmemu boot storm --isa arm64 --apf sdei --resident 8M --control unix:vm.sock &
  vmemu ctl unix:vm.sock status
  vmemu ctl unix:vm.sock apf get-control 0
  vmemu ctl unix:vm.sock apf set-control 0 0
  vmemu ctl unix:vm.sock apf state 0

\b
Exit status: 0 done; 1 the machine refused; 2 usage, or nobody listens.
"""


@click.command(epilog=EPILOG, context_settings={"ignore_unknown_options": True})
@click.argument("socket")
@click.argument("command", nargs=-1, required=True)
def ctl(socket: str, command: tuple[str, ...]) -> int:
    """Give COMMAND to the machine that runs with --control SOCKET, and print its reply."""
    from vmemu.machine.control import ask

    answer = ask(socket, shlex.join(command))
    if "error" in answer:
        say(str(answer["error"]))
        status = answer.get("status")
        return status if isinstance(status, int) else 1
    click.echo(answer["reply"])
    return 0
