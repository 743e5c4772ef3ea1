# SPDX-License-Identifier: GPL-2.0-or-later
"""Host work of one fault, by how it is served: in C, halted, and as a full asynchronous round trip (fault, not-present, switch, page
in, ready, wake, retry). Processor time of this thread, the guest's own instructions of the round trip included.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from vmemu.core import CYC
from vmemu.errors import ConfigError
from vmemu.lab.bench.report import Line, Report
from vmemu.machine.machine import Machine

#: Profile that tells the guest, by architecture.
PROFILES = {"x86_64": "kvm", "arm64": "sdei", "ppc64": "papr"}
#: design.md 7: a full round trip.
GOAL_US = 20.0
OPTIONS: dict[str, Any] = {
    "memory": "64M", "resident": "8M", "latency": "nvme", "append": "quiet tasks=4 pages=4096 touches=1000 think=20",
}  # fmt: skip


def _run(isa: str, profile: str) -> tuple[float, int]:
    """Seconds of this thread, and asynchronous page-ins (synchronous ones when there are none)."""
    machine = Machine.boot("apf-mix", isa=isa, apf=profile, **OPTIONS)
    started = time.thread_time()
    result = machine.run()
    took = time.thread_time() - started
    machine.close()
    if result.status:
        raise ConfigError(f"apf-mix on {isa} with --apf {profile} did not pass: {result.reason}")
    return took, result.extra["tokens"]["works"] if "tokens" in result.extra else result.swap_ins


def _bare_exit(isa: str) -> float:
    """Microseconds of the least that an exit to Python can cost: an exit at a cycle limit, and nothing done about it."""
    machine = Machine.boot("hello", isa=isa, memory="16M")
    vcpu, count = machine.vcpus[0], 2000
    started = time.thread_time()
    for _ in range(count):
        vcpu.run(vcpu.cycles + CYC)
    took = time.thread_time() - started
    machine.close()
    return took / count * 1e6


def measure(isas: Sequence[str], repeat: int, echo: Callable[[str], None]) -> Report:
    """Best of `repeat`; the difference to the run whose faults C serves, over the page-ins."""
    report = Report()
    for isa in isas:
        bare = min(_bare_exit(isa) for _ in range(repeat))
        base, faults = min(_run(isa, "off") for _ in range(repeat))
        for profile, goal, what in (("halt", None, "page-in, vCPU halted"), (PROFILES[isa], GOAL_US, "full asynchronous round trip")):
            took, works = min(_run(isa, profile) for _ in range(repeat))
            beside = f"{works} page-ins; an exit to Python alone {bare:.1f} us; off, guest included, {base / faults * 1e6:.1f} us a fault"
            report.add(Line(isa, f"{what}, {profile}", (took - base) / works * 1e6, "us", goal, reference=beside))
    report.print(echo)
    return report
