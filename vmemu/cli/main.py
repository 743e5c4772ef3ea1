# SPDX-License-Identifier: GPL-2.0-or-later
"""The vmemu command. Every error ends here, as one line and an exit status; a traceback is a bug of vmemu."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from vmemu import __version__
from vmemu.cli.bench import bench
from vmemu.cli.boot import INTERRUPTED, boot
from vmemu.cli.bugs import bugs
from vmemu.cli.ctl import ctl
from vmemu.cli.debug import debug
from vmemu.cli.explore import explore
from vmemu.cli.images import images
from vmemu.cli.output import say
from vmemu.cli.replay import replay
from vmemu.cli.shrink import shrink
from vmemu.cli.zoo import zoo
from vmemu.errors import VmemuError

USAGE = 2
INTERNAL = 5
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(context_settings=CONTEXT, epilog="Start with `vmemu images`, then `vmemu boot hello`.")
@click.version_option(__version__, prog_name="vmemu")
def cli() -> None:
    """A laboratory for asynchronous paging between hypervisor and guest."""


for command in (boot, debug, replay, explore, shrink, zoo, ctl, images, bugs, bench):
    cli.add_command(command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit status. Never raises but for a mistake in vmemu itself."""
    try:
        status = cli.main(args=arguments, prog_name="vmemu", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE
    except click.ClickException as error:
        command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "vmemu"
        say(f"{' '.join(error.format_message().split())} (see `{command} --help`)")
        return USAGE
    except VmemuError as error:
        say(" ".join(str(error).split()))
        return error.status
    except (click.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except OSError as error:
        say(f"host failure: {error}")
        return INTERNAL


def main() -> NoReturn:
    """Entry point of the console script."""
    try:
        status = run()
    except Exception:
        traceback.print_exc()
        say("this is a bug in vmemu; the lines above say where")
        status = INTERNAL
    sys.exit(status)
