# SPDX-License-Identifier: GPL-2.0-or-later
"""The C hash table of tokens and guest frames against a dict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import ffi, lib

U64 = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15  # tokens.c, home()
INVERSE = pow(GOLDEN, -1, 1 << 64)


def key_with_home(cell: int, salt: int) -> int:
    """A key whose home is `cell` in any table of at most 2**16 cells: chosen from the hash back."""
    return (salt << 48 | cell << 32 | salt) * INVERSE & U64


class Table:
    def __init__(self, log2: int) -> None:
        self.ptr = ffi.new("struct table *")
        assert lib.table_init(self.ptr, log2) == 0
        self.val = ffi.new("uint64_t *")

    def put(self, key: int, value: int) -> int:
        return int(lib.table_put(self.ptr, key, value))

    def get(self, key: int) -> int | None:
        return int(self.val[0]) if lib.table_get(self.ptr, key, self.val) else None

    def remove(self, key: int) -> int | None:
        return int(self.val[0]) if lib.table_del(self.ptr, key, self.val) else None

    @property
    def live(self) -> int:
        return int(self.ptr.live)


@pytest.fixture
def table() -> Iterator[Table]:
    t = Table(2)
    yield t
    lib.table_free(t.ptr)


# Three kinds of keys: nearly sequential as tokens and gfns are, a few homes that all collide and wrap around, and any.
KEYS = st.one_of(
    st.integers(1, 24).map(lambda n: n << 12),
    st.builds(key_with_home, st.sampled_from([0, 1, 3, 7, 15, 0xFFFF]), st.integers(0, 6)),
    st.integers(0, U64),
)
OPERATIONS = st.lists(st.tuples(st.sampled_from("ppgdd"), KEYS, st.integers(0, U64)), max_size=250)


@settings(max_examples=300)
@given(log2=st.integers(1, 5), operations=OPERATIONS)
def test_agrees_with_a_dict(log2: int, operations: list[tuple[str, int, int]]) -> None:
    t, model = Table(log2), dict[int, int]()
    for op, key, value in operations:
        if op == "p":
            expected = -1 if key == 0 else 0 if key in model else 1
            assert t.put(key, value) == expected
            if key:
                model[key] = value
        elif op == "g":
            assert t.get(key) == model.get(key)
        else:
            assert t.remove(key) == model.pop(key, None)
        assert t.live == len(model)
    for key, value in model.items():
        assert t.get(key) == value
    lib.table_free(t.ptr)


def test_key_zero_is_refused_and_never_found(table: Table) -> None:
    assert table.put(0, 5) == -1
    assert table.get(0) is None
    assert table.remove(0) is None
    assert table.live == 0


def test_grows_and_keeps_everything(table: Table) -> None:
    for i in range(1, 5001):
        assert table.put(i << 12, ~i & U64) == 1
    assert table.live == 5000
    assert all(table.get(i << 12) == ~i & U64 for i in range(1, 5001))
    assert table.get(5001 << 12) is None


def test_long_chain_over_the_end_of_the_table(table: Table) -> None:
    """Every key wants the last cell: removing from the middle must close the gap across the wrap."""
    keys = [key_with_home(0xFFFF, salt) for salt in range(1, 40)]
    for i, key in enumerate(keys):
        table.put(key, i)
    for gone in (0, 38, 17, 18, 5):
        assert table.remove(keys[gone]) == gone
        assert table.remove(keys[gone]) is None
    for i, key in enumerate(keys):
        assert table.get(key) == (None if i in (0, 38, 17, 18, 5) else i)


def test_churn_does_not_grow_the_chains(table: Table) -> None:
    """A token that comes for each that goes, for long: no tombstones, so a miss still ends at once."""
    for i in range(1, 65):
        table.put(i, i)
    for i in range(65, 30_000):
        assert table.put(i, i) == 1
        assert table.remove(i - 64) == i - 64
        assert table.live == 64
    assert [table.get(i) for i in range(30_000 - 64, 30_000)] == list(range(30_000 - 64, 30_000))


@pytest.mark.parametrize("live", [1, 64, 5000])
def test_benchmark_checks_itself(live: int) -> None:
    ns: Any = lib.bench_tokens(live, 2000)
    assert ns > 0
