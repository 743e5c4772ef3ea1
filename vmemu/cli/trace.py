# SPDX-License-Identifier: GPL-2.0-or-later
"""``--trace FILE`` of the commands that run a machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from vmemu.cli.output import say

if TYPE_CHECKING:
    from vmemu.debug.trace import Tracer
    from vmemu.machine.machine import Machine
    from vmemu.machine.result import RunResult

HELP = "Write a trace: FILE.pftrace for ui.perfetto.dev, FILE.txt as ftrace's text."


def check(path: str | None) -> None:
    """Before the machine is made. Raises ConfigError for a name without a format."""
    from vmemu.debug.trace import check_path

    if path is not None:
        check_path(path)


@contextmanager
def tracing(machine: Machine, path: str | None) -> Iterator[Tracer | None]:
    """Trace what the machine does inside the block. Raises ConfigError when the file cannot be made."""
    from vmemu.debug.trace import Tracer

    if path is None:
        yield None
        return
    with Tracer(machine, path) as tracer:
        yield tracer
    if tracer.lost:
        say(f"--trace {path}: {tracer.lost} events are missing")


def with_failure(result: RunResult, tracer: Tracer | None) -> RunResult:
    """The run's result; status 5 when its trace is not whole."""
    from vmemu.machine.result import HOST

    if tracer is None or tracer.failure is None:
        return result
    return replace(result, status=HOST, reason=f"{tracer.failure} (the run itself: {result.reason})")
