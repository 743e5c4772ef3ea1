# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation notifications as the guest kernel finds them: the program `esn-edge`, both front-ends, and known bugs of such guests."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.guest import storm_checksum

from vmemu.machine.machine import Machine
from vmemu.machine.result import FAILED, OK, STALLED, RunResult

RAW, KERNEL = 12, 8  # tests without a front-end, and with one on one CPU
STORM = "quiet tasks=8 pages=64 passes=1"


def boot(program: str, append: str, **options: Any) -> tuple[RunResult, str]:
    """The result, and what was printed."""
    shared: dict[str, Any] = {"isa": "ppc64", "memory": "32M", "resident": "2M", "latency": "nvme", "apf": "papr"}
    machine = Machine.boot(program, append=append, console=lambda data: None, **{**shared, **options})
    result = machine.run()
    machine.close()
    return result, result.output.decode()


def test_hypercalls_and_ring_at_their_edges() -> None:
    result, out = boot("esn-edge", "quiet apf=off")
    assert (result.status, out.count("PASS"), out.count("FAIL")) == (OK, RAW + 1, 0), out


def test_edges_are_seen_to_be_wrong() -> None:
    """A platform that takes another area while it has one; one that keeps what was in the ring's slot."""
    result, out = boot("esn-edge", "quiet apf=off", bugs=("esn-replace-area",))
    assert result.status == 1 and "a second area is 0, not 1" in out and "FAIL registering an area" in out


def test_the_kernel_at_its_edges() -> None:
    """V14, V15 and the rest of a guest's half: sleeping, waiting, bursts, an overflow, pages that were thrown away."""
    result, out = boot("esn-edge", "quiet")
    assert (result.status, out.count("PASS"), out.count("FAIL")) == (OK, KERNEL + 1, 0), out
    tokens = result.extra["tokens"]
    assert tokens["sleeping_at_end"] == tokens["dummies_at_end"] == 0
    assert tokens["outstanding_at_end"] == len(tokens["losses"]) == 6  # one for each child, by the overflow


@pytest.mark.slow
def test_the_kernel_on_several_cpus() -> None:
    result, out = boot("esn-edge", "quiet", smp=3)
    assert (result.status, out.count("PASS"), out.count("FAIL")) == (OK, KERNEL + 2, 0), out


@pytest.mark.parametrize("profile", ["off", "halt", "papr", "rfc"])
def test_the_same_contents_in_every_profile(profile: str) -> None:
    result, out = boot("storm", STORM, apf=profile, smp=2, resident="3M")
    assert result.status == OK and storm_checksum(8, 64, 1) in out


def test_unused_frames_are_not_brought_back() -> None:
    """The kernel says which frames are free: what was in them is neither fetched nor missed."""
    tests = "pressure_in_tasks short_lives many_tasks"
    told, out = boot("usertests", f"quiet page-states {tests}", resident="3M")
    assert "PASS (3 tests)" in out and told.extra["esn"]["zeros"] > 100
    silent, out = boot("usertests", f"quiet {tests}", resident="3M")
    assert "PASS (3 tests)" in out and silent.extra["esn"]["zeros"] == 0
    assert told.swap_ins < silent.swap_ins - 100


# ---- one who speaks and one who does not understand ----


@pytest.mark.parametrize(("host", "guest"), [("papr", "rfc"), ("rfc", "papr"), ("off", "papr")])
def test_a_front_end_that_the_platform_does_not_have(host: str, guest: str) -> None:
    result, out = boot("hello", f"quiet apf={guest}", apf=host)
    assert result.status == FAILED and f'no front-end "{guest}"' in out
    assert ("H_REG_SNS refused (-2)" if guest == "rfc" else "has no hcall-esn") in out


def test_no_over_commitment_no_front_end() -> None:
    result, out = boot("hello", "", cmo="off")
    assert result.status == OK and "async page faults" not in out


# ---- bugs ----


@pytest.mark.parametrize("bug", ["esn-no-arm", "esn-arm-again", "esn-stale-number"])
def test_bugs_that_leave_tasks_asleep(bug: str) -> None:
    result, _ = boot("storm", f"{STORM} bug={bug}", smp=4, resident="3M")
    assert result.status == STALLED and "guest tasks sleep on tokens" in result.reason


def test_the_rfc_guest_with_lopars_number() -> None:
    """A3: its control byte never flips LoPAR's bit, so no interrupt ever comes; the platform says so."""
    result, _ = boot("storm", f"{STORM} apf=rfc bug=esn-rfc-2f8", resident="3M")
    assert result.status == STALLED and "no interrupt was ever due" in result.reason


def test_number_zero_is_no_number() -> None:
    result, out = boot("esn-edge", "quiet bug=esn-zero-sleeps")
    assert result.status == STALLED and out.count("FAIL") == 0


@pytest.mark.slow
def test_a_burst_without_a_second_look() -> None:
    result, out = boot("esn-edge", "quiet bug=esn-no-recheck")
    assert result.status == 1 and "FAIL a number of a burst is lost" in out
