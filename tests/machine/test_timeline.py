# SPDX-License-Identifier: GPL-2.0-or-later
"""Seek: exact to one instruction, in both directions, with the console that belongs to the instant."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest
from helpers.guest import ISAS

from vmemu.errors import ConfigError
from vmemu.machine.machine import Machine
from vmemu.machine.result import state_hash
from vmemu.machine.timeline import Timeline, first_instant

each_isa = pytest.mark.parametrize("isa", ISAS)


def instant(machine: Machine) -> tuple[Any, ...]:
    return machine.insns, machine.time_units, bytes(machine.console.output), state_hash(machine)


@each_isa
@pytest.mark.parametrize("smp", [1, 3])
def test_every_visited_instant_is_the_one_of_a_run_without_detours(isa: str, smp: int) -> None:
    shown = bytearray()
    machine = Machine.boot("hello", isa=isa, smp=smp, seed=5, console=shown.extend)
    machine.travel(most=6, spacing=9000)
    machine.run()
    total, end, output = machine.insns, instant(machine), bytes(shown)
    rnd = random.Random(11)
    targets = sorted(rnd.randrange(total) for _ in range(8))
    straight = Machine.boot("hello", isa=isa, smp=smp, seed=5)
    expected = {}
    for target in targets:
        straight.run_to(target)
        expected[target] = instant(straight)
    straight.close()
    assert machine.timeline is not None
    for target in rnd.choices(targets, k=24):
        assert machine.seek(target) is None
        assert instant(machine) == expected[target]
        assert len(machine.timeline.marks) <= 6
    assert machine.seek(total + 1) is not None  # the run ends before
    assert (machine.insns, *instant(machine)[2:]) == (total, *end[2:])
    assert bytes(shown) == output  # nothing was shown twice


@each_isa
def test_step_back_and_forth_by_one(isa: str) -> None:
    machine = Machine.boot("hello", isa=isa)
    machine.travel()
    machine.run_to(40_000)
    forwards = []
    for _ in range(40):
        machine.seek(machine.insns + 1)
        forwards.append((machine.insns, machine.vcpus[0].registers()))
    for index, registers in reversed(forwards[:-1]):
        machine.seek(machine.insns - 1)
        assert (machine.insns, machine.vcpus[0].registers()) == (index, registers)
    machine.close()


def test_nothing_before_the_start() -> None:
    machine = Machine.boot("hello", isa="x86_64")
    machine.run_to(5000)
    machine.travel()
    with pytest.raises(ConfigError, match="instruction 4999 is before 5000"):
        machine.seek(4999)
    with pytest.raises(ConfigError):
        Timeline(machine, most=1)
    machine.close()


def test_snapshots_thin_out_towards_the_start() -> None:
    machine = Machine.boot("hello", isa="x86_64")
    timeline = machine.travel(most=8, spacing=500)
    machine.run()
    gaps = [b.insns - a.insns for a, b in pairwise(timeline.marks)]
    assert len(timeline.marks) == 8 and timeline.marks[0].insns == 0
    assert max(gaps[-3:]) < max(gaps[:3])
    timeline.close()


@each_isa
def test_first_instant_is_exact(isa: str) -> None:
    machine = Machine.boot("hello", isa=isa)
    assert first_instant(machine, lambda m: b"hello" in m.console.output) is None
    index = machine.insns
    machine.close()
    machine = Machine.boot("hello", isa=isa)
    machine.run_to(index - 1)
    assert b"hello" not in machine.console.output
    machine.run_to(index)
    assert b"hello" in machine.console.output
    end = first_instant(machine, lambda m: False)
    assert end is not None and end[0] == 0
    machine.close()


def test_slots_of_snapshots_that_are_gone_are_used_again() -> None:
    """More pages go to the store between snapshots than it has slots for; what older snapshots own stays as it was."""
    options: dict[str, Any] = {"isa": "x86_64", "memory": "8M", "resident": "3M", "append": "pages=1500 passes=1000"}
    end = 240_000_000
    straight = Machine.boot("walk", **options)
    expected = {}
    for target in range(end // 12, end + 1, end // 12):
        straight.run_to(target)
        expected[target] = instant(straight)
    straight.close()
    machine = Machine.boot("walk", **options)
    machine.travel(most=32, spacing=500_000)
    assert machine.seek(end) is None and instant(machine) == expected[end]
    assert machine.core.stats()["swap_out"] > 2 * int(machine.core.ptr.nslots)
    targets = list(expected)
    random.Random(3).shuffle(targets)
    for target in targets:
        assert machine.seek(target) is None and instant(machine) == expected[target], target
    machine.close()
