# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu debug``: a guest under the debugger's shell."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from vmemu.cli.options import given, machine_options
from vmemu.cli.output import say
from vmemu.errors import ConfigError, VmemuError

if TYPE_CHECKING:
    from vmemu.debug.session import Session
    from vmemu.debug.shell import Debugger

INTERRUPTED, FAILED = 130, 5

EPILOG = """\b
Examples:
  vmemu debug storm --isa arm64 --apf sdei --resident 8M --latency nvme
  vmemu debug walk -c "break vm_fault" -c continue -c where -c "print cpus[0].task->pid"
  vmemu debug tasks --smp 4 --script look.vmdbg > look.txt
  vmemu debug --replay run.rec -c "until output:PASS" -c "back event fault"

\b
Exit status of -c, --script and piped commands:
  0    every command was done, and the guest has not failed
  1    a command could not be done: the line on stderr says which and why
  2    usage: an option, a command or a file that does not exist
  5    the host's own code has failed (see `help retry`)
  else the guest's own, as `vmemu boot` has it, when a command ran it to its end
"""


@click.command(epilog=EPILOG)
@click.argument("image", required=False)
@machine_options
@click.option("--replay", metavar="FILE", help="Debug the run recorded in FILE.")
@click.option("--restore", metavar="FILE", help="Begin with the machine saved in FILE.")
@click.option("--record", metavar="FILE", help="Record the session, with what was done to the guest, for vmemu replay.")
@click.option("--script", "scripts", multiple=True, metavar="FILE", help="Do the commands in FILE. Repeatable; before -c.")
@click.option("-c", "--command", "commands", multiple=True, metavar="COMMAND", help="Do COMMAND. Repeatable.")
@click.option("--gdb", metavar="PORT|HOST:PORT|unix:PATH", help="Let gdb connect there, instead of the prompt; PORT is on 127.0.0.1.")
@click.option("-i", "--interactive", is_flag=True, help="Go on at the prompt after --script and -c.")
@click.pass_context
def debug(
    context: click.Context, /, image: str | None, replay: str | None, restore: str | None, record: str | None, scripts: tuple[str, ...],
    commands: tuple[str, ...], gdb: str | None, interactive: bool, **options: Any,
) -> int:
    """Boot IMAGE under the debugger: stop it, look at it, step it, take it back.

    Nothing has run when the prompt appears: `continue` starts the guest. `help` lists the commands.
    """
    from vmemu.debug.session import Session
    from vmemu.debug.shell import Debugger, load_commands

    session = _session(context, image, replay, restore, record, options, Session)
    try:
        load_commands()
        debugger = Debugger(session, sys.stdout, colour=sys.stdout.isatty())
        for text in debugger.symbols.problems:
            say(text)
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        piped = not on_terminal and gdb is None
        status = _batch(debugger, scripts, commands) if scripts or commands or piped else 0
        if gdb is not None:
            if not status and not debugger.done:
                status = _serve(session, gdb)
        elif on_terminal and not debugger.done and not status and (interactive or not (scripts or commands)):
            from vmemu.debug.shell.terminal import interact  # late: only a prompt needs cmd2

            interact(debugger)
        if record is not None and session.recorder is not None:
            session.recorder.write(record, session.finish())
        return status
    finally:
        session.machine.close()


def _session(
    context: click.Context, image: str | None, replay: str | None, restore: str | None, record: str | None, options: dict[str, Any],
    make: type[Session],
) -> Session:
    """The machine that is asked for, under the debugger."""
    from vmemu.machine import disk
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Recorder, Replay

    def console(data: bytes) -> None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    changed = given(context, options)
    if [image, replay, restore].count(None) == 3:
        raise click.UsageError("Missing argument 'IMAGE', --replay FILE or --restore FILE.", context)
    if replay is not None:
        if image is not None or changed or restore is not None or record is not None:
            raise ConfigError("--replay has image and options in its file: give none")
        run = Replay(replay, console)
        run.quiet()
        return make(run.machine)
    if restore is not None:
        if record is not None:
            raise ConfigError("--record starts where the machine is booted, not at a snapshot")
        return make(disk.load(restore, image, changed.pop("isa", None), console=console, **changed))
    assert image is not None
    machine = Machine.boot(image, console=console, **options)
    return make(machine, None if record is None else Recorder(machine))


def _serve(session: Session, where: str) -> int:
    """gdb drives. The exit status: 0 when it killed the machine, else it was Ctrl-C."""
    from vmemu.debug.gdb import serve

    return 0 if serve(session, where, say) else INTERRUPTED


def _batch(debugger: Debugger, scripts: tuple[str, ...], commands: tuple[str, ...]) -> int:
    """Scripts, then commands, else what is piped in; up to the first that fails. The exit status."""
    from vmemu.debug.shell.help import run_script

    try:
        for path in scripts:
            run_script(debugger, path)
        for line in commands if scripts or commands else sys.stdin:
            if debugger.done:
                break
            debugger.execute(line)
    except VmemuError as error:
        sys.stdout.flush()
        say(debugger.at + " ".join(str(error).split()))
        return error.status
    except KeyboardInterrupt:
        return INTERRUPTED
    stop = debugger.stop
    if stop is not None and stop.kind == "error":
        return FAILED
    return 0 if stop is None or stop.status is None else stop.status[0]
