# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol's invariants P1 to P15, as far as the host holds them; the test plays the kernel. (P13, P14: test_nx_*.)

`Rig.tick` checks the sums of credits (P2, P3, P4) after every event, so every test here does.
"""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from helpers.deflate import texts, zlib_raw
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.devices import vas_mmio as mmio
from vmemu.devices.nx_memory import ProcessSpace
from vmemu.lab.vas_rig import BLOCK, CPB, CSB, FAULT, FAULT_FIFO, PAGE, RX, SEND, SOURCE, TARGET, Request, Rig, crb, dde
from vmemu.machine import snapshot
from vmemu.machine.result import state_hash
from vmemu.protocols.vas.native import INTERRUPT

TEXT = b"".join(b"line %d of a text that repeats itself; " % i for i in range(600))
JOBS = 12


class Crowd:
    """Twelve jobs with a CSB each, in two windows; each may find its pages away. One pasted job is in flight at most for each CSB."""

    def __init__(self, fifo: int = 4 << 20, **options: object) -> None:
        self.rig = rig = Rig(fifo=fifo, **options)
        rig.open_send(3, pid=6, credits_=4)
        self.pasted: Counter[int] = Counter()
        self.outcomes: Counter[int] = Counter()
        self.flying: set[int] = set()
        for i in range(JOBS):
            for base in (BLOCK, SOURCE, TARGET):
                rig.map(base + i * PAGE, PAGE, pid=self.pid(i))
            rig.user_write(SOURCE + i * PAGE, TEXT[i : i + PAGE], self.pid(i))
            rig.user_write(BLOCK + i * PAGE, b"block", self.pid(i))
            rig.user_write(TARGET + i * PAGE, b"target", self.pid(i))

    @staticmethod
    def pid(i: int) -> int:
        return 5 + i % 2

    def crb(self, i: int) -> bytes:
        return crb(0x1E, CSB + i * PAGE, dde(SOURCE + i * PAGE, PAGE), dde(TARGET + i * PAGE, PAGE))

    def paste(self, i: int) -> bool:
        if i in self.flying:
            return False
        self.rig.user_write(CSB + i * PAGE, bytes(16), self.pid(i))
        taken = self.rig.paste(self.crb(i), SEND + i % 2)
        if taken:
            self.pasted[i] += 1
            self.flying.add(i)
        return taken

    def poll(self) -> None:
        for i in sorted(self.flying):
            raw = self.rig.user_read(CSB + i * PAGE, 16, self.pid(i))
            if raw[0] == 0x80:
                assert raw[2] in (0, 250)
                self.outcomes[i] += 1
                self.flying.discard(i)

    def act(self, action: str, i: int) -> None:
        rig = self.rig
        if action == "paste":
            self.paste(i)
        elif action == "tick":
            rig.tick()
        elif action == "fault":
            rig.serve_fault()
        else:
            ea = {"source": SOURCE, "target": TARGET, "block": BLOCK}[action] + i * PAGE
            index = rig.machine.core.index(rig.gpa(ea, self.pid(i)))
            if rig.machine.core.page(index).state == 2:
                rig.away(ea, self.pid(i))
        rig.check()
        self.poll()

    def quiet(self) -> None:
        for _ in range(1000):
            self.rig.settle()
            if self.rig.serve_fault() is None:
                break
            self.poll()
        self.poll()


KINDS = st.sampled_from(("paste", "paste", "tick", "tick", "fault", "source", "target", "block"))
ACTIONS = st.lists(st.tuples(KINDS, st.integers(0, JOBS - 1)), max_size=80)


@settings(max_examples=25, deadline=None)
@given(ACTIONS, st.sampled_from((1024, 4 << 20)))
def test_p1_p2_p3_p4_any_schedule(actions: list[tuple[str, int]], fifo: int) -> None:
    """P1: each accepted paste has one outcome. P2 to P4: credits add up at every step, and are home when all is quiet."""
    crowd = Crowd(fifo)
    for action, i in actions:
        crowd.act(action, i)
    crowd.quiet()
    assert crowd.outcomes == crowd.pasted and not crowd.flying
    rig = crowd.rig
    assert rig.vas.home and rig.facility.invariants() == []
    assert rig.get(SEND, mmio.TX_WCRED) == 1024 << 48 and rig.get(3, mmio.TX_WCRED) == 4 << 48
    assert rig.get(RX, mmio.LRX_WCRED) == 256 << 48 and rig.get(FAULT, mmio.LRX_WCRED) == fifo // 128 << 48


@settings(max_examples=8, deadline=None)
@given(ACTIONS)
def test_p15_equal_schedules_equal_ends(actions: list[tuple[str, int]]) -> None:
    """P15, and the state survives a save and load in the middle of everything."""
    hashes = set()
    for reload in (False, False, True):
        crowd = Crowd()
        for n, (action, i) in enumerate(actions):
            crowd.act(action, i)
            if reload and n % 7 == 3:
                facility, queue = crowd.rig.facility, crowd.rig.machine.queue
                saved, events = json.loads(json.dumps(facility.save())), json.loads(json.dumps(queue.save()))
                facility.vas.reset()
                facility.load(saved)
                queue.load(events)
                assert json.loads(json.dumps(facility.save())) == saved
        crowd.quiet()
        hashes.add(state_hash(crowd.rig.machine))
    assert len(hashes) == 1


def test_p4_wrap_and_storm() -> None:
    """P4, H8: a FIFO of eight, hundreds of faults: the engine waits for credits, never overwrites; both indexes wrap."""
    rig = Rig(fifo=1024)
    request = Request(rig)
    served = 0
    for i in range(60):
        block = crb(0x1E, CSB, dde(0x1000 * (i + 1), 8), dde(TARGET, 8))
        assert rig.paste(block)
    rig.settle()
    assert rig.credits(FAULT) == 0 and rig.vas.engine.rejected is not None and rig.vas.engine.figures.stalls == 1
    assert rig.vas.windows[SEND].queued == 60 - 9
    while (entry := rig.serve_fault()) is not None:
        served += 1
        assert int.from_bytes(entry[64:72], "big") == 0x1000 * served
        rig.settle()
    assert served == 60 and rig.reader == 60 % 8 and rig.vas.home
    assert request.outcome().cc == 250


def test_p5_fault_credit_before_the_csb() -> None:
    """P5: a credit that is home before the CSB is written lets the engine go on; the entry's copy is what counts."""
    rig = Rig(fifo=1024)
    Request(rig)
    for i in range(9):
        assert rig.paste(crb(0x1E, CSB, dde(0x1000 * (i + 1), 8), dde(TARGET, 8)))
    rig.settle()
    assert rig.vas.engine.rejected is not None
    copied = rig.next_fault()
    assert rig.vas.engine.rejected is not None  # invalidation alone is not a credit
    rig.set(FAULT, mmio.LRX_WCRED_ADDER, 1 << 48)
    assert rig.vas.engine.rejected is None and rig.credits(FAULT) == 0
    assert copied is not None and copied[64:72] == (0x1000).to_bytes(8, "big")
    assert int.from_bytes(rig.read(FAULT_FIFO + 64, 8), "big") == 0x9000  # the ninth, in the first's place
    assert rig.credits(SEND) == 1024 - 9


def test_p6_order_of_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    """P6: target, CPB, CSB bytes 1 to 15, and at last byte 0."""
    stores: list[tuple[int, int]] = []
    write = ProcessSpace.write

    def record(self: ProcessSpace, address: int, data: bytes) -> None:
        stores.append((address, len(data)))
        write(self, address, data)

    monkeypatch.setattr(ProcessSpace, "write", record)
    request = Request(Rig())
    for function, data in ((0x00, TEXT), (0x1E, TEXT), (0x10, zlib_raw(TEXT)), (0x0C, TEXT)):
        stores.clear()
        request.run(function, data)
        assert stores[-2:] == [(CSB + 1, 15), (CSB, 1)]
        assert stores[-3][0] == CPB + 384
        assert all(TARGET <= at < TARGET + request.room for at, _ in stores[:-3]) and len(stores) > 3


def test_p7_nothing_is_written_after_close() -> None:
    crowd = Crowd()
    for i in range(JOBS):
        crowd.paste(i)
    crowd.rig.close(SEND)
    crowd.quiet()
    rig = crowd.rig
    assert not rig.vas.windows[SEND].busy
    rig.close(3)
    before = state_hash(rig.machine)
    assert not rig.paste(crowd.crb(0)) and not rig.tick()
    rig.vas.counts["refused_address"] -= 1
    assert state_hash(rig.machine) == before


def test_p8_h19_a_window_is_found_until_its_credits_are_home() -> None:
    """P8, H12, H19: close with a job queued, running, faulted; reopening the number does not succeed before."""
    rig = Rig()
    Request(rig)
    away, fine = crb(0x1E, CSB, dde(0x1000, 8), dde(TARGET, 8)), crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8))
    for block in (away, fine):
        assert rig.paste(block)
    rig.close(SEND)
    rig.close(SEND)
    assert not rig.paste(fine)
    assert not rig.open_send() and rig.get(SEND, mmio.TX_WCRED) == 1022 << 48
    rig.settle()
    assert not rig.open_send() and rig.get(SEND, mmio.TX_WCRED) == 1023 << 48  # the fine one ran to its end
    entry = rig.next_fault()
    assert entry is not None and rig.vas.windows[SEND].pswid == 2
    assert not rig.open_send()
    rig.set(FAULT, mmio.LRX_WCRED_ADDER, 1 << 48)
    rig.set(SEND, mmio.TX_WCRED_ADDER, 1 << 48)
    assert rig.open_send() and rig.credits(SEND) == 1024


@pytest.mark.parametrize("why", ["offset", "no window", "receive window", "fault window", "closed", "send credits", "receive credits"])
def test_p9_a_refused_paste_changes_nothing(why: str) -> None:
    """P9, H7, H15: whatever the reason."""
    rig = Rig()
    Request(rig)
    block = crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8))
    target = {"no window": 9, "receive window": RX, "fault window": FAULT}.get(why, SEND)
    if why == "closed":
        rig.close(SEND)
    if why == "send credits":
        rig.open_send(4, credits_=3)
        target = 4
        assert [rig.paste(block, 4) for _ in range(3)] == [True] * 3
    if why == "receive credits":
        assert [rig.paste(block) for _ in range(257)] == [True] * 257  # one is in the engine
        rig.open_send(4)
        target = 4
    before, counts = state_hash(rig.machine), sum(rig.vas.counts.values())
    saved = rig.facility.save()
    assert not rig.paste(block, target, 0 if why == "offset" else 0x400)
    refused = {k: n for k, n in rig.vas.counts.items() if k.startswith("refused_")}
    assert sum(rig.vas.counts.values()) == counts + 1 and refused
    for name in refused:
        del rig.vas.counts[name]
    assert rig.facility.save() == saved
    assert state_hash(rig.machine) == before


def test_p10_no_fault_without_an_interrupt_after_it() -> None:
    """P10, H9: interrupts merge, but one is pending or comes after every entry; a spurious one finds nothing."""
    rig = Rig()
    Request(rig)
    xics = rig.facility.board.xics
    xics.set_cppr(0, 0xFF)
    assert xics.set_xive(INTERRUPT, 0, 5)
    for i in range(5):
        assert rig.paste(crb(0x1E, CSB, dde(0x1000 * (i + 1), 8), dde(TARGET, 8)))
    assert xics.xirr(0) == 0xFF << 24
    rig.settle()
    assert xics.xirr(0) & 0xFFFFFF == INTERRUPT  # five merged
    assert rig.paste(crb(0x1E, CSB, dde(0x1000, 8), dde(TARGET, 8)))
    rig.settle()
    xics.eoi(0, 0xFF << 24 | INTERRUPT)
    while rig.serve_fault():
        pass
    assert xics.xirr(0) & 0xFFFFFF == INTERRUPT  # the sixth's own, spurious by now
    xics.eoi(0, 0xFF << 24 | INTERRUPT)
    assert rig.serve_fault() is None and xics.xirr(0) & 0xFFFFFF == 0 and rig.vas.home


@pytest.mark.parametrize("part", ["list", "cpb in", "source", "target", "cpb out", "csb"])
def test_p11_p12_every_part_may_be_away(part: str) -> None:
    """P11: the fault's address is the first missing byte of that part. P12: pasted again, it ends as if it had never faulted."""
    stream = zlib_raw(TEXT[:5000])

    def made() -> tuple[Rig, bytes]:
        rig = Rig()
        for base in (BLOCK - PAGE, BLOCK, SOURCE, SOURCE + PAGE, TARGET, TARGET + PAGE, 0x7FFE_0000_0000):
            rig.map(base, PAGE)
            rig.user_write(base, b"!")
            rig.user_write(base + PAGE - 1, b"!")
        rig.user_write(SOURCE + 4000, stream)
        rig.user_write(0x7FFE_0000_0000, dde(SOURCE + 4000, 50) + dde(SOURCE + 4050, len(stream) - 50))
        rig.user_write(csb, bytes(16))
        rig.user_write(csb + 16, bytes(4) + b"\1\2\3\4" + bytes(296))
        return rig, crb(0x14, csb, dde(0x7FFE_0000_0000, len(stream), 2), dde(TARGET + 100, 7000))

    at = {"cpb in": -16, "cpb out": -16 - 384 - 200, "csb": -1}.get(part)
    csb = BLOCK - 0x400 if at is None else BLOCK + at & -16
    missing = {
        "list": 0x7FFE_0000_0000, "source": SOURCE + PAGE, "target": TARGET + PAGE, "cpb in": BLOCK, "cpb out": BLOCK, "csb": BLOCK - PAGE,
    }[part]  # fmt: skip
    first = csb + 1 if part == "csb" else missing
    fresh, block = made()
    assert fresh.paste(block)
    fresh.settle()
    never = fresh.user_read(csb, 16), fresh.user_read(csb + 400, 1680 - 384), fresh.user_read(TARGET, 2 * PAGE)
    assert never[0][:4] == bytes((0x80, 0, 0, 0x20))

    rig, block = made()
    inputs = rig.user_read(csb + 16, 304)
    rig.away(missing)
    assert rig.paste(block)
    rig.settle()
    entry = rig.serve_fault()
    assert entry is not None
    address = int.from_bytes(entry[64:72], "big")
    store = part in ("target", "cpb out", "csb")
    assert address == first
    assert (entry[74], entry[75]) == (store, 1)
    assert rig.user_read(csb, 16) == bytes((0x80, 0, 250, 0x40, 0, 0, 0, 0)) + entry[64:72]
    assert rig.user_read(csb + 16, 304) == inputs
    rig.user_write(csb, bytes(16))
    rig.user_read(missing, 1)  # the touch
    assert rig.paste(block)
    rig.settle()
    assert rig.serve_fault() is None
    assert (rig.user_read(csb, 16), rig.user_read(csb + 400, 1680 - 384), rig.user_read(TARGET, 2 * PAGE)) == never


@settings(max_examples=15, deadline=None)
@given(texts(), st.integers(0, 3), st.integers(0, 2**32))
def test_p12_any_job_with_any_pages_away(data: bytes, kind: int, seed: int) -> None:
    """P12, H5: one page after the other goes away; touching what the fault names always converges, to the same end."""
    function, source = ((0x00, data), (0x0C, data), (0x10, zlib_raw(data, 9)), (0x1E, data))[kind]
    never = Request(Rig(), 1 << 14)
    wanted = never.run(function, source)
    request, rng = Request(Rig(), 1 << 14), random.Random(seed)
    rig = request.rig
    pages = [BLOCK, *range(SOURCE, SOURCE + request.most, PAGE), *range(TARGET, TARGET + request.room, PAGE)]
    for ea in pages:
        rig.user_write(ea + PAGE - 1, b"!")  # an all-zero page would count as present
        never.rig.user_write(ea + PAGE - 1, b"!")
    block = request.start(function, source)
    wanted = never.run(function, source)
    for _ in range(len(pages) + 2):
        for ea in rng.sample(pages, rng.randrange(len(pages))):
            index = rig.machine.core.index(rig.gpa(ea))
            if rig.machine.core.page(index).state == 2:
                rig.away(ea)
        rig.settle()
        entry = rig.serve_fault()
        if entry is None:
            break
        address = int.from_bytes(entry[64:72], "big")
        assert any(ea <= address < ea + PAGE for ea in pages)
        for ea in pages:
            rig.user_read(ea, 1)
        rig.user_write(CSB, bytes(16))
        assert rig.paste(block)
        rig.settle()
        if rig.serve_fault() is None:
            break
    got = request.outcome()
    assert (got.cc, got.ce, got.tpbc, got.raw_sums, got.data) == (wanted.cc, wanted.ce, wanted.tpbc, wanted.raw_sums, wanted.data)


def test_snapshots() -> None:
    """A machine is taken back into the middle of a job and of a stall, and ends the same."""
    crowd = Crowd(1024)
    rig = crowd.rig
    ends = []
    for i in range(JOBS):
        rig.away(SOURCE + i * PAGE, crowd.pid(i))
        crowd.paste(i)
    for _ in range(10):
        rig.tick()
    taken = snapshot.take(rig.machine)
    reader = rig.reader
    for _ in range(2):
        crowd.quiet()
        ends.append((state_hash(rig.machine), rig.vas.summary()["credits_home"]))
        snapshot.restore(rig.machine, taken)
        rig.reader = reader
    assert ends[0] == ends[1] and ends[0][1]
