# SPDX-License-Identifier: GPL-2.0-or-later
"""Saved and loaded in place, or carried to another host: what a guest must survive; and pages put out by hand."""

from __future__ import annotations

import pytest

from vmemu.errors import ConfigError
from vmemu.machine.control import perform
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult
from vmemu.machine.target import go_to

PROFILES = [("x86_64", "kvm"), ("arm64", "sdei"), ("ppc64", "papr")]
STORM = {"memory": "16M", "resident": "2M", "latency": "nvme", "smp": 2, "append": "tasks=4 pages=64 passes=1 shared=8"}


def storm(isa: str, apf: str, command: str = "", every: int = 40, **options: object) -> RunResult:
    machine = Machine.boot("storm", isa=isa, apf=apf, **(STORM | options))  # type: ignore[arg-type]
    end = None
    while end is None:
        end = machine.turn()
        if command and end is None and machine.turns % every == 0:
            perform(machine, command)
    result = machine.run()
    machine.close()
    return result


@pytest.mark.parametrize(("isa", "apf"), PROFILES)
@pytest.mark.parametrize("inject", [(), ("store.read:1000000:fail",)], ids=["c-store", "python-store"])
def test_nobody_notices_a_reload(isa: str, apf: str, inject: tuple[str, ...]) -> None:
    plain, reloaded = storm(isa, apf, inject=inject), storm(isa, apf, "reload", inject=inject)
    assert plain.status == 0 and reloaded.state_hash == plain.state_hash
    assert reloaded.extra["tokens"] == plain.extra["tokens"]


@pytest.mark.parametrize(("isa", "apf"), PROFILES[:2])
def test_a_guest_survives_being_carried(isa: str, apf: str) -> None:
    result = storm(isa, apf, "migrate", every=200)
    assert result.status == 0, result.reason
    assert result.extra["tokens"]["cancelled"] > 0 and result.extra["tokens"]["violations"] == []


def test_they_take_no_words() -> None:
    machine = Machine.boot("hello", isa="x86_64")
    for name in ("reload", "migrate"):
        with pytest.raises(ConfigError, match="takes nothing"):
            perform(machine, f"{name} now")
    with pytest.raises(ConfigError, match=r"--to output:never: the run ends before"):
        go_to(machine, "output:never", "--to")
    machine.close()


def test_short_turns_are_no_part_of_the_guests_path() -> None:
    results = [Machine.boot("hello", isa="x86_64", slice=cycles).run() for cycles in (None, 20_000, 1_000)]
    assert len({r.state_hash for r in results}) == 1
