# SPDX-License-Identifier: GPL-2.0-or-later
"""``vmemu bench``: measurements, each beside a reference measured in the same run. A new one is a new command here."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import click

from vmemu.cli.output import open_output
from vmemu.errors import ConfigError

ISAS = ("x86_64", "arm64", "ppc64")


@click.group()
def bench() -> None:
    """Measure vmemu against references measured in the same run."""


def _lab(module: str) -> Any:
    try:
        return importlib.import_module(f"vmemu.lab.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"vmemu.lab.{module}":
            raise
        raise ConfigError(f"this build of vmemu has no {module}") from None


def _report(json_path: str | None, measure: Callable[[], Any]) -> int:
    """Measure, write --json (opened before, so that no run is lost to a typing error), and say whether all goals are held."""
    report = None if json_path is None else open_output(json_path, "--json")
    result = measure()
    if report is not None:
        report.write(json.dumps(result.to_json(), indent=2) + "\n")
        report.flush()
    return 0 if result.ok else 1


EPILOG = "\b\nExamples:\n  vmemu bench engine\n  vmemu bench engine --isa arm64 --repeat 5 --json engine.json"


@bench.command(epilog=EPILOG)
@click.option("--isa", "isas", multiple=True, type=click.Choice(("x86_64", "arm64", "ppc64")),
              help="Only this architecture. Repeatable.")
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N",
              help="Best of N measurements.")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE; - is stdout.")
def engine(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """Free run, refill, synchronous fault and token operations, against bare Unicorn and QEMU where installed.

    Exit status 1 when a goal is missed.
    """
    return _report(json_path, lambda: _lab("bench").engine(isas=isas or ("x86_64", "arm64", "ppc64"), repeat=repeat, echo=click.echo))


def _travel(function: str, isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    return _report(json_path, lambda: getattr(_lab("bench.travel"), function)(isas or ISAS, repeat, click.echo))


def _options(command: Callable[..., int]) -> Callable[..., int]:
    """--isa, --repeat and --json, as `engine` has them."""
    for option in (
        click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE; - is stdout."),
        click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N",
                     help="Scale of the measurement."),
        click.option("--isa", "isas", multiple=True, type=click.Choice(ISAS), help="Only this architecture. Repeatable."),
    ):
        command = option(command)
    return command


@bench.command()
@_options
def step(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """One instruction forwards, one backwards, and a seek to anywhere."""
    return _travel("step", isas, repeat, json_path)


@bench.command()
@_options
def snapshot(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """Save and restore in memory with 256 dirty pages. Exit status 1 when the goal is missed."""
    return _travel("snapshots", isas, repeat, json_path)


@bench.command()
@_options
def debug(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """The debugger: attached and idle, an untouched watch, back across 100 M instructions. Exit status 1 when a goal is missed."""
    return _report(json_path, lambda: _lab("bench.debug").measure(isas or ISAS, repeat, click.echo))


@bench.command()
@_options
def reset(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """Executions a second of the smallest scenario, reset in place. Exit status 1 when the goal is missed."""
    return _travel("resets", isas, repeat, json_path)


@bench.command()
@_options
def explore(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """Executions of the explorer a second, with models watching. Exit status 1 when the goal is missed."""
    return _report(json_path, lambda: _lab("bench.explore").measure(isas or ISAS, repeat, click.echo))


@bench.command()
@_options
def fault(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """Host work of one fault: halted, and as a full asynchronous round trip. Exit status 1 when the goal is missed."""
    return _report(json_path, lambda: _lab("bench.fault").measure(isas or ISAS, repeat, click.echo))


@bench.command()
@_options
def rules(isas: tuple[str, ...], repeat: int, json_path: str | None) -> int:
    """An example of a rule-based test: our part, and Hypothesis's own. Exit status 1 when ours is more."""
    return _report(json_path, lambda: _lab("bench.rules").measure(isas or ISAS, repeat, click.echo))


@bench.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N", help="Best of N measurements.")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE; - is stdout.")
def nx(repeat: int, json_path: str | None) -> int:
    """The gzip engine: host MB/s, faults handled a second, virtual time of faulting. Exit status 1 when a goal is missed."""
    return _report(json_path, lambda: _lab("bench.nx").measure(repeat, click.echo))


@bench.command()
@click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True, metavar="N", help="Best of N measurements.")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE; - is stdout.")
def tce(repeat: int, json_path: str | None) -> int:
    """A TCE hypercall at each level, and a network card behind it. Exit status 1 when a goal is missed."""
    return _report(json_path, lambda: _lab("bench.tce").measure(repeat, click.echo))


@bench.command(epilog="\b\nExamples:\n  vmemu bench apf --isa x86_64\n  vmemu bench apf --sweep --isa ppc64 --picture apf.png")
@click.option("--isa", "isas", multiple=True, type=click.Choice(ISAS), help="Only this architecture. Repeatable.")
@click.option("--sweep", is_flag=True, help="Instead: the gain over latency, runnable tasks and fault rate. Minutes.")
@click.option("--picture", metavar="FILE", help="Draw the sweep as a PNG (needs matplotlib).")
@click.option("--json", "json_path", metavar="FILE", help="Write the figures to FILE; - is stdout.")
def apf(isas: tuple[str, ...], sweep: bool, picture: str | None, json_path: str | None) -> int:
    """Asynchronous page faults: the published experiments, and ours beside them. Exit status 1 when a goal is missed."""
    if sweep or picture is not None:
        return _report(json_path, lambda: _lab("bench.apf_sweep").measure(isas or ISAS, picture, click.echo, _progress("sweep")))
    return _report(json_path, lambda: _lab("bench.apf").measure(isas or ISAS, click.echo))


def _progress(what: str) -> Callable[[int, int], None]:
    """A line on a terminal that counts; silence elsewhere."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{what}: {done}/{total}" + ("\n" if done == total else ""), nl=False, err=True)

    return show
