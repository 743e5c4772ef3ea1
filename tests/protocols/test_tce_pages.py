# SPDX-License-Identifier: GPL-2.0-or-later
"""Page structs: where they lie (W10), and the helpers that count references, of every date."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.protocols.tce.native import HEAD, HELPERS, TAIL, Host, Shape, lib

BASE = 0xF000_0000_0000_0000
SHIFT = 12


@dataclass(frozen=True)
class Block:
    virt: int
    phys: int


def walk(blocks: list[Block], struct_bytes: int, pfn: int) -> int:
    """realmode_pfn_to_page as it was posted; blocks with the one that was added last first. 0: NULL."""
    va = BASE + pfn * struct_bytes
    for block in blocks:
        if block.virt > va:
            continue
        if va + struct_bytes > block.virt + (1 << SHIFT):
            return 0
        return block.phys + va - block.virt
    return 0


def truth(blocks: list[Block], struct_bytes: int, pfn: int) -> int:
    """Where the struct really is; 0 where nothing is, or where it straddles."""
    va = BASE + pfn * struct_bytes
    for block in blocks:
        if block.virt <= va and va + struct_bytes <= block.virt + (1 << SHIFT):
            return block.phys + va - block.virt
    return 0


@settings(max_examples=60)
@given(st.sampled_from([24, 56, 64, 72]), st.permutations(range(6)), st.data())
def test_a_page_struct_is_found_or_left_to_virtual_mode(struct_bytes: int, order: list[int], data: Any) -> None:
    """W10: NULL, or exactly the struct's address, for blocks in any order, scattered, hot-added and removed."""
    host = Host(None, Shape(page_bytes=struct_bytes, block_shift=SHIFT, pages=6 * (1 << SHIFT) // struct_bytes))
    phys = {n: int(lib.tce_pages(host.ptr, 1)) for n in data.draw(st.permutations(range(6)))}
    listed: list[Block] = []
    try:
        for n in order:
            assert lib.tce_add_block(host.ptr, n, phys[n]) == 0
            listed.insert(0, Block(BASE + (n << SHIFT), phys[n]))
            if data.draw(st.integers(0, 3)) == 0:
                gone = data.draw(st.integers(0, len(listed) - 1))
                assert lib.tce_remove_block(host.ptr, (listed.pop(gone).virt - BASE) >> SHIFT) == 0
            for pfn in range(int(host.ptr.npages)):
                found = int(lib.tce_realmode_page(host.ptr, pfn))
                assert found == walk(listed, struct_bytes, pfn)
                assert found in (0, truth(listed, struct_bytes, pfn))
        if listed == sorted(listed, key=lambda b: -b.virt) and struct_bytes == 64:  # boot order hides nothing
            assert all(lib.tce_realmode_page(host.ptr, p) == truth(listed, struct_bytes, p) for p in range(int(host.ptr.npages)))
    finally:
        host.close()


def test_the_vectors_of_the_sheet() -> None:
    """A struct of 72 bytes straddles blocks of 64 KiB at page 910, and not at 909; one of 64 never does."""
    for struct_bytes, straddles in ((72, {910}), (64, set())):
        host = Host(None, Shape(page_bytes=struct_bytes, block_shift=16, pages=2000))
        for block in range(2):
            assert lib.tce_add_block(host.ptr, block, 0) == 0
        assert {pfn for pfn in range(905, 915) if not lib.tce_realmode_page(host.ptr, pfn)} == straddles
        host.close()


def test_flatmem_has_every_page_struct() -> None:
    host = Host(None, Shape(flat=True, pages=100))
    places = [int(lib.tce_realmode_page(host.ptr, pfn)) for pfn in range(101)]
    assert [b - a for a, b in pairwise(places[:100])] == [64] * 99 and places[100] == 0
    host.close()


#: (flags, count) -> what get and put do, by version: None refused, else the count afterwards.
CASES = [(0, 0), (0, 1), (0, 2), (HEAD, 1), (HEAD, 2), (TAIL, 0), (TAIL, 2)]
GET = {
    "2013-05": [1, 2, 3, 2, 3, None, None],  # tails alone are refused; no count is asked for
    "2013-06-05": [1, 2, 3, None, None, None, None],
    "2013-06-27": [None, 2, 3, None, None, None, None],
    "2013-07-15": [None, 2, 3, None, None, None, None],
    "v7": [None, 2, 3, 2, 3, None, 3],  # the caller looks at compound pages
}
PUT = {name: [-1, None, 1, None, None, None, None] for name in HELPERS} | {"v7": [-1, None, 1, None, 1, -1, 1]}


@pytest.mark.parametrize("version", HELPERS)
def test_the_helpers_of_every_version(version: str) -> None:
    host = Host(None, Shape(pages=64, helpers=version))
    assert lib.tce_add_block(host.ptr, 0, 0) == 0
    for table, get in ((GET, True), (PUT, False)):
        for (flags, count), after in zip(CASES, table[version], strict=True):
            host.set_page(7, flags, count)
            done = bool(lib.tce_helper(host.ptr, 7, get))
            assert (host.count(7) if done else None) == after, (flags, count, get)
            assert done or host.count(7) == count
    host.close()
