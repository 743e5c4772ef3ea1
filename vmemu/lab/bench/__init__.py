# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks: every figure with its goal and a reference measured in the same run."""

from __future__ import annotations

import platform
from collections.abc import Callable

from vmemu.errors import ConfigError
from vmemu.lab.bench import freerun, paging, refill, stops, tokens
from vmemu.lab.bench.report import Report
from vmemu.machine import images


def engine(isas: tuple[str, ...], repeat: int, echo: Callable[[str], None]) -> Report:
    """All figures of the engine, printed through `echo`. `Report.ok` tells whether every goal is held.

    Args:
        isas: architectures to measure.
        repeat: best of so many.
    """
    known = {(image.name, image.isa) for image in images.catalogue()}
    missing = [isa for isa in isas if ("bench-cpu", isa) not in known]
    if missing:
        raise ConfigError(f"no built-in image bench-cpu for {', '.join(missing)}; run `make images`")
    report = Report()
    report.details["host"] = {"machine": platform.machine(), "python": platform.python_version()}
    freerun.measure(report, isas, repeat)
    refill.measure(report, isas, repeat)
    paging.measure(report, isas, repeat)
    tokens.measure(report, repeat)
    stops.measure(report, isas, repeat)
    report.print(echo)
    return report
