# SPDX-License-Identifier: GPL-2.0-or-later
"""The gfn table against a set (I-8)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.protocols.sdei_arm64.abi import SLOTS
from vmemu.protocols.sdei_arm64.slots import EMPTY, GfnSlots, home

#: Few homes, so that runs are long and wrap around; and gfns that differ only above bit 31.
CROWDED = sorted((g for g in range(4000) if home(g) in (0, 1, 61, 62, 63)), key=lambda g: (home(g), g))[:120]
gfns = st.one_of(st.sampled_from(CROWDED), st.integers(0, (1 << 52) - 1), st.sampled_from(CROWDED).map(lambda g: g | 1 << 40))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), gfns), max_size=200))
def test_equals_a_set(ops: list[tuple[bool, int]]) -> None:
    """I-8: no gfn twice, and lookup after any sequence of additions and removals is a set's."""
    table, model = GfnSlots(), set()
    for add, gfn in ops:
        if add:
            assert table.add(gfn) == (gfn not in model and len(model) < SLOTS)
            if len(model) < SLOTS:
                model.add(gfn)
        else:
            assert table.remove(gfn) == (gfn in model)
            model.discard(gfn)
        assert table.gfns() == sorted(model)
        assert all(g in table for g in model)
        assert (gfn in table) == (gfn in model)
    again = GfnSlots(table.slots)
    assert again.slots == table.slots
    assert len(again) == len(model)


def test_a_full_table_is_refused_not_searched_for_ever() -> None:
    table = GfnSlots()
    for gfn in range(SLOTS):
        assert table.add(gfn)
    assert not table.add(SLOTS)
    assert SLOTS not in table
    assert not table.remove(SLOTS)
    table.clear()
    assert table.slots == [EMPTY] * SLOTS


def test_homes() -> None:
    """hash_32(x, 6) of the kernel, worked out by hand: x * 0x61c88647 mod 2**32, upper 6 bits."""
    assert [home(g) for g in (0, 1, 2, 0x80000000, 0xFFFFFFFF)] == [0, 24, 48, 32, 39]
    assert home(1 << 32 | 1) == home(1)
