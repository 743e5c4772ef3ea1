# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults: what was published when they were proposed, and the same experiments here. Virtual time, so exact."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

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


#: bm as Gleb Natapov ran it (KVM list, October 2010): 4 vCPUs, 4 tasks that touch random pages and 4 that compute, a guest four
#: times as large as what may be resident. Ratios of the computed work to that without asynchrony.
BM = {"smp": 4, "memory": "64M", "resident": "16M", "latency": "sata", "append": "quiet fault=4 work=4 ms=100"}
BM_GOAL = 1.5


def _bm(isa: str, profile: str) -> tuple[int, int, int]:
    """Work done, pages touched, tokens."""
    machine = Machine.boot("bm", isa=isa, apf=profile, **BM)
    result = machine.run()
    machine.close()
    found = re.search(rb"touches=(\d+) work-done=(\d+)", result.output)
    if result.status or found is None:
        raise ConfigError(f"bm on {isa} with --apf {profile} did not pass: {result.reason}")
    return int(found[2]), int(found[1]), result.extra.get("tokens", {}).get("notified", 0)


def _working(report: Report, isa: str, profiles: dict[str, tuple[float | None, str]]) -> None:
    group = f"{isa}, 4 vCPUs, sata"
    base, touched, _ = _bm(isa, "off")
    for profile, (goal, published) in profiles.items():
        work, touches, tokens = _bm(isa, profile)
        beside = f"{published}; work {base} -> {work}, touches {touched} -> {touches}, {tokens} tokens"
        report.add(Line(group, f"4 faulting, 4 working, {profile}", work / base, "x work", goal, True, reference=beside))


def kvm(report: Report) -> None:
    """Gleb Natapov, 'KVM: Add host swap event notifications for PV guest', v7, October 2010."""
    _working(report, "x86_64", {
        "kvm-2010": (BM_GOAL, "published 1.91x (v7), 1.995x (v4)"), "kvm": (BM_GOAL, "published 1.91x (v7, of the first protocol)"),
        "halt": (None, "published 1.13x"),
    })  # fmt: skip


def pseries_working(report: Report) -> None:
    """The same for expropriation and subvention, of which nobody has published figures."""
    _working(report, "ppc64", {"papr": (BM_GOAL, "none published"), "rfc": (None, "none published"), "halt": (None, "none published")})


EXPERIMENTS: dict[str, tuple[Callable[[Report], None], ...]] = {
    "x86_64": (kvm,), "arm64": (arm64_series,), "ppc64": (pseries, pseries_working),
}  # fmt: skip


def measure(isas: Sequence[str], echo: Callable[[str], None]) -> Report:
    """Every published experiment that there is a guest for."""
    report = Report()
    for isa in isas:
        for experiment in EXPERIMENTS[isa]:
            experiment(report)
    report.print(echo)
    return report
