# SPDX-License-Identifier: GPL-2.0-or-later
"""The model of DMA windows: silent on real runs and on random calls, and it notices what is wrong, itself included."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import PageFlag
from vmemu.devices.netcard import DmaError
from vmemu.lab.models.tce import TceModel
from vmemu.lab.models.tce_rules import PUT, Answer, Call, Rules
from vmemu.lab.models.watch import Watch
from vmemu.lab.tce_rig import INDIRECT, MASK, STUFF, Bench
from vmemu.lab.tce_rig import PUT as PUT_TCE
from vmemu.machine.machine import Machine
from vmemu.protocols.tce.facility import LIOBN
from vmemu.protocols.tce.ladder import Ladder


def play(bench: Bench, seed: int, steps: int) -> None:
    """Calls at every level, pages that come and go, a device that stores."""
    dice, papr = random.Random(seed), bench.tce.profile.name == "papr"
    for page in range(1, 12):
        bench.touch(page)
    for _ in range(steps):
        page, index = dice.randrange(1, 12), dice.choice((0, 1, 2, 3, (1 << 16) - 1, 1 << 16))
        value = dice.choice((page, page, page, 64, 1 << 40)) << 12 | dice.choice((3, 3, 3, 1, 2, 0, 0x103))
        enter = 2 if bench.tce.ladder.virtual is None else dice.randrange(3 if papr else 2)  # else user space alone answers otherwise
        match dice.randrange(9):
            case 0 | 1 | 2:
                bench.call(PUT_TCE, LIOBN, bench.at(index) + dice.choice((0, 0, 0, 8)) & MASK, value, enter=enter)
            case 3:
                bench.call(STUFF, LIOBN, bench.at(index), dice.choice((0, 0, value)), dice.choice((0, 1, 3, 512, 513)), enter)
            case 4 | 5:
                others = [dice.randrange(1, 12) << 12 | 3 for _ in range(dice.randrange(4))]
                bench.indirect(index, [*others, value], enter)
            case 6:
                try:
                    bench.tce.card._bridge.write(bench.at(index), b"x" * dice.choice((4, 6000)))
                except DmaError:
                    pass
            case 7:
                bench.swap_out(page)
            case 8:
                if not bench.host.refs(int(bench.page(page).frame)):
                    bench.page(page).flags &= ~(PageFlag.ACCESSED | PageFlag.DIRTY)


def watched(profile: str = "papr", model: type[TceModel] = TceModel, **options: Any) -> tuple[Bench, Watch]:
    bench = Bench.make(memory="256K", profile=profile, **options)
    return bench, Watch(bench.machine, [model(bench.machine)], keep=0)


@pytest.mark.parametrize("profile", ["papr", "kvm", "kvm-4.14", "qemu"])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, 40))
def test_no_false_alarm(profile: str, seed: int, steps: int) -> None:
    """W3: the same whichever level finishes a call."""
    bench, watch = watched(profile)
    play(bench, seed, steps)
    watch.at_rest()
    bench.machine.close()
    assert [str(v) for v in watch.violations] == []


@pytest.mark.parametrize("options", [{"tce_real_mode": "off"}, {}, {"tce": "qemu"}])
def test_no_false_alarm_with_a_guest(options: dict[str, Any]) -> None:
    machine = Machine.boot("dma-net", isa="ppc64", append="quiet style=0 packets=128 pages=256", console=lambda data: None,
                           memory="64M", resident="16M", **options)  # fmt: skip
    watch = Watch(machine, [TceModel(machine)], keep=0)
    result = machine.run()
    watch.at_rest()
    machine.close()
    assert (result.status, [str(v) for v in watch.violations]) == (0, [])


class Generous(Rules):
    """Rules that are wrong themselves: reserved bits are nobody's business."""

    def _bad(self, value: int, kernel: bool) -> bool:
        return super()._bad(value & ~0xFFC, kernel)


def test_wrong_rules_are_noticed() -> None:
    bench, watch = watched()
    model = watch.models[0]
    assert isinstance(model, TceModel)
    model.rules = Generous("papr", 64, model.rules.windows)
    bench.put(0, 3 << 12 | 0x103)
    bench.machine.close()
    assert {v.invariant for v in watch.violations} == {"W4"}


def test_a_wrong_host_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that no guest may see, and an entry that nobody asked for."""
    bench, watch = watched(tce_real_mode="off")
    monkeypatch.setattr(Ladder, "call", lambda self, vcpu, call: (9999, None))
    bench.put(0, 3 << 12 | 3)
    monkeypatch.setattr(Ladder, "call", lambda self, vcpu, call: (0, None))
    bench.put(1, 3 << 12 | 3)
    bench.machine.close()
    assert {v.invariant for v in watch.violations} >= {"W9", "W4"}


def test_the_table_of_answers() -> None:
    """The sheet's own test vectors."""
    rules = Rules("papr", 256, {LIOBN: (0x8000_0000, 1 << 16)})
    assert rules.answer(Call(PUT, LIOBN, 0x8000_3000, 0x45003)) == Answer(0, LIOBN, 3, (0x45003,))
    assert rules.do(Call(PUT, LIOBN, 0x8000_3000, 0xDEAD0FFC)) == 0 and rules.entry(LIOBN, 3) == 0xDEAD0FFC
    assert [rules.do(Call(STUFF, LIOBN, 0x8000_0000, 0, n)) for n in (512, 513)] == [0, -57]
    listed = Call(INDIRECT, LIOBN, 0x8000_0000, 0x1000, 2, (0x2003, 1 << 40 | 3))
    assert rules.do(listed) == -4 and rules.entry(LIOBN, 0) == 0
    others = Rules("qemu", 256, rules.windows)
    assert others.do(listed) == 0 and others.entry(LIOBN, 0) == 0x2003
