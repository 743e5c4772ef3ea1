# SPDX-License-Identifier: GPL-2.0-or-later
"""copy, paste. and cpabort: the buffer, its faults, CR0, and what a snapshot keeps of it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CYC, CoreMachine, CoreVcpu, ExitKind, IoKind, PageState
from vmemu.machine.board import Board
from vmemu.machine.boards.pseries import Pseries

SC1, NOP = 0x44000022, 0x60000000
COPY, PASTE, CPABORT = 0x7C20060C, 0x7C20070D, 0x7C00068C
SF_ME = 1 << 63 | 1 << 12
IR_DR = 1 << 5 | 1 << 4
WINDOW = 0x0008_0000_0004_0400  # far above RAM
EA = 0x40400  # where `translate` maps it
PAGES = 64
SOURCE = 0x8000
TABLES = 0x10000


def copy(ra: int, rb: int) -> int:
    return COPY | ra << 16 | rb << 11


def paste(ra: int, rb: int) -> int:
    return PASTE | ra << 16 | rb << 11


class Rig:
    """One vCPU in real mode, code at 0x2000, `sc 1` in every vector; pasted blocks are kept, and taken while `answer` says so."""

    def __init__(self, frames: int = PAGES, *, c_store: bool = True) -> None:
        self.pasted: list[tuple[int, bytes]] = []
        self.answer = 1
        self.machine = CoreMachine("ppc64", frames, [(0, PAGES * 4096)], self.on_io)
        if c_store:
            self.machine.use_c_store()
        self.vcpu: CoreVcpu = self.machine.add_vcpu()
        for vector in range(0x100, 0x1000, 0x20):
            self.put(vector, struct.pack(">I", SC1))
        self.vcpu.set("r4", SOURCE)
        self.vcpu.set("r5", WINDOW)

    def on_io(self, _: CoreVcpu, kind: int, address: int, size: int, value: bytes) -> tuple[int, int]:
        assert (kind, size) == (IoKind.PASTE, 128)
        self.pasted.append((address, value))
        return 0, self.answer

    def put(self, gpa: int, data: bytes) -> None:
        self.machine.ensure(self.vcpu, gpa, True)
        self.machine.write_resident(gpa, data)

    def start(self, *words: int, msr: int = SF_ME) -> None:
        self.put(0x2000, b"".join(struct.pack(">I", w) for w in words))
        self.vcpu.set("pc", 0x2000)
        self.vcpu.set("msr", msr)

    def run(self, *words: int, msr: int = SF_ME) -> int:
        """Run `words`; the address of the `sc 1` that ended it."""
        self.start(*words, msr=msr)
        x = self.vcpu.run(self.vcpu.cycles + 100_000 * CYC)
        assert x.kind == ExitKind.HCALL, x
        return x.pc - 4

    @property
    def cr0(self) -> int:
        return self.vcpu.get("cr") >> 28

    def translate(self, *, paste_page: bool = True) -> int:
        """A process tree that maps the low pages 1:1 and the window's page at EA; the MSR that uses it."""

        def table(at: int, entries: dict[int, int]) -> None:
            self.put(at, b"".join(struct.pack(">Q", entries.get(i, 0)) for i in range(512)))

        root, l2, l3, leaf = (TABLES + 0x1000 * (i + 1) for i in range(4))
        table(TABLES, {0: 17 >> 3 << 61 | root | (17 & 7) << 5 | 9})
        for at, below in ((root, l2), (l2, l3), (l3, leaf)):
            table(at, {0: 1 << 63 | below | 9})
        pages = {i: 1 << 63 | 1 << 62 | i << 12 | 0x187 for i in range(32)}
        if paste_page:
            pages[EA >> 12] = 1 << 63 | 1 << 62 | WINDOW & ~0xFFF | 0x186
        table(leaf, pages)
        self.vcpu.set("prtbl", TABLES)
        self.vcpu.set("r5", EA)
        return SF_ME | IR_DR


@pytest.fixture
def rig() -> Rig:
    return Rig()


BLOCK = bytes(range(128))


def test_a_block_travels(rig: Rig) -> None:
    rig.put(SOURCE, BLOCK)
    assert rig.run(copy(0, 4), paste(0, 5), SC1) == 0x2008
    assert rig.pasted == [(WINDOW, BLOCK)]
    assert rig.cr0 == 2


@pytest.mark.parametrize(("answer", "xer", "cr0"), [(1, 0, 2), (0, 0, 0), (1, 1 << 31, 3), (0, 1 << 31, 1)])
def test_cr0_is_eq_and_so(rig: Rig, answer: int, xer: int, cr0: int) -> None:
    rig.answer = answer
    rig.vcpu.set("xer", xer)
    rig.vcpu.set("cr", 0xFFFF_FFFF)
    rig.run(copy(0, 4), paste(0, 5), SC1)
    assert rig.cr0 == cr0
    assert rig.vcpu.get("cr") & 0x0FFF_FFFF == 0x0FFF_FFFF


def test_both_registers_make_the_address(rig: Rig) -> None:
    rig.put(SOURCE, BLOCK)
    rig.vcpu.set("r6", 0x80)
    rig.vcpu.set("r4", SOURCE - 0x80)
    rig.vcpu.set("r5", WINDOW - 0x80)
    rig.run(copy(4, 6), paste(6, 5), SC1)
    assert rig.pasted == [(WINDOW, BLOCK)]
    assert rig.cr0 == 2


def test_copy_latches(rig: Rig) -> None:
    """H3: stores after the copy do not matter."""
    rig.put(SOURCE, BLOCK)
    assert rig.run(copy(0, 4), 0xF8640000, 0xF8640078, paste(0, 5), SC1) == 0x2010  # std r3,0(r4); std r3,120(r4)
    assert rig.pasted == [(WINDOW, BLOCK)]


def test_paste_empties_the_buffer(rig: Rig) -> None:
    """H14: paste without copy, and paste twice, whatever the first one's answer."""
    rig.run(paste(0, 5), SC1)
    assert (rig.pasted, rig.cr0) == ([], 0)
    for rig.answer in (1, 0):
        rig.pasted.clear()
        rig.run(copy(0, 4), paste(0, 5), paste(0, 5), SC1)
        assert (len(rig.pasted), rig.cr0) == (1, 0)


def test_cpabort(rig: Rig) -> None:
    rig.put(SOURCE, BLOCK)
    rig.run(copy(0, 4), CPABORT, paste(0, 5), SC1)
    assert (rig.pasted, rig.cr0) == ([], 0)
    assert not any(rig.vcpu.get(f"copy{i}") for i in range(16))


def test_memory_takes_no_paste(rig: Rig) -> None:
    before = rig.machine.page_bytes_cstore(SOURCE // 4096)
    rig.vcpu.set("r5", SOURCE)
    assert rig.run(copy(0, 4), paste(0, 5), SC1) == 0x2008
    assert (rig.pasted, rig.cr0) == ([], 0)
    assert rig.machine.page_bytes_cstore(SOURCE // 4096) == before


@pytest.mark.parametrize("word", [copy(0, 4), paste(0, 4)])
def test_unaligned(rig: Rig, word: int) -> None:
    """H15: 128 bytes or an alignment interrupt with the address."""
    rig.vcpu.set("r4", SOURCE + 64)
    assert rig.run(NOP, word) == 0x600
    assert (rig.vcpu.get("dar"), rig.vcpu.get("srr0")) == (SOURCE + 64, 0x2004)


@pytest.mark.parametrize("word", [COPY ^ 1 << 21, PASTE ^ 1 << 21, PASTE ^ 1, COPY | 1])
def test_other_forms_are_illegal(rig: Rig, word: int) -> None:
    assert rig.run(NOP, word) == 0x700
    assert rig.vcpu.get("srr1") & 0x80000


def test_translated(rig: Rig) -> None:
    msr = rig.translate()
    rig.put(SOURCE, BLOCK)
    assert rig.run(copy(0, 4), paste(0, 5), SC1, msr=msr) == 0x2008
    assert rig.pasted == [(WINDOW, BLOCK)]


def test_copy_faults_as_a_load(rig: Rig) -> None:
    msr = rig.translate()
    rig.vcpu.set("r4", 0x30000 + 0x80)
    assert rig.run(NOP, copy(0, 4), msr=msr) == 0x300
    assert (rig.vcpu.get("dar"), rig.vcpu.get("dsisr"), rig.vcpu.get("srr0")) == (0x30080, 0x4000_0000, 0x2004)


def test_paste_faults_as_a_store_and_keeps_the_buffer(rig: Rig) -> None:
    msr = rig.translate(paste_page=False)
    rig.put(SOURCE, BLOCK)
    assert rig.run(copy(0, 4), paste(0, 5), msr=msr) == 0x300
    assert (rig.vcpu.get("dar"), rig.vcpu.get("dsisr")) == (EA, 0x4200_0000)
    assert rig.vcpu.get("srr0") == 0x2004
    rig.translate()
    rig.vcpu.set("pc", 0x2004)
    rig.put(0x2008, struct.pack(">I", SC1))
    rig.vcpu.set("msr", msr)
    rig.vcpu.run(rig.vcpu.cycles + 10_000 * CYC)
    assert rig.pasted == [(WINDOW, BLOCK)]


def test_a_page_that_is_away_comes_back() -> None:
    """A missing CRB page is the CPU's page fault, invisible to the guest (P9: nothing else changes)."""
    rig = Rig(frames=40)
    rig.put(SOURCE, BLOCK)
    for page in range(20, PAGES):
        rig.machine.ensure(rig.vcpu, page * 4096, True)
    assert rig.machine.page(SOURCE // 4096).state == PageState.SWAPPED
    swaps = rig.machine.stats()["swap_in"]
    assert rig.run(NOP, copy(0, 4), paste(0, 5), SC1) == 0x200C
    assert rig.machine.stats()["swap_in"] > swaps
    assert rig.pasted == [(WINDOW, BLOCK)]


def test_python_may_bring_the_page() -> None:
    rig = Rig(c_store=False)
    rig.put(SOURCE, BLOCK)
    for other in range(16, PAGES):  # those served last are never victims
        rig.machine.ensure(rig.vcpu, other * 4096, True)
    page, out = SOURCE // 4096, dict[int, bytes]()
    for _ in range(8):
        for victim in rig.machine.reclaim(None, PAGES):
            out[victim] = bytes(rig.machine.frame_bytes(victim))
            rig.machine.evicted(None, victim, victim)
    assert rig.machine.page(page).state == PageState.SWAPPED
    rig.start(NOP, copy(0, 4), paste(0, 5), SC1)
    missing = []
    while (x := rig.vcpu.run(rig.vcpu.cycles + 100_000 * CYC)).kind == ExitKind.STAGE2:
        missing.append((x.gpa // 4096, x.gva, x.pc))
        rig.machine.page_in(rig.vcpu, x.gpa // 4096, out[x.gpa // 4096])
    assert (page, SOURCE, 0x2004) in missing
    assert x.pc == 0x2010
    assert rig.pasted == [(WINDOW, BLOCK)]


def test_instructions_count_once(rig: Rig) -> None:
    before = rig.vcpu.insns
    rig.run(NOP, copy(0, 4), NOP, paste(0, 5), CPABORT, NOP, SC1)
    assert rig.vcpu.insns - before == 7


@settings(max_examples=25, deadline=None)
@given(block=st.binary(min_size=128, max_size=128), stop=st.integers(1, 4))
def test_stops_and_registers_keep_the_buffer(block: bytes, stop: int) -> None:
    """Stop anywhere between copy and paste, carry the registers to another vCPU: the same block arrives."""
    rig = Rig()
    rig.put(SOURCE, block)
    rig.start(copy(0, 4), NOP, NOP, NOP, paste(0, 5), SC1)
    assert rig.vcpu.run(insn_limit=rig.vcpu.insns + stop).kind == ExitKind.LIMIT
    saved = rig.vcpu.registers()
    assert saved["copied"] == 1
    assert b"".join(struct.pack(">Q", saved[f"copy{i}"]) for i in range(16)) == block
    other = rig.machine.add_vcpu()
    for name, value in saved.items():
        other.set(name, value)
    for vcpu in (rig.vcpu, other):
        assert vcpu.run(vcpu.cycles + 10_000 * CYC).kind == ExitKind.HCALL
    assert rig.pasted == [(WINDOW, block)] * 2


def test_snapshot(rig: Rig) -> None:
    rig.put(SOURCE, BLOCK)
    rig.start(copy(0, 4), NOP, paste(0, 5), SC1)
    rig.vcpu.run(insn_limit=rig.vcpu.insns + 2)
    snapshot = rig.machine.take_snapshot()
    for _ in range(2):
        rig.vcpu.run(rig.vcpu.cycles + 10_000 * CYC)
        rig.machine.restore_snapshot(snapshot)
    assert rig.pasted == [(WINDOW, BLOCK)] * 2


def test_board_asks_who_listens() -> None:
    board = Pseries.__new__(Pseries)
    board.pastes = []
    seen: list[int] = []
    Board.add_paste(board, 0x1000, 0x1000, lambda _, address, block: not seen.append(address))
    vcpu: CoreVcpu = None  # type: ignore[assignment]  # the handlers here do not look
    assert board.paste(vcpu, 0x1FFF, BLOCK)
    assert not board.paste(vcpu, 0x2000, BLOCK)
    assert seen == [0x1FFF]
