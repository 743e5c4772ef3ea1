# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64, guest and host together: real page faults told by SDEI and PPI or by the PPI alone, to the end and without a trace."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.guest import Ran, run_vmemu, storm_checksum

from vmemu.lab.bench.apf import measure

PROFILES = pytest.mark.parametrize("profile", ["sdei", "ppi-only"])


def boot(program: str, profile: str, append: str, cwd: Path, *more: str, smp: int = 2, resident: str = "4M") -> Ran:
    options = ("--isa", "arm64", "--smp", str(smp), "-m", "32M", "--resident", resident, "--latency", "nvme", "--apf", profile)
    return run_vmemu("boot", program, *options, "--append", f"quiet {append}", "--json", "run.json", *more, cwd=cwd)


@PROFILES
def test_storm_sleeps_for_every_page_that_is_away(profile: str, tmp_path: Path) -> None:
    """Every page verified; each token told once, slept for and ready once; nobody asleep and no marker left."""
    ran = boot("storm", profile, "tasks=6 pages=150 passes=2 shared=16 seed=3", tmp_path, resident="3M")
    assert ran.status == 0 and storm_checksum(6, 150, 2, 3) in ran.out, ran.err
    tokens = ran.json["tokens"]
    guest = tokens["guest"]
    assert tokens["notified"] > 1000 and tokens["ready"] == tokens["notified"] and tokens["cancelled"] == 0
    assert guest["waits"] == guest["wakes"] == tokens["notified"] - guest["early"]
    assert guest["sleeping"] == guest["markers"] == tokens["outstanding_at_end"] == 0
    assert tokens["violations"] == [] and tokens["wake_all"] == guest["broadcasts"] == 2


WORK = 14_525  # of apf-suite: 0.7 times as long as its sweep


def suite(profile: str, work: int, cwd: Path) -> dict[str, str]:
    """What apf-suite prints."""
    ran = boot("apf-suite", profile, f"pages=700 work={work}", cwd, smp=1, resident="3M")
    assert ran.status == 0, ran.err
    return dict(word.split("=") for word in ran.out.split()[1:])


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, str]]:
    """Work -> the figures where a missing page stops the CPU."""
    return {work: suite("off", work, tmp_path_factory.mktemp("off")) for work in (0, WORK)}


@PROFILES
def test_another_task_runs_instead(profile: str, blocked: dict[int, dict[str, str]], tmp_path: Path) -> None:
    """The experiment of the series: with a computation beside it 40.6 to 42 % less time, alone 2.8 to 3.5 % more. Ours is close."""
    for work, off in blocked.items():
        ran = suite(profile, work, tmp_path)
        assert ran["checksum"] == off["checksum"]
        change = int(ran["total_us"]) / int(off["total_us"]) - 1
        assert -0.43 < change < -0.39 if work else 0 < change < 0.05


@pytest.mark.slow
def test_bench_apf_holds_its_goals() -> None:
    lines: list[str] = []
    assert measure(lines.append).ok
    assert len(lines) == len({tuple(line.split("\t")[:2]) for line in lines}) == 12


def test_sdei_edge_with_pages_away(tmp_path: Path) -> None:
    """All calls and states while the service is in use, and CPUs that leave with works under way."""
    ran = boot("sdei-edge", "sdei", "", tmp_path, smp=3, resident="3M")
    assert ran.status == 0 and "FAIL" not in ran.out and "sdei-edge: 0 failures" in ran.out, ran.out + ran.err
    tokens = ran.json["tokens"]
    assert tokens["notified"] > 1000 and tokens["violations"] == []
    assert tokens["notified"] > tokens["ready"]  # some were under way when their CPU left
    assert tokens["sleeping_at_end"] == tokens["dummies_at_end"] == 0


def test_service_calls_without_sdei(tmp_path: Path) -> None:
    ran = boot("sdei-edge", "ppi-only", "", tmp_path, resident="32M")
    assert ran.status == 0 and ran.out.count("PASS") == 2 * 4 + 2, ran.out + ran.err


@pytest.mark.slow
@PROFILES
@pytest.mark.parametrize("at", [4_000_000, 6_000_001, 8_000_003])
def test_storm_goes_on_elsewhere(profile: str, at: int, tmp_path: Path) -> None:
    """Restored exactly it is the same run; restored as a VMM of the series would, all sleepers are woken and fault again."""
    storm = "tasks=6 pages=100 shared=24"
    whole = boot("storm", profile, storm, tmp_path, "--snapshot", "half.snap", "--snapshot-at", str(at), resident="3M")
    for mode in ("exact", "kernel"):
        ran = run_vmemu("boot", "--restore", "half.snap", "--restore-mode", mode, "--json", "run.json", cwd=tmp_path)
        assert (ran.status, ran.out) == (0, whole.out), ran.err
        tokens = ran.json["tokens"]
        assert tokens["sleeping_at_end"] == tokens["dummies_at_end"] == 0 and tokens["violations"] == []
        assert (ran.json["state_hash"] == whole.json["state_hash"]) == (mode == "exact")


@pytest.mark.parametrize(("bug", "status", "asleep"), [("sdei-no-clear", 3, 2), ("sdei-stale-flag", 3, 1), ("sdei-no-ack", 4, 0)])
def test_bugs_have_a_symptom(bug: str, status: int, asleep: int, tmp_path: Path) -> None:
    """A stall that names the sleepers, or an interrupt without end."""
    more = ("--bug", bug, "--max-cycles", "500000000" if asleep else "10000000")
    ran = boot("storm", "sdei", "tasks=6 pages=150", tmp_path, *more, "--latency", "zram")
    assert ran.status == status and ran.json["tokens"]["sleeping_at_end"] >= asleep
    if asleep:
        assert "guest tasks sleep on tokens" in ran.err
