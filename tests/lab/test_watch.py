# SPDX-License-Identifier: GPL-2.0-or-later
"""Models at work: what they are shown, beside other observers, across snapshots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from vmemu.core.observe import Seen, What
from vmemu.errors import ConfigError
from vmemu.lab.models import Model, Violation, Watch, models_for, peek
from vmemu.machine.machine import Machine
from vmemu.machine.snapshot import restore, take

STORM: dict[str, Any] = {
    "isa": "x86_64", "memory": "16M", "resident": "2M", "latency": "nvme", "apf": "kvm", "append": "tasks=4 pages=64 passes=2 shared=16",
}  # fmt: skip


class Counting(Model):
    """Counts; complains once, about the tenth fault."""

    name = "counting"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.count: Counter[str] = Counter()
        self.checks = 0
        self.on = dict.fromkeys((What.FAULT, What.HOST_WRITE), self._count)

    def _count(self, seen: Seen) -> None:
        self.count[seen.what.name] += 1
        if self.count["FAULT"] == 10:
            self.wrong("TEN", "the tenth fault", vcpu=seen.vcpu)

    def check(self) -> None:
        self.checks += 1

    def state(self) -> Hashable:
        return self.count["FAULT"] > 9

    def save(self) -> Any:
        return [dict(self.count), self.checks]

    def load(self, state: Any) -> None:
        self.count, self.checks = Counter(state[0]), state[1]


class Everything(Counting):
    """Looks at all, in its own way."""

    name = "everything"

    def see(self, seen: Seen) -> None:
        self.count[seen.what.name] += 1


def test_models_see_what_they_want_and_others_see_all() -> None:
    plain = Machine.boot("storm", **STORM).run()
    machine = Machine.boot("storm", **STORM)
    others: list[Seen] = []
    machine.core.observe = others.append
    counting, everything = Counting(machine), Everything(machine)
    watch = Watch(machine, [counting, everything], keep=50)
    result = machine.run()
    assert result.state_hash == plain.state_hash
    all_of_it = Counter(s.what.name for s in others)
    assert everything.count == all_of_it and counting.count["FAULT"] == all_of_it["FAULT"] > 10
    assert counting.checks == all_of_it["TURN"] == machine.turns
    assert len(watch.timeline) == 50 and watch.timeline[-1].insns <= machine.insns
    found = watch.violations
    assert [v.invariant for v in found] == ["TEN"] and str(found[0]) == "TEN: the tenth fault (vCPU 0)"
    watch.detach()
    assert machine.core.observe == others.append
    machine.close()


def test_a_state_goes_with_a_snapshot() -> None:
    machine = Machine.boot("storm", **STORM)
    counting = Counting(machine)
    watch = Watch(machine, [counting], keep=20)
    while counting.count["FAULT"] < 5:
        assert machine.step(10_000) is None
    snapshot, state = take(machine), watch.save()
    endings = []
    for _ in range(2):
        machine.run()
        endings.append((dict(counting.count), counting.checks, watch.violations, [str(m) for m in watch.timeline]))
        restore(machine, snapshot)
        watch.load(state)
        assert counting.count["FAULT"] == 5 and not watch.violations and len(watch.timeline) <= 20
    assert endings[0] == endings[1]
    assert watch.story(Violation("X", "", insns=machine.insns), lines=3)
    machine.close()


def test_peek_reads_and_moves_nothing() -> None:
    machine = Machine.boot("storm", **STORM)
    machine.run()
    stats = machine.core.stats()
    for gpa in range(0x80_0000, 0x100_0000 - 32, 0x1_0ff0):
        found = peek(machine, gpa, 32)
        assert found is not None and len(found) == 32
    assert peek(machine, 1 << 40, 8) is None
    assert machine.core.stats() == stats
    machine.close()


def test_unknown_models_are_refused() -> None:
    machine = Machine.boot("hello", isa="x86_64")
    with pytest.raises(ConfigError, match="no model nonsense"):
        models_for(machine, ["nonsense"])
    machine.close()
