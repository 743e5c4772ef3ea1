# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults: what was published when they were proposed, and the same experiments here. Virtual time, so exact."""

from __future__ import annotations

import re
from collections.abc import Callable

from vmemu.errors import ConfigError
from vmemu.lab.bench.report import Line, Report
from vmemu.machine.machine import Machine

#: apf-suite's arguments: the computation takes 0.7 times as long as the sweep, as in the published experiment.
PAGES = 4096
WORK = {"arm64": 85_000, "ppc64": 20_600}
#: Less time with a computation than this, and no more alone.
WITH_GOAL, ALONE_GOAL = -38.0, 5.0


def _suite(isa: str, profile: str, work: int) -> tuple[float, int]:
    """Milliseconds of one run, and the tokens that it took."""
    machine = Machine.boot(
        "apf-suite", isa=isa, memory="64M", resident="8M", latency="nvme", apf=profile,
        append=f"quiet pages={PAGES} work={work}",
    )  # fmt: skip
    result = machine.run()
    machine.close()
    total = re.search(rb"total_us=(\d+)", result.output)
    if result.status or total is None:
        raise ConfigError(f"apf-suite with --apf {profile} did not pass: {result.reason}")
    return int(total[1]) / 1000, result.extra.get("tokens", {}).get("notified", 0)


def _experiment(report: Report, isa: str, profiles: tuple[str, ...], published: tuple[str, str]) -> None:
    """One vCPU, half of the memory away. `published`: figures with a computation and alone."""
    for name, work, goal, figure in (
        ("sweep and computation", WORK[isa], WITH_GOAL, published[0]),
        ("sweep alone", 0, ALONE_GOAL, published[1]),
    ):
        off, _ = _suite(isa, "off", work)
        for profile in (*profiles, "halt"):
            took, tokens = _suite(isa, profile, work)
            change, beside = 100 * (took / off - 1), f"{off:.0f} ms -> {took:.0f} ms, {tokens} tokens"
            if profile == "halt":
                report.add(Line(f"{isa}, 1 vCPU, nvme", f"{name}, halt", change, "% time", reference=beside))
            else:
                report.add(Line(f"{isa}, 1 vCPU, nvme", f"{name}, {profile}", change, "% time", goal, reference=f"{figure}; {beside}"))


def arm64_series(report: Report) -> None:
    """Gavin Shan, 'Support Asynchronous Page Fault', v4, August 2021: one vCPU, half of the memory in the container."""
    _experiment(report, "arm64", ("sdei", "ppi-only"), ("published -40.6 to -42 %", "published +2.8 to +3.5 %"))


def pseries(report: Report) -> None:
    """The same experiment. Nobody has published any: the RFC's author was asked in August 2021, and had not measured yet."""
    _experiment(report, "ppc64", ("papr", "rfc"), ("nothing published", "nothing published"))


EXPERIMENTS: tuple[Callable[[Report], None], ...] = (arm64_series, pseries)


def measure(echo: Callable[[str], None]) -> Report:
    """Every published experiment that there is a guest for."""
    report = Report()
    for experiment in EXPERIMENTS:
        experiment(report)
    report.print(echo)
    return report
