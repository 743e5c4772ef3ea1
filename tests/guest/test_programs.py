# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest programs' results, computed again on the host, and the images' reproducibility."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.guest import ISAS, mix64, run_vmemu, storm_checksum

ROOT = Path(__file__).resolve().parents[2]
ZIGLANG = "0.15.2"


def _ziglang() -> str | None:
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.mark.parametrize("isa", ISAS)
def test_tasks_total(isa: str, tmp_path: Path) -> None:
    """Each task's exit code depends on its number alone, however little memory is resident."""
    ran = run_vmemu(
        "boot", "tasks", "--isa", isa, "--resident", "4M", "--latency", "nvme", "--append", "quiet tasks=12", cwd=tmp_path
    )
    total = sum(1 + mix64(n) % 200 for n in range(1, 13))
    assert ran.out == f"tasks: tasks=12 failures=0 total={total}\n", ran.err


@pytest.mark.parametrize("isa", ISAS)
def test_apf_suite_checksum_and_times(isa: str, tmp_path: Path) -> None:
    """Where a missing page stops the CPU, the time of 1000 pages is what the disk takes, and what is computed comes on top."""
    pages, units = 1000, 20
    fields = {}
    for work in (0, units):
        ran = run_vmemu(
            *("boot", "apf-suite", "--isa", isa, "-m", "32M", "--resident", "4M", "--latency", "100us"),
            *("--append", f"quiet pages={pages} passes=2 work={work}"), cwd=tmp_path,
        )  # fmt: skip
        assert ran.status == 0, ran.out
        fields[work] = dict(word.split("=") for word in ran.out.split()[1:])
    expected = 0
    for _ in range(1024 * units):
        expected = mix64(expected + 1)
    for i in range(pages):
        expected ^= mix64(i << 32) ^ mix64(i << 32 | 1)
    assert int(fields[units]["checksum"], 16) == expected
    assert 2 * pages * 100 <= int(fields[0]["sweep_us"]) < 2 * pages * 100 * 1.1
    assert int(fields[units]["total_us"]) > int(fields[0]["total_us"])


@pytest.mark.parametrize("isa", ISAS)
def test_arguments_and_kernel_options(isa: str, tmp_path: Path) -> None:
    """The kernel keeps its own words of the command line; the program gets the others, in order."""
    ran = run_vmemu("boot", "hello", "--isa", isa, "--append", "one  quiet two=2", cwd=tmp_path)
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"hello from {isa}, 64 MiB RAM") and lines[1:] == ["argument 1: one", "argument 2: two=2"]


@pytest.mark.parametrize("isa", ISAS)
def test_unknown_kernel_bug_is_refused(isa: str, tmp_path: Path) -> None:
    ran = run_vmemu("boot", "hello", "--isa", isa, "--append", "quiet bug=no-such-bug", cwd=tmp_path)
    assert ran.status == 1 and 'this kernel has no bug "no-such-bug"' in ran.out


@pytest.mark.parametrize("isa", ISAS)
def test_storm_finds_what_it_wrote(isa: str, tmp_path: Path) -> None:
    """Its checksum depends on its parameters alone; and it does want more memory than is there."""
    ran = run_vmemu(
        "boot", "storm", "--isa", isa, "--smp", "3", "--resident", "4M", "--json", "r.json",
        "--append", "quiet tasks=9 pages=120 passes=2 shared=10 seed=7", cwd=tmp_path,
    )  # fmt: skip
    lines = ran.out.splitlines()
    assert lines[0] == f"storm: tasks=9 pages=120 passes=2 shared=10 {storm_checksum(9, 120, 2, 7)}", ran.err
    assert lines[1:] == ["storm: PASS"] and ran.json["faults"]["swap"] > 900


@pytest.mark.parametrize("isa", ISAS)
def test_bm_says_how_much_was_computed(isa: str, tmp_path: Path) -> None:
    """Four CPUs with a computing task each do four times what one does; those that wait for pages take from it."""
    def work(smp: int, fault: int) -> int:
        options = ("--isa", isa, "--smp", str(smp), "--resident", "8M", "--latency", "sata")
        ran = run_vmemu("boot", "bm", *options, "--append", f"quiet fault={fault} work={smp} ms=20 pages=4000", cwd=tmp_path)
        found = re.fullmatch(rf"bm: fault={fault} work={smp} pages=4000 ms=20 touches=(\d+) work-done=(\d+)\n", ran.out)
        assert found is not None, ran.out + ran.err
        assert (int(found[1]) > 0) == (fault > 0)
        return int(found[2])

    alone, four = work(1, 0), work(4, 0)
    assert 3.8 * alone < four < 4.2 * alone
    assert work(4, 4) < 0.8 * four


def test_bench_cpu_agrees_on_all_architectures(tmp_path: Path) -> None:
    outputs = {isa: run_vmemu("boot", "bench-cpu", "--isa", isa, cwd=tmp_path).out for isa in ISAS}
    assert len(outputs["arm64"].splitlines()) == 6
    assert outputs["x86_64"] == outputs["arm64"] == outputs["ppc64"]


@pytest.mark.slow
@pytest.mark.skipif(_ziglang() != ZIGLANG, reason=f"needs ziglang {ZIGLANG}")
def test_images_are_reproducible() -> None:
    done = subprocess.run(
        [sys.executable, "guest_images/build.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
