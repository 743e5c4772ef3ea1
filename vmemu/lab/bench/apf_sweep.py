# SPDX-License-Identifier: GPL-2.0-or-later
"""How much do asynchronous page faults bring, in which situations, and where do they cost? One guest program, apf-mix, over the
latency of a page-in, the number of tasks that could run, and how often each of them touches a page. Virtual time, so exact.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vmemu.errors import ConfigError
from vmemu.lab.bench.report import Line, Report
from vmemu.machine.machine import Machine

#: Profile that the sweep measures, by architecture.
PROFILES = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
LATENCIES_US = (20, 100, 500, 2_000, 20_000)
TASKS = (1, 2, 4, 8, 16)
#: Rounds of mix64 after each touch: about 1 us, 20 us and 400 us of computation.
THINK = (200, 4_000, 80_000)
#: Touches of all tasks together: most of them find their page away, for no more than an eighth of the pages is resident.
TOUCHES = 384
MACHINE = {"memory": "64M", "resident": "8M"}


@dataclass(frozen=True, slots=True)
class Point:
    """Total time without and with asynchrony, virtual us."""

    isa: str
    latency_us: int
    tasks: int
    think: int
    off_us: int
    apf_us: int

    @property
    def change(self) -> float:
        """Per cent of time; negative is a gain."""
        return 100 * (self.apf_us / self.off_us - 1)


def _time(isa: str, profile: str, latency_us: int, tasks: int, think: int) -> int:
    machine = Machine.boot(
        "apf-mix", isa=isa, apf=profile, latency=f"{latency_us}us/16",
        append=f"quiet tasks={tasks} pages=4096 touches={TOUCHES // tasks} think={think}", **MACHINE,
    )  # fmt: skip
    result = machine.run()
    machine.close()
    found = re.search(rb" us=(\d+) ", result.output)
    if result.status or found is None:
        raise ConfigError(f"apf-mix on {isa} with --apf {profile} did not pass: {result.reason}")
    return int(found[1])


def points(isas: Sequence[str], think: Sequence[int] = THINK) -> Iterator[Point]:
    """Every combination, one vCPU each."""
    for isa in isas:
        for k in think:
            for latency in LATENCIES_US:
                for tasks in TASKS:
                    off = _time(isa, "off", latency, tasks, k)
                    yield Point(isa, latency, tasks, k, off, _time(isa, PROFILES[isa], latency, tasks, k))


def picture(found: Sequence[Point], path: str) -> None:
    """A panel for each architecture and touch rate: latency against tasks, colour and number are the change of time.

    Raises ConfigError without matplotlib, or when the file cannot be written.
    """
    try:
        pyplot: Any = importlib.import_module("matplotlib.pyplot")
        pyplot.switch_backend("Agg")
    except ImportError:
        raise ConfigError("--picture needs matplotlib: pip install 'vmemu[bench]'") from None
    isas, thinks = sorted({p.isa for p in found}), sorted({p.think for p in found})
    figure, axes = pyplot.subplots(len(isas), len(thinks), figsize=(4 * len(thinks), 3.4 * len(isas)), squeeze=False)
    for row, isa in enumerate(isas):
        for column, think in enumerate(thinks):
            cells = {(p.latency_us, p.tasks): p.change for p in found if (p.isa, p.think) == (isa, think)}
            panel = axes[row][column]
            panel.imshow([[cells[x, y] for x in LATENCIES_US] for y in TASKS], cmap="RdYlGn_r", vmin=-100, vmax=100, aspect="auto")
            for i, x in enumerate(LATENCIES_US):
                for j, y in enumerate(TASKS):
                    panel.text(i, j, f"{cells[x, y]:+.0f}", ha="center", va="center", fontsize=8)
            panel.set_xticks(range(len(LATENCIES_US)), [f"{x / 1000:g}" for x in LATENCIES_US])
            panel.set_yticks(range(len(TASKS)), [str(y) for y in TASKS])
            panel.set_title(f"{isa} ({PROFILES[isa]}), {think} rounds a touch", fontsize=9)
            panel.set_xlabel("page-in, ms")
            panel.set_ylabel("runnable tasks")
    figure.suptitle("Change of total time with asynchronous page faults, %", fontsize=11)
    figure.tight_layout()
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise ConfigError(f"--picture {path}: cannot write: {error.strerror}") from None
    finally:
        pyplot.close(figure)


def measure(isas: Sequence[str], path: str | None, echo: Callable[[str], None], progress: Callable[[int, int], None]) -> Report:
    """Run the sweep, print its table, draw its picture."""
    report, found = Report(), []
    total = len(isas) * len(THINK) * len(LATENCIES_US) * len(TASKS)
    for point in points(isas):
        found.append(point)
        progress(len(found), total)
    for p in found:
        what = f"{p.latency_us} us, {p.tasks} task{'s' if p.tasks > 1 else ''}, {p.think} rounds a touch"
        report.add(Line(f"{p.isa}, {PROFILES[p.isa]}", what, p.change, "% time", reference=f"{p.off_us} -> {p.apf_us} us"))
    report.details["points"] = [[p.isa, p.latency_us, p.tasks, p.think, p.off_us, p.apf_us] for p in found]
    report.print(echo)
    if path is not None:
        picture(found, path)
    return report
