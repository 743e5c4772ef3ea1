# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu boot``: run a guest to its end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from vmemu.cli import trace as trace_option
from vmemu.cli.options import given, machine_options
from vmemu.cli.output import count, duration, report_file, say
from vmemu.cli.status import StatusLine
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Recorder
    from vmemu.machine.result import RunResult

INTERRUPTED = 130  # 128 + SIGINT, as shells count

EPILOG = """\b
Examples:
  vmemu boot hello --isa arm64
  vmemu boot walk --isa ppc64 -m 64M --resident 8M --append "pages=8192 passes=2"
  vmemu boot walk --resident 8M --store file:swap --latency nvme --json run.json
  vmemu boot walk --resident 8M --latency nvme --trace walk.pftrace
  vmemu boot ./my-kernel.elf --pin 0-32M --max-cycles 1000000000
  vmemu boot usertests --store fail:read@0x300,ram: --resident 4M
  vmemu boot tasks --smp 4 --pct 3:42 --record run.rec
  vmemu boot tasks --snapshot half.snap --snapshot-at 20000000
  vmemu boot --restore half.snap
  vmemu boot storm --isa arm64 --apf sdei --resident 8M --latency nvme --control unix:vm.sock

\b
Exit status:
  0, 1  the guest's own (others appear in the JSON as guest_status)
  2     usage or input      3  stalled: nothing runnable, no event due
  4     limit reached       5  host or store failure
"""


class Interrupt:
    """Ctrl-C asks the run to end at its next stop: an exception inside a device's callback would be lost there."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:  # the second one does not wait
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.raise_signal(signal.SIGINT)
        self.asked = True

    def check(self) -> None:
        if self.asked:
            raise KeyboardInterrupt

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, self)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@click.command(epilog=EPILOG)
@click.argument("image", required=False)
@machine_options
@click.option("--record", metavar="FILE", help="Record the run, for vmemu replay.")
@click.option("--snapshot", metavar="FILE", help="Save the machine to FILE at the end of the run.")
@click.option("--snapshot-at", type=click.IntRange(min=0), metavar="INSN", help="Save it there instead, and run on.")
@click.option("--restore", metavar="FILE", help="Take up the machine saved in FILE. IMAGE, if given, must be its image.")
@click.option("--restore-mode", type=click.Choice(["exact", "kernel"]), default="exact", show_default=True,
              help="What --restore brings: everything, or only what a VMM can read from a kernel.")
@click.option("--control", metavar="unix:PATH", help="Listen there for commands of `vmemu ctl` while the run lasts.")
@click.option("--trace", metavar="FILE", help=trace_option.HELP)
@click.option("--json", "json_path", metavar="FILE", help="Write the run's counters to FILE; - is stdout.")
@click.pass_context
def boot(
    context: click.Context, /, image: str | None, json_path: str | None, record: str | None, snapshot: str | None,
    snapshot_at: int | None, restore: str | None, restore_mode: str, control: str | None, trace: str | None, **options: Any,
) -> int:
    """Boot IMAGE and run it to its end.

    IMAGE is a built-in name (see `vmemu images`) or the path of an ELF kernel. The guest's console is stdout.
    """
    from vmemu.machine import disk  # late: --help needs no engine
    from vmemu.machine.machine import Machine
    from vmemu.machine.recording import Recorder

    if snapshot_at is not None and snapshot is None:
        raise ConfigError("--snapshot-at says when: --snapshot FILE must say where")
    trace_option.check(trace)
    line = StatusLine(image or str(restore))
    if restore is not None:
        if record is not None:
            raise ConfigError("--record starts where the machine is booted, not at a snapshot")
        changed = given(context, options)
        machine = disk.load(restore, image, changed.pop("isa", None), console=line.guest_output, **changed)
        if restore_mode == "kernel":
            for facility in machine.facilities.values():
                facility.migrated()
    elif image is None:
        raise click.UsageError("Missing argument 'IMAGE', or --restore FILE.", context)
    else:
        machine = Machine.boot(image, console=line.guest_output, **options)
    if restore is None and restore_mode != "exact":
        raise ConfigError("--restore-mode is about --restore FILE")
    recorder = None if record is None else Recorder(machine)
    with report_file(json_path) as report, _listen(machine, control):
        return _run(machine, line, report, Outcome(recorder, record, snapshot, snapshot_at, trace))


@dataclass
class Outcome:
    """What a run leaves besides its report."""

    recorder: Recorder | None
    record: str | None
    snapshot: str | None
    snapshot_at: int | None
    trace: str | None

    def at(self) -> tuple[int, Callable[[Machine], None]] | None:
        """The stop for --snapshot-at."""
        return None if self.snapshot_at is None else (self.snapshot_at, self._save)

    def _save(self, machine: Machine) -> None:
        from vmemu.machine import disk

        assert self.snapshot is not None
        disk.save(machine, self.snapshot)
        self.snapshot = None

    def finish(self, machine: Machine, result: RunResult | None) -> None:
        """Write the files; `result` None after an interrupt."""
        if self.recorder is not None and self.record is not None:
            self.recorder.write(self.record, result)
        if self.snapshot is not None and self.snapshot_at is None:
            self._save(machine)
        elif self.snapshot is not None and result is not None:
            raise ConfigError(f"--snapshot-at {self.snapshot_at}: the run ended after {machine.insns} instructions")


@contextmanager
def _listen(machine: Machine, where: str | None) -> Iterator[None]:
    """--control, after the recorder: what it is told is recorded."""
    from vmemu.machine.control import Control

    if where is None:
        yield
        return
    control = Control(machine, where)
    try:
        yield
    finally:
        control.close()


def _run(machine: Machine, line: StatusLine, report: TextIO | None, outcome: Outcome) -> int:
    interrupt = Interrupt()

    def progress(running: Machine) -> None:
        interrupt.check()
        line.progress(running)

    try:
        with interrupt.installed(), trace_option.tracing(machine, outcome.trace) as tracer:
            result = machine.run(on_progress=progress, at=outcome.at())
        line.clear()
        result = trace_option.with_failure(result, tracer)
        outcome.finish(machine, result)
    except KeyboardInterrupt:
        line.clear()
        outcome.finish(machine, None)
        say(f"interrupted after {sum(v.insns for v in machine.vcpus)} instructions, {duration(machine.now())} virtual")
        return INTERRUPTED
    finally:
        machine.close()
    if report is not None:
        report.write(json.dumps(result.to_json(), indent=2) + "\n")
        report.flush()
    if result.status > 1 or (result.status == 1 and result.guest_status is None):
        say(result.reason)
    if result.status:
        _say_choices(result)
    for text in result.lines:
        say(text)
    if sys.stderr.isatty():
        say(_summary(result))
    return result.status


def _say_choices(result: RunResult) -> None:
    """How to see a failure again, where decisions had a part in it."""
    text = str(result.extra.get("choices", ""))
    if len(text) > 2:
        say(f"reproduce with --choices {text}" if len(text) <= 4000 else "reproduce with the choices in --json, or --record")


def _summary(result: RunResult) -> str:
    speed = result.instructions / max(result.wall_s, 1e-9) / 1e6
    return (
        f"status {result.status}, {result.isa}: {count(result.instructions)} instructions, "
        f"{duration(result.virtual_ns)} virtual, {result.resident_peak} pages at most, {result.swap_ins} in, "
        f"{result.swap_outs} out, {duration(result.wall_s * 1e9)} ({speed:.0f} MIPS)"
    )
