# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu replay``: run a recorded run again, to its end or to a point in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from vmemu.cli import trace as trace_option
from vmemu.cli.output import duration, say
from vmemu.cli.status import StatusLine
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Replay

DIFFERS = 5
EPILOG = """\b
Examples:
  vmemu boot tasks --smp 4 --seed 7 --record run.rec
  vmemu replay run.rec
  vmemu replay run.rec --trace run.pftrace
  vmemu replay run.rec --to 20000000
  vmemu replay run.rec --to 1.5ms
  vmemu replay run.rec --to syscall:12
  vmemu replay run.rec --to "output:task 3"

\b
Exit status: 0 the replay is the recorded run, or --to was reached; 2 the file cannot be used; 5 the replay differs.
"""


@click.command(epilog=EPILOG)
@click.argument("file")
@click.option("--to", "target", metavar="INSN|TIME|EVENT", help="Stop there and say where that is.")
@click.option("--trace", metavar="FILE", help=trace_option.HELP)
def replay(file: str, target: str | None, trace: str | None) -> int:
    """Run the run recorded in FILE again and compare it with what was recorded."""
    from vmemu.machine.recording import Replay
    from vmemu.machine.target import parse_target

    trace_option.check(trace)
    if trace is not None and target is not None:
        raise ConfigError("--trace shows the whole run: leave --to out")
    until = None if target is None else parse_target(target, "--to")
    line = StatusLine("replay")
    run = Replay(file, console=line.guest_output if until is None else None)
    try:
        return _whole(run, line, trace) if until is None else _part(run, until, str(target))
    finally:
        run.machine.close()


def _whole(run: Replay, line: StatusLine, trace: str | None) -> int:
    with trace_option.tracing(run.machine, trace) as tracer:
        result = run.run(line.progress)
    line.clear()
    if run.difference is not None:
        say(f"the replay differs from the recording {run.difference}")
        return DIFFERS
    result = trace_option.with_failure(result, tracer)
    if tracer is not None and tracer.failure is not None:
        say(result.reason)
        return result.status
    say(f"same run: {result.reason}; {result.instructions} instructions, {duration(result.virtual_ns)} virtual, "
        f"state {result.state_hash[:16]}")
    return 0


def _part(run: Replay, until: Callable[[Machine], bool] | int, text: str) -> int:
    from vmemu.machine.journal import Missed
    from vmemu.machine.timeline import first_instant

    machine = run.machine
    try:
        if isinstance(until, int):
            end = machine.run_to(until)
        else:
            run.quiet()
            end = first_instant(machine, until)
    except Missed as error:
        say(f"the replay differs from the recording {error}")
        return DIFFERS
    if end is not None:
        raise ConfigError(f"--to {text}: the run ends before, after {machine.insns} instructions: {end[1]}")
    output = bytes(machine.console.output)  # what the guest had written by then, and not what it wrote later
    click.echo(output + (b"" if not output or output.endswith(b"\n") else b"\n"), nl=False)
    click.echo(where(machine))
    return 0


def where(machine: Machine) -> str:
    """The present instant for people: index, time, and each vCPU's general registers."""
    lines = [f"instruction {machine.insns}, {duration(machine.instant())} virtual"]
    for vcpu in machine.vcpus:
        state = "halted" if vcpu.halted else "running" if vcpu.online else "offline"
        lines.append(f"vCPU {vcpu.id} {state}: pc {vcpu.pc:#x}, {vcpu.insns} instructions, {vcpu.cycles // 64} cycles")
        if not vcpu.online:
            continue
        words = [f"{r.name:>6} {vcpu.get(r.name):016x}" for r in machine.core.isa.registers if r.group == "general" and r.bits == 64]
        lines += ["  " + "  ".join(words[i : i + 4]) for i in range(0, len(words), 4)]
    return "\n".join(lines)
