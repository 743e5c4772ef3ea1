# SPDX-License-Identifier: GPL-2.0-or-later
"""Whole machines: the test guest's kernel, its programs and a platform of either profile, under pressure and in many interleavings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vmemu.machine import disk
from vmemu.machine.machine import Machine
from vmemu.machine.result import FAILED, OK, STALLED, RunResult

SMALL: dict[str, Any] = {
    "isa": "ppc64", "smp": 4, "memory": "32M", "resident": "3M", "latency": "nvme", "append": "tasks=8 pages=64 passes=1",
}  # fmt: skip


def storm(**options: Any) -> tuple[RunResult, list[str]]:
    """The result and what is wrong at the end."""
    machine = Machine.boot("storm", **{**SMALL, "console": lambda data: None, **options})
    result = machine.run()
    assert machine.pager is not None
    wrong = machine.pager.invariants()
    machine.close()
    return result, wrong


def check_complete(result: RunResult, wrong: list[str], least: int) -> None:
    """V1 and V14: every token has one ready, nobody sleeps, no marker is left."""
    tokens = result.extra["tokens"]
    assert (result.status, wrong) == (OK, [])
    assert b"PASS" in result.output
    assert tokens["notified"] == tokens["ready"] > least
    assert (tokens["outstanding_at_end"], tokens["sleeping_at_end"], tokens["dummies_at_end"]) == (0, 0, 0)
    assert tokens["losses"] == tokens["violations"] == []
    assert not result.extra["esn"]["lost"]


@pytest.mark.parametrize("profile", ["papr", "rfc"])
@pytest.mark.parametrize("seed", [0, 3])
def test_storm(profile: str, seed: int) -> None:
    result, wrong = storm(apf=profile, seed=seed)
    check_complete(result, wrong, 200)
    esn = result.extra["esn"]
    if profile == "papr":
        assert esn["posted"] == result.extra["tokens"]["ready"]
        assert 0 < esn["signals"] <= esn["posted"]
    else:
        assert esn["signals"] == esn["posted"]  # A3: an interrupt for every event
        assert set(result.extra["tokens"]["sync_reasons"]) <= {"kernel", "queue full"}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["papr", "rfc"])
def test_the_storm_that_is_promised(profile: str) -> None:
    result, wrong = storm(apf=profile, memory="64M", resident="8M", append="")
    check_complete(result, wrong, 1000)
    assert result.blocked_cycles < 2_000_000 * 4  # 1 ms


def test_without_cmo_everything_waits() -> None:
    result, _ = storm(apf="papr", cmo="off")
    tokens = result.extra["tokens"]
    assert (result.status, tokens["notified"]) == (OK, 0)
    assert set(tokens["sync_reasons"]) == {"no SNS area"}
    assert result.blocked_cycles > 0


def test_numbers_come_round() -> None:
    """PAPR skips 0 and goes on; the RFC's ring ends there, and each wake-up that is lost is lost by A5."""
    result, wrong = storm(apf="papr", bugs=("esn-late-numbers",))
    check_complete(result, wrong, 200)
    result, _ = storm(apf="rfc", bugs=("esn-late-numbers",))
    tokens = result.extra["tokens"]
    assert result.status == STALLED
    assert result.extra["esn"]["lost"] == {"A5": tokens["notified"] - tokens["ready"]}
    assert len(tokens["losses"]) == tokens["outstanding_at_end"]
    assert all("lost by A5" in text for text in tokens["losses"])
    for text in ("vCPU 3", "tasks sleep", "A5"):
        assert text in result.reason


def test_a_little_endian_host_loses_by_name() -> None:
    result, _ = storm(apf="rfc", bugs=("esn-little-endian-host",))
    assert result.status == STALLED
    assert set(result.extra["esn"]["lost"]) == {"A17"}


def test_a_platform_that_signals_only_after_the_end() -> None:
    """The kernel ends the interrupt before it arms again, so that none is forgotten that it needs."""
    result, wrong = storm(apf="papr", bugs=("esn-pulse-rule",))
    check_complete(result, wrong, 200)


def test_an_interrupt_that_waits_for_the_next_exit_is_late_and_not_lost() -> None:
    result, wrong = storm(apf="rfc", bugs=("esn-no-kick",))
    check_complete(result, wrong, 200)


def test_an_rfc_kernel_on_a_papr_platform() -> None:
    """Refused at its own hypercall number; let past that, no interrupt ever (A2, A3): status 3, with vCPUs, sleepers and defects."""
    append = SMALL["append"] + " apf=rfc"
    result, _ = storm(apf="papr", append=append)
    assert result.status == FAILED  # the kernel was told to, and cannot
    assert result.extra["esn"]["wrong_token"] == 1
    result, _ = storm(apf="papr", append=append, bugs=("esn-any-opcode",))
    assert result.status == STALLED
    for text in ("vCPU 0 at", "vCPU 3 at", "guest tasks sleep on tokens", "no interrupt was ever due", "A2", "A3", "the ring shows"):
        assert text in result.reason


def test_a_papr_kernel_on_an_rfc_platform() -> None:
    """Every event is dropped (A7); and it finds number 0 and "zero" where it looks (A4), so that its data goes: told so."""
    append = SMALL["append"] + " apf=papr"
    machine = Machine.boot("storm", **{**SMALL, "append": append, "apf": "rfc", "bugs": ("esn-any-opcode",), "console": lambda data: None})
    result = machine.run()
    assert result.status != OK
    tokens = result.extra["tokens"]
    assert tokens["ready"] == 0
    assert set(result.extra["esn"]["lost"]) == {"A7"}
    assert machine.pager is not None
    assert "A7" in "\n".join(machine.pager.lines())
    machine.close()


@pytest.mark.parametrize("profile", ["papr", "rfc"])
def test_every_store_ends_in_the_same_state(profile: str, tmp_path: Path) -> None:
    """Only pages that must be read back are expropriated, whoever keeps the store."""
    results = [storm(apf=profile, smp=1, store=store)[0] for store in ("ram:", f"file:{tmp_path}/swap")]
    assert results[0].status == OK
    assert results[0].state_hash == results[1].state_hash
    assert results[0].extra["tokens"]["notified"] > 100


@pytest.mark.parametrize("profile", ["papr", "rfc"])
def test_a_machine_saved_amid_page_ins_goes_on_as_if_nothing_had_been(profile: str, tmp_path: Path) -> None:
    """Toggle, fill pointer, outstanding numbers, works and their I/O are in the file."""
    whole, _ = storm(apf=profile, seed=4)
    machine = Machine.boot("storm", **{**SMALL, "apf": profile, "seed": 4, "console": lambda data: None})
    path = str(tmp_path / "half.snap")
    away: list[int] = []

    def save(m: Machine) -> None:
        assert m.pager is not None
        away.append(len(m.pager.save()["works"]))
        disk.save(m, path)

    machine.run(at=(whole.instructions // 2, save))
    machine.close()
    assert away[0] > 0
    again = disk.load(path, console=lambda data: None)
    result = again.run()
    again.close()
    assert (result.status, result.state_hash) == (whole.status, whole.state_hash)
