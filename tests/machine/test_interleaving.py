# SPDX-License-Identifier: GPL-2.0-or-later
"""Several vCPUs: schedules differ by their choices, come back from the printed string, and survive stops and snapshots.

vCPU 0 runs `hello`; the others count in a loop beside it, in the flat 32-bit mode of the reset.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from vmemu.clock.choices import Choices
from vmemu.clock.sources import choices_from
from vmemu.machine import disk, snapshot
from vmemu.machine.boot import BootOptions, boot
from vmemu.machine.machine import Machine
from vmemu.machine.result import state_hash

CODE, DATA = 0x300_0000, 0x300_1000
LOOP = b"\xf0\xff\x05" + DATA.to_bytes(4, "little") + b"\xeb\xf7"  # lock inc dword [DATA]; jmp


def machine_with(choices: Choices | None = None, smp: int = 3, **options: Any) -> Machine:
    machine = boot(BootOptions("hello", isa="x86_64", smp=smp, **options), choices)
    machine.write_guest(CODE, LOOP)
    for vcpu in machine.vcpus[1:]:
        vcpu.set("rip", CODE)
        machine.set_online(vcpu.id, True)
    return machine


def finish(machine: Machine) -> tuple[str, int, bytes]:
    result = machine.run()
    assert result.status == 0
    count = int.from_bytes(machine.read_guest(DATA, 4), "little")
    machine.close()
    return result.state_hash, count, result.output


def test_the_same_seed_twice_and_many_seeds() -> None:
    ends = {}
    for seed in range(1, 21):
        machine = machine_with(choices_from(seed))
        ends[seed] = finish(machine)
        again = machine_with(choices_from(text=machine.choices.text()))
        assert finish(again) == ends[seed], f"seed {seed}"
    assert len({end[0] for end in ends.values()}) >= 10
    assert finish(machine_with(choices_from(7))) == ends[7]
    assert len({end[2] for end in ends.values()}) == 1  # what the guest prints does not depend on it


@pytest.mark.parametrize("pct", ["1:3", "3:42", "5:9:300"])
def test_pct_runs_come_back(pct: str) -> None:
    machine = machine_with(choices_from(pct=pct))
    end = finish(machine)
    assert finish(machine_with(choices_from(pct=pct))) == end
    assert finish(machine_with(choices_from(text=machine.choices.text()))) == end


@pytest.mark.parametrize("seed", [0, 5, 6])
def test_stops_and_snapshots_change_no_schedule(seed: int, tmp_path: Path) -> None:
    expected = finish(machine_with(choices_from(seed)))
    machine = machine_with(choices_from(seed), seed=seed)
    rnd = random.Random(seed)
    kept = []
    for number in range(25):
        assert machine.run_to(machine.insns + rnd.randrange(1, 9000)) is None
        kept.append(snapshot.take(machine))
        if number % 8 == 0:
            disk.save(machine, str(tmp_path / str(number)))
    middle = state_hash(machine)
    snapshot.restore(machine, kept[3])
    machine.run_to(kept[-1].insns)
    assert state_hash(machine) == middle
    assert finish(machine) == expected
    for file in tmp_path.iterdir():
        assert finish(disk.load(str(file))) == expected


def test_seek_with_several_vcpus() -> None:
    machine = machine_with(choices_from(8))
    machine.travel(most=5, spacing=20_000)
    seen = {}
    for target in range(10_000, 200_000, 13_001):
        machine.seek(target)
        seen[target] = machine.insns, state_hash(machine)
    for target in random.Random(1).sample(sorted(seen), len(seen)):
        machine.seek(target)
        assert (machine.insns, state_hash(machine)) == seen[target]
    machine.close()
