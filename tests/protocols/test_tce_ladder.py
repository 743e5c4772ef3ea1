# SPDX-License-Identifier: GPL-2.0-or-later
"""The calls at every level against a plain model: random calls on pages in every state. W3, W4, W5, W8, W9, and W1, W11 after each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import PageFlag
from vmemu.lab.models.tce_rules import Call, Rules
from vmemu.lab.tce_rig import ENTRIES, GET, INDIRECT, MASK, OK, PUT, STUFF, Bench, bench
from vmemu.protocols.tce.facility import LIOBN, WINDOW_BASE
from vmemu.protocols.tce.wire import CODES, Level, Refusal, Token

PAGES = 128
#: Pages that calls name and that lose what they have: the rest keeps the machine alive.
USED = 12


class Dice:
    """Choices of one example, weighted: Hypothesis draws a seed, so that examples are long and their ends are reached as often."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def index(self) -> int:
        usual = self.random.randrange(10)
        return int(self.one(usual, usual, usual, usual, usual, usual, 511, 512, ENTRIES - 2, ENTRIES - 1, ENTRIES, -1))

    def liobn(self) -> int:
        return int(self.one(*[LIOBN] * 20, 0, MASK, 1 << 32 | LIOBN, 1 << 63 | LIOBN, LIOBN - 1))

    def entry(self) -> int:
        """Mostly a page with permissions; also reserved bits, addresses at and behind the end, and poison without permissions."""
        page = self.one(*[self.random.randrange(USED)] * 15, PAGES - 1, PAGES, 1 << 40, (1 << 52) - 1)
        return int(page) << 12 | int(self.one(*[3, 3, 3, 1, 2] * 3, 0, 0xFFC, 0x103, 0x801))

    def op(self) -> tuple[Any, ...]:
        calls, pages = ("put", "put", "put", "put", "stuff", "indirect", "get"), ("touch", "touch", "swap", "old", "clean", "discard")
        kind = self.one(*calls, *pages, "compound", "split", "reorder")
        if kind == "put":
            return kind, self.liobn(), self.index(), self.entry() if self.random.random() < 0.7 else 0, self.one(*[0] * 12, 8, 0xFFF)
        if kind == "stuff":
            count = self.one(0, 1, 2, 3, 5, 9, 511, 512, 513, ENTRIES, 1 << 52, MASK)
            return kind, self.liobn(), self.index(), self.entry() if self.random.random() < 0.3 else 0, count
        if kind == "indirect":
            values = [self.entry() for _ in range(self.random.randrange(10))]
            return kind, self.liobn(), self.index(), values, self.one(*[None] * 12, 513, MASK)
        if kind == "get":
            return kind, self.index()
        return kind, self.random.randrange({"compound": USED // 4, "split": USED // 4, "reorder": 2}.get(kind, USED))


def apply(bench: Bench, model: Rules, op: tuple[Any, ...], enter: int) -> None:
    kind, *args = op
    kernel = enter < 2
    if kind == "put":
        liobn, index, value, low = args
        ioba = bench.at(index) + low & MASK
        code, _ = bench.call(PUT, liobn, ioba, value, enter=enter)
        assert code == model.do(Call(PUT, liobn, ioba, value, kernel=kernel)), op
    elif kind == "stuff":
        liobn, index, value, count = args
        code, _ = bench.call(STUFF, liobn, bench.at(index), value, count, enter)
        assert code == model.do(Call(STUFF, liobn, bench.at(index), value, count, kernel=kernel)), op
    elif kind == "indirect":
        liobn, index, values, count = args
        count = len(values) if count is None else count
        data = b"".join(v.to_bytes(8, "big") for v in values)
        bench.machine.write_guest(bench.list_gpa, data.ljust(4096, b"\0"))
        if index % 2:
            bench.page(bench.pages - 1).flags |= PageFlag.ACCESSED | PageFlag.DIRTY
        code, _ = bench.call(INDIRECT, liobn, bench.at(index), bench.list_gpa, count, enter)
        assert code == model.do(Call(INDIRECT, liobn, bench.at(index), bench.list_gpa, count, tuple(values), kernel)), op
    elif kind == "get":
        code, value = bench.call(GET, LIOBN, bench.at(args[0]), enter=enter)
        if 0 <= args[0] < ENTRIES:
            assert (code, value) == (OK, model.entry(LIOBN, args[0])), op  # W8
        else:
            assert code == -4
    else:
        disturb(bench, kind, args[0])
        return
    assert code in CODES  # W9


def disturb(bench: Bench, kind: str, which: int) -> None:
    """What happens to pages meanwhile. A page under a TCE cannot be taken away: W6."""
    group = list(range(which * 4, which * 4 + 4))
    if kind in ("swap", "discard") and bench.page(which).state == 2 and bench.host.flags(int(bench.page(which).frame)) & 3:
        return  # a compound page is split before any of it goes
    if kind == "reorder":
        bench.reorder(which)
    elif kind == "touch":
        bench.touch(which)
    elif kind == "swap":
        page = bench.page(which)
        held = page.state == 2 and bench.host.refs(int(page.frame)) > 0
        assert not (bench.swap_out(which) and held)
    elif kind == "old":
        bench.page(which).flags &= ~PageFlag.ACCESSED
    elif kind == "clean":
        page = bench.page(which)
        if page.state == 2 and not bench.host.refs(int(page.frame)):
            page.flags &= ~PageFlag.DIRTY
    elif kind == "discard":
        bench.discard(which)
    elif all(bench.page(p).state != 2 or bench.host.refs(int(bench.page(p).frame)) == 0 for p in group):
        if kind == "compound":
            bench.split(group)
            bench.make_compound(group)
        else:
            bench.split(group)


def play(profile: str, shape: str, seed: int, steps: int, levels: Sequence[int]) -> Counter[Any]:
    """What the levels did, for the test of the test."""
    dice = Dice(seed)
    with bench(memory="512K", profile=profile, tce_pages=shape) as machine:
        model = Rules(profile, PAGES, {LIOBN: (WINDOW_BASE, ENTRIES)})
        for page in (*range(USED // 2), *range(20, 80), *range(USED // 2, USED)):  # in two blocks of page structs of 4 KiB
            machine.touch(page)
        for _ in range(steps):
            op = dice.op()
            apply(machine, model, op, dice.one(*levels))
            machine.check()
            assert machine.entries() == model.tables.get(LIOBN, {}), op  # W4, W5
        for block in sorted({index // 512 for index in machine.entries()}):
            assert machine.stuff(block * 512, 0, 512) == OK
        assert machine.tce.references() == 0
        machine.check()
        done: Counter[Any] = Counter({r: int(machine.host.ptr.refused[r]) for r in Refusal})
        done.update({level: sum(machine.tce.calls(level).values()) for level in Level})
        done["freed"] = int(machine.host.ptr.freed)
        return done


SEEDS, STEPS = st.integers(0, 1 << 32), st.integers(1, 60)


@settings(max_examples=40)
@given(SEEDS, STEPS, st.sampled_from(["vmemmap", "vmemmap-4k", "vmemmap-56", "vmemmap-72", "flatmem"]))
def test_every_level_does_what_lopar_says(seed: int, steps: int, shape: str) -> None:
    """W3: where a call begins makes no difference; W5: a failing call changes nothing."""
    play("papr", shape, seed, steps, (0, 0, 0, 1, 2))


@pytest.mark.parametrize("profile", ["kvm", "kvm-4.14", "qemu"])
@settings(max_examples=12)
@given(seed=SEEDS, steps=STEPS)
def test_implementations_do_what_the_table_says(profile: str, seed: int, steps: int) -> None:
    play(profile, "vmemmap", seed, steps, (2,) if profile == "qemu" else (0, 0, 1))


def test_examples_reach_every_corner() -> None:
    """Each level finishes calls, pages are freed late, and real mode refuses for every reason that needs no second CPU."""
    total: Counter[Any] = Counter()
    for seed in range(16):
        total.update(play("papr", "vmemmap-4k", seed, 60, (0, 0, 0, 1, 2)))
    alone = {Refusal.OFF, Refusal.LARGE_MAPPING, Refusal.COUNT_ZERO, Refusal.CHANGED, Refusal.LOCKED}
    alone |= {Refusal.PAGE_SIZE, Refusal.LIMIT}
    missing = [what for what, n in total.items() if not n and what not in alone]
    assert not missing


def test_no_token_is_missing() -> None:
    assert {GET, PUT, STUFF, INDIRECT} == set(Token)
