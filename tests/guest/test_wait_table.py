# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest kernel's table of tasks that wait for pages: right by itself, and wrong in the known ways with the known bugs."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.guest import ISAS, run_vmemu

from vmemu.clock.choices import Choices
from vmemu.machine.boot import BootOptions, boot
from vmemu.machine.elf import SLEEPER_WORDS
from vmemu.machine.images import find

TESTS = "token_early token_several token_model token_race token_few_markers token_shared token_halt cpu_leaves"


@pytest.mark.parametrize(("isa", "smp"), [("x86_64", 1), ("x86_64", 3), ("arm64", 3), ("ppc64", 3)])
def test_in_any_order_of_the_cpus(isa: str, smp: int, tmp_path: Path) -> None:
    """The guest compares with its own model."""
    options = ("--isa", isa, "--smp", str(smp), "--seed", str(smp))
    ran = run_vmemu("boot", "usertests", *options, "--append", f"quiet {TESTS}", cwd=tmp_path, timeout=60)
    assert ran.out.splitlines()[-1] == "usertests: PASS (8 tests)", ran.out + ran.err


@pytest.mark.parametrize(("bug", "test", "status", "text"), [
    ("apf-no-marker", "token_early", 1, "not 200"),
    ("apf-no-marker", "token_race", 3, ""),
    ("apf-wake-one", "token_several", 3, ""),
    ("apf-alloc-locked", "token_few_markers", 4, ""),
    ("apf-no-second-look", "token_few_markers", 4, ""),
    ("apf-drop-markers", "token_model", 3, "info().markers"),
    ("apf-sleep-atomic", "token_halt", 1, "panic: sched: task"),
])  # fmt: skip
def test_known_bugs_show(bug: str, test: str, status: int, text: str, tmp_path: Path) -> None:
    """3: who was forgotten sleeps and nobody runs. 4: CPUs spin until the limit."""
    options = ("--smp", "2", "--max-cycles", "15000000" if status == 4 else "4000000000", "--bug", bug)
    ran = run_vmemu("boot", "usertests", *options, "--append", f"quiet {test} limit=1", cwd=tmp_path, timeout=60)
    assert ran.status == status and text in ran.out, ran.out + ran.err


@pytest.mark.parametrize("isa", ISAS)
def test_the_host_reads_the_counters(isa: str) -> None:
    """The note tells where they are, in the kernel's byte order."""
    machine = boot(BootOptions("usertests", isa=isa, append="quiet token_early"), Choices())
    try:
        assert machine.run().status == 0
        kernel = find("kernel", isa).load()
        assert kernel.sleepers is not None
        gpa, n = kernel.sleepers
        raw = machine.read_guest(gpa, 8 * n)
        order = "big" if kernel.big_endian else "little"
        words = dict(zip(SLEEPER_WORDS, (int.from_bytes(raw[i : i + 8], order) for i in range(0, 8 * n, 8)), strict=True))
        assert words["early"] == 200 and words["waits"] == words["wakes"] == 1 and words["sleeping"] == words["markers"] == 0
        assert words["asleep_ns"] > 0
    finally:
        machine.close()
