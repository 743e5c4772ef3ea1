# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's half of KVM's asynchronous page faults: its programs on real machines, and what its known bugs look like."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.guest import Ran, run_vmemu, storm_checksum

STORM = "quiet tasks=8 pages=200 passes=1"


def storm(cwd: Path, *options: str, append: str = STORM) -> Ran:
    memory = ("-m", "64M", "--resident", "4M", "--latency", "nvme", "--max-cycles", "1000000000")
    return run_vmemu("boot", "storm", *memory, "--json", "r.json", "--append", append, *options, cwd=cwd, timeout=60)


@pytest.mark.parametrize("profile", ["kvm", "kvm-2010", "halt", "off"])
@pytest.mark.parametrize("smp", [1, 3])
def test_storm_prints_the_same_and_leaves_nothing(profile: str, smp: int, tmp_path: Path) -> None:
    ran = storm(tmp_path, "--apf", profile, "--smp", str(smp), "--seed", str(smp))
    wanted = f"storm: tasks=8 pages=200 passes=1 shared=64 {storm_checksum(8, 200, 1)}\nstorm: PASS\n"
    assert (ran.status, ran.out) == (0, wanted), ran.out + ran.err
    if profile != "off":
        tokens = ran.json["tokens"]
        assert tokens["notified"] == tokens["ready"] and tokens["sleeping_at_end"] == tokens["dummies_at_end"] == 0
        assert (tokens["notified"] > 500) == (profile != "halt")


@pytest.mark.parametrize(("host", "front_end"), [("kvm", "off"), ("kvm", "kvm-2010"), ("kvm-2010", "off")])
def test_a_guest_that_does_not_take_part(host: str, front_end: str, tmp_path: Path) -> None:
    """Nobody is told anything. One of 2010 registers, and is taken at its word that it can do without (x86-apf.md 2)."""
    ran = storm(tmp_path, "--apf", host, "--smp", "2", append=f"{STORM} apf={front_end}")
    assert ran.status == 0 and "storm: PASS" in ran.out, ran.err
    assert ran.json["tokens"]["notified"] == 0 and ran.json["tokens"]["halted"] > 500


def test_a_front_end_that_the_machine_has_not(tmp_path: Path) -> None:
    ran = storm(tmp_path, "--apf", "kvm-2010", append=f"{STORM} apf=kvm")
    assert ran.status == 1 and 'no front-end "kvm" for this machine' in ran.out


@pytest.mark.parametrize(("profile", "smp", "cases"), [("kvm", 1, 17), ("kvm", 3, 17), ("kvm-2010", 2, 11)])
def test_corner_cases(profile: str, smp: int, cases: int, tmp_path: Path) -> None:
    options = ("-m", "64M", "--resident", "8M", "--latency", "sata", "--smp", str(smp), "--apf", profile)
    ran = run_vmemu("boot", "apf-edge", *options, "--append", "quiet", cwd=tmp_path, timeout=60)
    assert ran.status == 0 and ran.out.endswith(f"apf-edge: PASS ({cases} cases, {profile})\n"), ran.out + ran.err


@pytest.mark.parametrize(("bug", "profile", "status", "text"), [
    ("apf-late-reason", "kvm-2010", 1, "SIGSEGV, read at"),
    ("apf-no-eoi", "kvm", 3, "sleep on tokens"),
    ("apf-enabled-at-64", "kvm", 3, "SIGSEGV, read at"),
    ("apf-doc-bits", "kvm", 3, "sleep on tokens"),
    ("apf-doc-bits", "kvm-2010", 1, "panic: trap: illegal instruction"),
])  # fmt: skip
def test_known_bugs_show_in_a_storm(bug: str, profile: str, status: int, text: str, tmp_path: Path) -> None:
    ran = storm(tmp_path, "--apf", profile, "--smp", "2", "--bug", bug)
    assert ran.status == status and text in ran.out + ran.err, ran.out + ran.err


@pytest.mark.parametrize(("bug", "case", "status", "text"), [
    ("apf-no-teardown", "cpu_leaves", 1, "panic: arch_apf_online: the hypervisor has used an area that was taken back"),
    ("apf-no-broadcast", "off_and_on", 3, "sleep on tokens"),
    ("apf-sleep-atomic", "where_nobody_may_sleep", 1, "panic: sched: task 1 sleeps where it must not"),
])  # fmt: skip
def test_known_bugs_show_in_corner_cases(bug: str, case: str, status: int, text: str, tmp_path: Path) -> None:
    options = ("-m", "64M", "--resident", "8M", "--latency", "sata", "--smp", "2", "--bug", bug)
    profile = "kvm-2010" if bug == "apf-sleep-atomic" else "kvm"
    ran = run_vmemu("boot", "apf-edge", *options, "--apf", profile, "--append", f"quiet {case}", cwd=tmp_path, timeout=60)
    assert ran.status == status and text in ran.out + ran.err, ran.out + ran.err
