# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of expropriation notifications: silent on real runs, and known bugs are called by the right name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vmemu.lab.models.esn import EsnModel
from vmemu.lab.models.watch import Watch
from vmemu.machine import snapshot
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

STORM = "quiet tasks=4 pages=64 passes=1"
SHARED: dict[str, Any] = {
    "isa": "ppc64", "memory": "32M", "resident": "2M", "latency": "nvme", "apf": "papr", "console": lambda data: None,
}  # fmt: skip


def watched(program: str, append: str, **options: Any) -> tuple[Watch, RunResult]:
    machine = Machine.boot(program, append=append, **{**SHARED, **options})
    watch = Watch(machine, [EsnModel(machine)], keep=0)
    result = machine.run()
    watch.at_end(result)
    machine.close()
    return watch, result


def named(watch: Watch) -> set[str]:
    return {v.invariant for v in watch.violations}


@pytest.mark.parametrize("options", [{"seed": 0}, {"seed": 1}, {"seed": 2, "smp": 4}, {"apf": "rfc"}, {"apf": "rfc", "seed": 5}])
def test_no_false_alarm(options: dict[str, Any]) -> None:
    watch, result = watched("storm", STORM, **{"smp": 2, **options})
    assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("append", ["quiet apf=off", "quiet"])
def test_no_false_alarm_at_the_edges(append: str) -> None:
    """A guest that fills the ring itself, takes areas back, registers odd ones, and breaks every rule that it may break."""
    watch, result = watched("esn-edge", append)
    assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 13))
def test_no_false_alarm_with_many_seeds(seed: int) -> None:
    for program, append in (("storm", "quiet tasks=8 pages=64 passes=1"), ("apf-mix", "quiet")):
        watch, result = watched(program, append, smp=1 + seed % 4, resident="3M", seed=seed)
        assert (result.status, [str(v) for v in watch.violations]) == (0, [])


@pytest.mark.parametrize(
    ("bug", "invariant", "options"),
    [
        ("esn-no-arm", "LIVE", {}),
        ("esn-arm-again", "LIVE", {}),
        ("esn-no-kick", "V9", {}),
        ("esn-no-kick", "V9", {"apf": "rfc"}),
        ("esn-little-endian-host", "PAIR", {"apf": "rfc"}),
        ("esn-late-numbers", "TOK", {"apf": "rfc"}),
    ],
)
def test_known_bugs_have_names(bug: str, invariant: str, options: dict[str, Any]) -> None:
    watch, _ = watched("storm", STORM, **{"smp": 2, "seed": 3, "bugs": (bug,), **options})
    assert invariant in named(watch)


def test_what_lopar_allows_is_no_violation() -> None:
    for bug in ("esn-late-numbers", "esn-number-zero", "esn-pulse-rule"):
        watch, result = watched("storm", STORM, smp=2, bugs=(bug,))
        assert (result.status, named(watch)) == (0, set()), bug


class Deaf(EsnModel):
    """A model that is wrong itself: it expects numbers one further on."""

    def _field_write(self, cpu: int, offset: int, data: bytes) -> None:
        super()._field_write(cpu, offset, data[:1] + bytes([data[1], data[2] ^ 1]))


def test_a_wrong_model_is_noticed() -> None:
    machine = Machine.boot("storm", append=STORM, **SHARED)
    watch = Watch(machine, [Deaf(machine)], keep=0)
    machine.run()
    machine.close()
    assert "PAIR" in named(watch)


def test_from_a_snapshot_on() -> None:
    """A model that was saved with its machine goes on with it, and finds what it would have found."""
    machine = Machine.boot("storm", append=STORM, **SHARED)
    watch = Watch(machine, [EsnModel(machine)], keep=0)
    assert machine.run_to(2_500_000) is None
    taken, kept = snapshot.take(machine), watch.save()
    before = repr(kept)
    assert kept["models"]["esn"]["outstanding"] and json.dumps(kept["models"]["esn"])
    first = machine.run()
    snapshot.restore(machine, taken)
    watch.load(kept)
    assert repr(kept) == before
    again = machine.run()
    watch.at_end(again)
    machine.close()
    assert first.state_hash == again.state_hash and watch.violations == []
