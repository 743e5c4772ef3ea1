# SPDX-License-Identifier: GPL-2.0-or-later
"""No false alarm: on hosts and guests without a switched-on bug, no model finds anything, whatever the interleaving."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.watched import ISAS, storm, watched

from vmemu.lab.explore import strategies
from vmemu.lab.explore.search import Budget, explore
from vmemu.lab.zoo.duels import duel

#: What a host may do without breaking a promise (protocols/async_page/switches.py).
BENIGN = ("apf.not_present:fail", "apf.io:delay=100us", "apf.kick:delay=100us", "apf.ready:delay=100us", "apf.irq:delay=100us")
EDGE: dict[str, Any] = {"isa": "x86_64", "memory": "64M", "resident": "8M", "latency": "sata", "append": "quiet"}
SDEI_EDGE: dict[str, Any] = {"isa": "arm64", "apf": "sdei", "memory": "32M", "resident": "3M", "latency": "nvme", "append": "quiet"}


@pytest.mark.parametrize("apf", ISAS)
@pytest.mark.parametrize(("smp", "seed"), [(1, 0), (2, 0), (2, 3)])
def test_storms(apf: str, smp: int, seed: int) -> None:
    result, found, watch = storm(apf, smp=smp, seed=seed, store_buffer=bool(seed))
    assert result.status == 0 and found == [], found
    assert result.extra["tokens"]["notified"] > 150
    ledgers = [model.ledger for model in watch.models if hasattr(model, "ledger")]
    assert len(ledgers) == 1 and not ledgers[0].told and not ledgers[0].asked


@pytest.mark.parametrize(("image", "options"), [
    ("apf-edge", {**EDGE, "apf": "kvm", "smp": 3}),
    ("apf-edge", {**EDGE, "apf": "kvm-2010", "smp": 2}),
    ("sdei-edge", SDEI_EDGE),
    ("apf-suite", {**SDEI_EDGE, "append": "quiet pages=700 work=1"}),
    ("apf-mix", {**EDGE, "apf": "kvm", "latency": "nvme", "append": "quiet tasks=4 pages=1024 touches=200 think=20"}),
])  # fmt: skip
def test_programs_that_go_to_the_limits(image: str, options: dict[str, Any]) -> None:
    result, found, _ = watched(image, **options)
    assert result.status == 0 and found == [], found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 7))
@pytest.mark.parametrize("apf", ISAS)
def test_storms_of_many_interleavings(apf: str, seed: int) -> None:
    result, found, _ = storm(apf, smp=1 + seed % 4, seed=seed, store_buffer=seed % 2 == 0)
    assert result.status == 0 and found == [], found


@pytest.mark.slow
@pytest.mark.parametrize(("image", "options"), [("sdei-edge", {**SDEI_EDGE, "smp": 3}), ("sdei-edge", {**SDEI_EDGE, "resident": "32M"})])
def test_the_same_on_more_processors(image: str, options: dict[str, Any]) -> None:
    result, found, _ = watched(image, **options)
    assert result.status == 0 and found == [], found


def duels(apf: str, executions: int) -> None:
    events = tuple(event for event in BENIGN if apf != "kvm-2010" or "irq" not in event)
    late = 4 if apf == "kvm-2010" else 1  # there a completion may wait for the next timer interrupt
    scenario = duel(f"clean-{apf}", "", apf, args="tasks=4", events=events, options={"store_buffer": True}, cycles=late * 20_000_000)
    report = explore(scenario, strategies.make("portfolio", 5), Budget(executions=executions))
    assert report.found is None, (report.found.violations, report.found.schedule)


@pytest.mark.parametrize("apf", ISAS)
def test_explored(apf: str) -> None:
    duels(apf, 40)


@pytest.mark.slow
@pytest.mark.parametrize("apf", ISAS)
def test_explored_at_length(apf: str) -> None:
    duels(apf, 1500)
