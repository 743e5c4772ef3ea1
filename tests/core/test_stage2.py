# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames, swap and reclaim: no content is ever lost, the resident limit holds, and the right pages go."""

from __future__ import annotations

import random

import pytest
from helpers.bare import CODE, DATA, ISAS, PAGE_SIZE, RAM, Guest, assembler, ended
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.clock.inject import Injector
from vmemu.core import NO_SLOT, CoreMachine, PageFlag, PageState, S2Result
from vmemu.errors import ConfigError, StoreError
from vmemu.memory.latency import parse_latency
from vmemu.memory.memory import Memory
from vmemu.memory.store import parse_store

FRAMES, PAGES, RECENT = 40, 110, 32  # RECENT: core.h
STORES = ("c", "fail:read@0xffffffff,ram:")  # the second rule never fires: it makes Python keep the pages
EV_SWAP_OUT, EV_CLEAN_DROP, EV_ZERO_DROP = 5, 6, 7  # core.h, enum ev_kind
#: Guest-physical page that no test touches again.
LAST = PAGES - 1


class Rig:
    """A machine of two RAM regions with a gap, and what its pages must hold."""

    def __init__(self, store: str, frames: int = FRAMES) -> None:
        regions = [(0x40000000, 64 * PAGE_SIZE), (0x50000000, (PAGES - 64) * PAGE_SIZE)]
        self.machine = CoreMachine("arm64", frames, regions, lambda *_: (0, 0))
        self.memory: Memory | None = None
        if store == "c":
            self.machine.use_c_store()
        else:
            spec, latency = parse_store(store), parse_latency("none")
            self.memory = Memory(self.machine, spec, latency, Injector.parse(()), 2_000_000_000)
        self.machine.add_vcpu()
        self.model: dict[int, bytes] = {}
        self.pinned: set[int] = set()
        self.served: dict[int, int] = {}  # page -> number of its last installation
        self.serial = 0

    def need(self, page: int) -> None:
        """Make it resident, and check what had to go for that."""
        if self.machine.page(page).state == PageState.RESIDENT:
            return
        before = {i: self.facts(i) for i in range(PAGES)}
        stats = self.machine.stats()
        gpa = self.machine.gpa(page)
        if self.memory is not None:
            assert self.memory.serve(None, gpa)
        else:
            assert self.machine.ensure(None, gpa) == S2Result.OK
        self.serial += 1
        self.served[page] = self.serial
        self.check_evictions(before, stats)

    def facts(self, i: int) -> tuple[int, int, int]:
        p = self.machine.page(i)
        return int(p.state), int(p.flags), int(p.slot)

    def check_evictions(self, before: dict[int, tuple[int, int, int]], stats: dict[str, int]) -> None:
        gone = [i for i in range(PAGES) if before[i][0] == PageState.RESIDENT != self.machine.page(i).state]
        now = self.machine.stats()
        kinds = {"clean_drop": 0, "zero_drop": 0, "swap_out": 0}

        def eligible(i: int) -> bool:  # `serial` has counted the newcomer already
            old = before[i][0] == PageState.RESIDENT and self.serial - 1 - self.served[i] >= RECENT
            return old and i not in self.pinned

        for i in gone:
            _, flags, slot = before[i]
            assert eligible(i)
            if flags & PageFlag.ACCESSED:  # a second chance: it goes only if nothing was cold
                assert all(before[j][1] & PageFlag.ACCESSED for j in range(PAGES) if eligible(j))
            clean = slot != NO_SLOT and not flags & PageFlag.DIRTY
            zero = not any(self.model.get(i, b"\0"))
            kinds["clean_drop" if clean else "zero_drop" if zero else "swap_out"] += 1
            assert self.machine.page(i).state == (PageState.ZERO if zero and not clean else PageState.SWAPPED)
        assert kinds == {k: now[k] - stats[k] for k in kinds}

    def write(self, page: int, data: bytes) -> None:
        self.need(page)
        assert self.machine.write_resident(self.machine.gpa(page), data) == PAGE_SIZE
        self.model[page] = data

    def read(self, page: int) -> None:
        self.need(page)
        assert self.machine.read_resident(self.machine.gpa(page), PAGE_SIZE) == self.content(page)

    def access(self, page: int) -> None:
        """What a soft-TLB fill does."""
        self.need(page)
        self.machine.page(page).flags |= PageFlag.ACCESSED

    def pin(self, page: int) -> None:
        if len(self.pinned) < FRAMES - RECENT - 3:
            self.need(page)
            self.machine.pin(self.machine.gpa(page), self.machine.gpa(page) + 1)
            self.pinned.add(page)

    def content(self, page: int) -> bytes:
        return self.model.get(page, bytes(PAGE_SIZE))

    def check(self) -> None:
        m = self.machine
        resident = [i for i in range(PAGES) if m.page(i).state == PageState.RESIDENT]
        assert len(resident) == m.stats()["resident"] == int(m.ptr.nframes) - m.free_frames
        assert len({int(m.page(i).frame) for i in resident}) == len(resident)
        assert m.stats()["resident_peak"] <= int(m.ptr.nframes)
        assert self.pinned <= set(resident)
        slots = [int(m.page(i).slot) for i in range(PAGES) if m.page(i).slot != NO_SLOT]
        assert len(set(slots)) == len(slots)
        for i in range(PAGES):
            seen = m.page_bytes_cstore(i) if self.memory is None else self.memory.peek(i)
            assert seen == self.content(i), i


def page_of(seed: int) -> bytes:
    return bytes(PAGE_SIZE) if seed == 0 else random.Random(seed).randbytes(64) * (PAGE_SIZE // 64)


PAGE = st.one_of(st.integers(0, PAGES - 2), st.integers(0, 15))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), PAGE, st.just(0)),
        st.tuples(st.just("write"), PAGE, st.integers(0, 5)),
        st.tuples(st.just("access"), PAGE, st.just(0)),
        st.tuples(st.just("pin"), PAGE, st.just(0)),
        st.tuples(st.just("sweep"), PAGE, st.integers(0, 3)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=150)
@given(operations=OPERATIONS)
def test_no_content_is_lost(store: str, operations: list[tuple[str, int, int]]) -> None:
    rig = Rig(store)
    for op, page, arg in operations:
        if op == "read":
            rig.read(page)
        elif op == "write":
            rig.write(page, page_of(arg))
        elif op == "access":
            rig.access(page)
        elif op == "pin":
            rig.pin(page)
        else:  # a range: reads, writes, zeroes or touches, enough to bring reclaim about
            for i in range(page, min(page + 45, LAST)):
                if arg == 0:
                    rig.read(i)
                elif arg == 1:
                    rig.access(i)
                else:
                    rig.write(i, page_of(i + 9 if arg == 2 else 0))
    rig.check()


@pytest.mark.parametrize("store", STORES)
def test_clean_pages_are_dropped_and_dirty_ones_written(store: str) -> None:
    rig = Rig(store)
    for i in range(LAST):
        rig.write(i, page_of(i + 1))
    for i in range(LAST):
        rig.read(i)
    before = rig.machine.stats()
    for i in range(LAST):
        rig.read(i)
    after = rig.machine.stats()
    assert after["swap_out"] == before["swap_out"]
    assert after["clean_drop"] - before["clean_drop"] == after["swap_in"] - before["swap_in"] == LAST
    rig.check()


@pytest.mark.parametrize("store", STORES)
def test_untouched_and_zeroed_pages_never_reach_the_store(store: str) -> None:
    rig = Rig(store)
    for i in range(LAST):
        rig.read(i)
    for i in range(LAST):
        rig.write(i, bytes(PAGE_SIZE))
    stats = rig.machine.stats()
    assert stats["swap_out"] == stats["swap_in"] == 0
    assert stats["zero_drop"] == 2 * LAST - FRAMES
    rig.check()


@pytest.mark.parametrize("store", STORES)
def test_refuses_when_everything_is_pinned(store: str) -> None:
    rig = Rig(store, 8)
    for i in range(8):
        rig.need(i)
        rig.machine.pin(rig.machine.gpa(i), rig.machine.gpa(i) + 1)
    if rig.memory is None:
        assert rig.machine.ensure(None, rig.machine.gpa(9)) == S2Result.ERROR
        with pytest.raises(ConfigError):
            rig.machine.pin(rig.machine.gpa(9), rig.machine.gpa(9) + 1)
    else:
        with pytest.raises(StoreError):
            rig.memory.serve(None, rig.machine.gpa(9))


def test_addresses_outside_ram() -> None:
    m = Rig("c").machine
    inside = [0x40000000, 0x40000000 + 64 * PAGE_SIZE - 1, 0x50000000, 0x50000000 + (PAGES - 64) * PAGE_SIZE - 1]
    assert [m.index(gpa) for gpa in inside] == [0, 63, 64, PAGES - 1]
    for gpa in (0, 0x3FFFFFFF, 0x40000000 + 64 * PAGE_SIZE, 0x50000000 + (PAGES - 64) * PAGE_SIZE, (1 << 64) - 1):
        assert m.index(gpa) == -1
        assert m.ensure(None, gpa) == S2Result.NOT_RAM
        assert m.read_resident(gpa, 8) == b""
    with pytest.raises(ConfigError):
        m.pin(0x40000000 + 63 * PAGE_SIZE, 0x40000000 + 65 * PAGE_SIZE)


def swapped_out(rig: Rig) -> int:
    for i in range(LAST):
        rig.write(i, page_of(i + 1))
    return next(i for i in range(LAST) if rig.machine.page(i).state == PageState.SWAPPED)


def test_corrupted_slot_is_never_mapped() -> None:
    rig = Rig("c")
    page = swapped_out(rig)
    rig.machine.page(page).crc ^= 1 << 7  # what a flipped bit in the slot looks like
    free = rig.machine.free_frames
    for _ in range(2):
        assert rig.machine.ensure(None, rig.machine.gpa(page)) == S2Result.ERROR
    assert rig.machine.page(page).state == PageState.BAD
    assert rig.machine.stats()["corrupt"] == 1
    assert rig.machine.read_resident(rig.machine.gpa(page), 8) == b""
    assert rig.machine.stats()["resident"] + rig.machine.free_frames == FRAMES
    assert rig.machine.free_frames >= free


def test_corruption_in_a_python_store_is_found_by_both_checks() -> None:
    rig = Rig(STORES[1])
    assert rig.memory is not None and rig.memory.store is not None
    page = swapped_out(rig)
    slot = int(rig.machine.page(page).slot)
    rig.memory._make_room(None)
    assert rig.machine.page_in(None, page, b"x" * PAGE_SIZE) is False  # a store that lies
    assert rig.machine.page(page).state == PageState.SWAPPED
    rig.memory.store.damage(slot)
    assert not rig.memory.serve(None, rig.machine.gpa(page))
    assert "corrupt" in rig.memory.last_error
    assert rig.memory.peek(page) is None


def streaming(isa: str, hot: int, cold: int) -> bytes:
    """Touch a cold page, then all hot ones, and so on through all cold ones, twice."""
    a = assembler(isa)
    a.li(5, PAGE_SIZE)
    a.li(6, 2)
    a.label("pass")
    a.li(1, RAM[isa] + DATA + hot * PAGE_SIZE)
    a.li(3, cold)
    a.label("cold")
    a.load(0, 1, 8)
    a.add(1, 5)
    a.li(2, RAM[isa] + DATA)
    a.li(4, hot)
    a.label("hot")
    a.load(0, 2, 8)
    a.add(2, 5)
    a.dec_jnz(4, "hot")
    a.dec_jnz(3, "cold")
    a.dec_jnz(6, "pass")
    a.halt()
    return a.code()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("store", STORES)
def test_pages_in_use_stay(isa: str, store: str) -> None:
    """Accessed bits come from real loads: 12 pages and the code that are always in use, among 2 x 150 that stream by.

    First in, first out would take each of them once a turn of the 64 frames. Second chance takes one at most, when a
    whole turn found nothing cold.
    """
    g = Guest(isa, streaming(isa, 12, 150), fill=162, frames=64, store=store)
    g.machine.enable_ring(14)
    hot = {g.base + CODE, *range(g.base + DATA, g.base + DATA + 12 * PAGE_SIZE, PAGE_SIZE)}
    g.run(insn_limit=500)  # the hot pages are in
    g.machine.drain(1 << 14)
    assert ended(g.run())
    gone = [e.a for e in g.machine.drain(1 << 14) if e.kind in (EV_SWAP_OUT, EV_CLEAN_DROP, EV_ZERO_DROP)]
    assert len(gone) > 200
    assert len([gpa for gpa in gone if gpa in hot]) <= len(gone) // 64 + 2


@pytest.mark.parametrize("isa", ISAS)
def test_guest_reads_cause_no_writes(isa: str) -> None:
    g = Guest(isa, streaming(isa, 1, 150), fill=162, frames=64)
    g.run()
    first = g.machine.stats()
    g.vcpu.set("rip" if isa == "x86_64" else "pc", g.base + CODE)
    g.vcpu.halted = False
    assert ended(g.run())
    second = g.machine.stats()
    assert second["swap_in"] > first["swap_in"] + 200
    assert second["swap_out"] - first["swap_out"] <= 4  # x86: its page tables, once more
