# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs with models watching."""

from __future__ import annotations

from typing import Any

from vmemu.lab.models import Violation, Watch, models_for
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

#: Small runs with a few hundred tokens each, by architecture.
STORMS: dict[str, dict[str, Any]] = {
    "x86_64": {"memory": "16M", "resident": "2M", "latency": "nvme", "append": "quiet tasks=4 pages=64 passes=2 shared=16"},
    "arm64": {"memory": "32M", "resident": "3M", "latency": "nvme", "append": "quiet tasks=4 pages=128 passes=1 shared=16"},
}
ISAS = {"kvm": "x86_64", "kvm-2010": "x86_64", "sdei": "arm64", "ppi-only": "arm64"}


def watched(image: str, *, keep: int = 0, **options: Any) -> tuple[RunResult, list[Violation], Watch]:
    """Boot, run to the end, and what the models say. The machine is closed."""
    machine = Machine.boot(image, **{"max_cycles": 600_000_000, **options})
    watch = Watch(machine, models_for(machine), keep=keep)
    result = machine.run()
    found = watch.at_end(result)
    machine.close()
    return result, found, watch


def storm(apf: str, **options: Any) -> tuple[RunResult, list[Violation], Watch]:
    isa = ISAS.get(apf, options.pop("isa", "x86_64"))
    return watched("storm", **{"isa": isa, "apf": apf, **STORMS[isa], **options})


def names(found: list[Violation]) -> list[str]:
    return list(dict.fromkeys(v.invariant for v in found))
