# SPDX-License-Identifier: GPL-2.0-or-later
"""A device's access to a process's memory: the reference walker decides what it may reach; stage 2 decides the rest."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CoreMachine, DmaEnd, PageState, S2Result, lib
from vmemu.isa.ppc64.walker import PROTFAULT, READ, WRITE, RadixState, walk

PAGE, PAGES = 4096, 96
TABLE, ROOT, MIDDLE, LEAVES = 0x1000, 0x2000, 0x4000, 0x5000  # tree of 12 + 9 + 9 bits over 42
PID = 7
VALID, LEAF = 1 << 63, 1 << 62
RTS = 42 - 31


class Machine:
    """96 pages; PID 7 has one leaf table: 512 entries from address 0."""

    def __init__(self) -> None:
        self.core = CoreMachine("ppc64", PAGES, [(0, PAGES * PAGE)], lambda *_: (0, 0))
        self.core.use_c_store()
        self.vcpu = self.core.add_vcpu()
        self.vcpu.set("prtbl", TABLE)
        self.put(TABLE + 16 * PID, (RTS >> 3) << 61 | (RTS & 7) << 5 | ROOT | 12)
        self.put(ROOT, VALID | MIDDLE | 9)
        self.put(MIDDLE, VALID | LEAVES | 9)

    def write(self, gpa: int, data: bytes) -> None:
        assert self.core.ensure(None, gpa) is S2Result.OK
        assert self.core.write_resident(gpa, data) == len(data)

    def put(self, gpa: int, value: int) -> None:
        self.write(gpa, struct.pack(">Q", value))

    def read64(self, gpa: int) -> int | None:
        if self.core.index(gpa) < 0 or gpa % 8:
            return None
        self.core.ensure(None, gpa)
        return int.from_bytes(self.core.read_resident(gpa, 8), "big")


ENTRIES = st.builds(
    lambda valid, leaf, page, bits: (VALID * valid | LEAF * leaf | page * PAGE | bits),
    st.sampled_from((1, 1, 1, 0)), st.sampled_from((1, 1, 1, 0)), st.sampled_from((20, 21, 22, PAGES, 1 << 30)), st.integers(0, 0x1FF),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(ENTRIES, st.sampled_from((0, 1, 5)), st.integers(0, 4095), st.booleans())
def test_agrees_with_the_reference_walker(entry: int, page: int, offset: int, write: bool) -> None:
    m = Machine()
    for gpa in (20, 21, 22):
        m.write(gpa * PAGE, bytes([gpa]) * PAGE)
    m.put(LEAVES + 8 * page, entry)
    ea = page * PAGE + offset
    state = RadixState(pid=PID, prtbl=TABLE, prtbl_size=PAGE)
    want = walk(m.read64, state, ea, WRITE if write else READ, True)
    if write:
        done, end, gpa = m.core.dma_write(PID, ea, b"!")
    else:
        data, end, gpa = m.core.dma_read(PID, ea, 1)
        done = len(data)
    if want.ok and m.core.index(want.gpa) >= 0:
        assert (done, end, gpa) == (1, DmaEnd.DONE, want.gpa)
        assert m.core.read_resident(want.gpa, 1) == (b"!" if write else data)
        assert (m.read64(LEAVES + 8 * page) or 0) & 0x180 == (0x180 if write else 0x100) | entry & 0x180
    else:
        assert done == 0 and m.read64(LEAVES + 8 * page) == entry or want.ok
        assert end is (DmaEnd.NOT_RAM if want.ok else DmaEnd.RIGHTS if want.fault & PROTFAULT else DmaEnd.UNMAPPED)


OUTSIDE = ((1 << 42, PID), (1 << 62, PID), (2 << 62, PID), (0, 8), (0, 256), (0, 0xFFFFFFFF), ((1 << 64) - 1, PID))


@pytest.mark.parametrize(("ea", "pid"), OUTSIDE)
def test_outside_every_tree(ea: int, pid: int) -> None:
    m = Machine()
    m.put(LEAVES, VALID | LEAF | 20 * PAGE | 6)
    assert m.core.dma_read(pid, ea, 1)[1] is DmaEnd.UNMAPPED
    assert m.core.dma_write(pid, ea, b"x")[:2] == (0, DmaEnd.UNMAPPED)


def test_stops_at_the_first_byte_that_it_cannot_reach() -> None:
    m = Machine()
    rng = random.Random(1)
    content = [rng.randbytes(PAGE) for _ in range(4)]
    for i, data in enumerate(content):
        m.write((20 + i) * PAGE, data)
        m.put(LEAVES + 8 * i, VALID | LEAF | (20 + i) * PAGE | 6)
    whole = b"".join(content)
    assert m.core.dma_read(PID, 100, 3 * PAGE) == (whole[100 : 100 + 3 * PAGE], DmaEnd.DONE, 23 * PAGE)
    assert lib.s2_swap_out(m.core.ptr, m.core.index(22 * PAGE)) == 0
    assert m.core.dma_read(PID, 100, 3 * PAGE) == (whole[100 : 2 * PAGE], DmaEnd.AWAY, 22 * PAGE)
    assert m.core.page(m.core.index(22 * PAGE)).state == PageState.SWAPPED  # it has not been fetched
    assert m.core.dma_write(PID, PAGE, b"x" * 2 * PAGE) == (PAGE, DmaEnd.AWAY, 22 * PAGE)
    assert m.core.read_resident(21 * PAGE, PAGE) == b"x" * PAGE
    m.put(LEAVES + 8 * 2, VALID | LEAF | 60 * PAGE | 6)  # never touched
    assert m.core.dma_read(PID, 2 * PAGE, 1)[1:] == (DmaEnd.ZERO, 60 * PAGE)
    assert lib.s2_swap_out(m.core.ptr, m.core.index(LEAVES)) == 0
    assert m.core.dma_read(PID, 2 * PAGE, 1)[1:] == (DmaEnd.TABLE, LEAVES + 8 * 2)
    assert m.core.dma_read(PID, 0, 0)[:2] == (b"", DmaEnd.DONE)
