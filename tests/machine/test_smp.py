# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs under the guest kernel: right results under every interleaving, and the same interleaving every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from vmemu import Machine, RunResult

ISAS = ("x86_64", "arm64", "ppc64")


def run(image: str, isa: str, **options: object) -> RunResult:
    machine = Machine.boot(image, isa=isa, max_cycles=60_000_000_000, **options)
    try:
        return machine.run()
    finally:
        machine.close()


@pytest.mark.parametrize("cpus", [2, 4])
@pytest.mark.parametrize("isa", ISAS)
def test_usertests_pass_on_several_cpus(isa: str, cpus: int) -> None:
    result = run("usertests", isa, smp=cpus, resident="8M")
    assert result.status == 0, result.output.decode()[-2000:]
    assert f"{cpus} CPUs".encode() in result.output


@pytest.mark.parametrize("isa", ISAS)
def test_sixteen_cpus(isa: str) -> None:
    result = run("tasks", isa, smp=16, append="tasks=16")
    assert result.status == 0 and b"failures=0" in result.output


@pytest.mark.parametrize("isa", ISAS)
def test_tasks_gain_from_cpus(isa: str) -> None:
    alone, together = (run("tasks", isa, smp=n) for n in (1, 4))
    assert alone.status == together.status == 0
    assert together.virtual_ns < alone.virtual_ns * 0.6


@pytest.mark.parametrize("isa", ISAS)
def test_seeds_give_interleavings_that_their_choices_reproduce(isa: str) -> None:
    runs = [run("tasks", isa, smp=4, seed=seed, append="tasks=2") for seed in range(1, 51)]
    assert all(r.status == 0 and b"failures=0" in r.output for r in runs)
    by_choices = {r.to_json()["choices"]: r.state_hash for r in runs}
    assert len(by_choices) >= 10
    for choices, state in list(by_choices.items())[:10]:
        assert run("tasks", isa, smp=4, choices=choices, append="tasks=2").state_hash == state


@pytest.mark.parametrize("isa", ISAS)
def test_the_same_in_another_process(isa: str) -> None:
    found = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "vmemu", "boot", "tasks", "--isa", isa, "--smp", "4", "--seed", "7", "--json", "-"],
            capture_output=True, text=True, check=True, env=os.environ | {"PYTHONHASHSEED": hash_seed},
        )  # fmt: skip
        report = json.loads(done.stdout[done.stdout.index("{\n") :])
        report.pop("wall_s")
        found.append(report)
    assert found[0] == found[1]
