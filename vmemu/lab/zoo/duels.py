# SPDX-License-Identifier: GPL-2.0-or-later
"""Scenarios around the guest program `duel`: a few tasks, a few pages, and an environment that takes those pages away."""

from __future__ import annotations

from typing import Any

from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.zoo.actions import evict_all_marked

ISAS = {"kvm": "x86_64", "kvm-2010": "x86_64", "sdei": "arm64", "ppi-only": "arm64", "papr": "ppc64", "rfc": "ppc64"}


def duel(name: str, text: str, apf: str, args: str = "", *, isa: str | None = None, options: dict[str, Any] | None = None,
         **fields: Any) -> Scenario:
    """args: of the program. options: of the machine, over those that all duels have. fields: of the Scenario, likewise.

    All pages that the program works with are away when an execution begins.
    """
    machine = {"apf": apf, "smp": 2, "memory": "16M", "latency": "nvme", "append": " ".join(filter(None, ("quiet", args)))}
    common: dict[str, Any] = {"start": "output:duel: go", "setup": (evict_all_marked,), "actions": ("evict-marked",), "cycles": 40_000_000}
    every = {"options": machine | (options or {}), **common, **fields}
    return Scenario(name=name, text=text, isa=isa or ISAS[apf], image="duel", **every)
