# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu boot``: run a guest to its end."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

import click

from vmemu.cli.output import count, duration, open_output, say
from vmemu.cli.status import StatusLine
from vmemu.errors import VmemuError
from vmemu.memory.latency import PRESETS

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine
    from vmemu.machine.result import RunResult

ISAS = ("x86_64", "arm64", "ppc64")
INTERRUPTED = 130  # 128 + SIGINT, as shells count

EPILOG = """\b
Examples:
  vmemu boot hello --isa arm64
  vmemu boot walk --isa ppc64 -m 64M --resident 8M --append "pages=8192 passes=2"
  vmemu boot walk --resident 8M --store file:swap --latency nvme --json run.json
  vmemu boot ./my-kernel.elf --pin 0-32M --max-cycles 1000000000
  vmemu boot usertests --store fail:read@0x300,ram: --resident 4M

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
@click.argument("image")
@click.option("--isa", type=click.Choice(ISAS), help="Architecture. Default: the image's; x86_64 for a built-in name.")
@click.option("-m", "--memory", default="64M", show_default=True, metavar="SIZE", help="Guest memory, for example 1G.")
@click.option("--resident", metavar="SIZE", help="Most memory that may be resident at once. Default: all of it.")
@click.option("--store", default="ram:", show_default=True, metavar="STORE",
              help="Where pages go: ram:, file:PATH, or fail:read@PAGE,STORE.")
@click.option("--latency", default="none", show_default=True, metavar="NAME",
              help=f"Time of one page-in: {', '.join(PRESETS)}, or microseconds like 85us.")
@click.option("--append", default="", metavar="TEXT", help="The guest's command line.")
@click.option("--seed", default=0, show_default=True, metavar="N", help="Seed of all choices; 0: default policy.")
@click.option("--max-cycles", type=click.IntRange(min=1), metavar="N", help="Stop with status 4 after so many cycles.")
@click.option("--pin", multiple=True, metavar="LO-HI", help="Guest-physical range that is never paged out. Repeatable.")
@click.option("--bug", "bugs", multiple=True, metavar="NAME", help="Switch on a known bug (vmemu bugs). Repeatable.")
@click.option("--inject", multiple=True, metavar="EVENT:K:ACTION",
              help="Make the K-th event go wrong, as in store.read:3:fail. Repeatable.")
@click.option("--json", "json_path", metavar="FILE", help="Write the run's counters to FILE; - is stdout.")
def boot(image: str, json_path: str | None, **options: Any) -> int:
    """Boot IMAGE and run it to its end.

    IMAGE is a built-in name (see `vmemu images`) or the path of an ELF kernel. The guest's console is stdout.
    """
    from vmemu.machine.machine import Machine  # late: --help needs no engine

    line = StatusLine(f"{image}")
    machine = Machine.boot(image, console=line.guest_output, **options)
    with _report(json_path) as report:
        return _run(machine, line, report)


@contextmanager
def _report(path: str | None) -> Iterator[TextIO | None]:
    """The --json file: opened before the run, so that hours of it are not lost to a typing error."""
    if path is None:
        yield None
        return
    file = open_output(path, "--json")
    try:
        yield file
    finally:
        if file is not sys.stdout:
            try:
                file.close()
            except OSError as error:
                raise VmemuError(f"--json {path}: cannot write: {error.strerror}") from None


def _run(machine: Machine, line: StatusLine, report: TextIO | None) -> int:
    interrupt = Interrupt()

    def progress(running: Machine) -> None:
        interrupt.check()
        line.progress(running)

    try:
        with interrupt.installed():
            result = machine.run(on_progress=progress)
    except KeyboardInterrupt:
        line.clear()
        say(f"interrupted after {sum(v.insns for v in machine.vcpus)} instructions, {duration(machine.now())} virtual")
        return INTERRUPTED
    finally:
        machine.close()
    line.clear()
    if report is not None:
        report.write(json.dumps(result.to_json(), indent=2) + "\n")
        report.flush()
    if result.status > 1 or (result.status == 1 and result.guest_status is None):
        say(result.reason)
    if sys.stderr.isatty():
        say(_summary(result))
    return result.status


def _summary(result: RunResult) -> str:
    speed = result.instructions / max(result.wall_s, 1e-9) / 1e6
    return (
        f"status {result.status}, {result.isa}: {count(result.instructions)} instructions, "
        f"{duration(result.virtual_ns)} virtual, {result.resident_peak} pages at most, {result.swap_ins} in, "
        f"{result.swap_outs} out, {duration(result.wall_s * 1e9)} ({speed:.0f} MIPS)"
    )
