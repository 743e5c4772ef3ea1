# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile and odd guests, the cases H1 to H19 that the host alone can show; more of them in test_nx_engine, test_nx_resume and
test_vas_invariants, under their numbers.
"""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import lib
from vmemu.devices import vas_mmio as mmio
from vmemu.devices.nx_format import is_free
from vmemu.lab.vas_rig import BLOCK, CSB, FAULT, FAULT_FIFO, PAGE, READ, RX, RX_FIFO, SEND, SOURCE, TARGET, WRITE, Request, Rig, crb, dde
from vmemu.protocols.vas.native import HVWC_BASE, PORT


@pytest.mark.parametrize("kept", [False, True])
def test_h1_odd_function_that_faults(kept: bool) -> None:
    """H1: with the CCW bit cleared the kernel sees the entry; kept, it looks consumed and the reader stops there."""
    rig = Rig(bugs=("vas-ccw-kept",) if kept else ())
    Request(rig)
    assert rig.paste(crb(0x1F, CSB, dde(0x1000, 8), dde(TARGET, 8)))
    assert rig.paste(crb(0x1E, CSB, dde(0x2000, 8), dde(TARGET, 8)))
    rig.settle()
    assert rig.credits(FAULT) == 32768 - 2
    assert (rig.serve_fault() is None) == kept
    assert (rig.serve_fault() is None) == kept
    assert rig.vas.home != kept


def test_fault_overrun_is_seen() -> None:
    """P4, the bug switch: without credits the engine pastes over what nobody has read."""
    rig = Rig(fifo=1024, bugs=("vas-fault-overrun",))
    Request(rig)
    for i in range(12):
        assert rig.paste(crb(0x1E, CSB, dde(0x1000 * (i + 1), 8), dde(TARGET, 8)))
    while rig.machine.queue.next_deadline() is not None:
        rig.machine.time_units = rig.machine.units(rig.machine.queue.next_deadline() or 0)
        rig.machine.queue.run_due(rig.machine.now())
    assert any("overwritten" in text for text in rig.facility.invariants())


def test_h3_what_is_latched_and_what_is_not() -> None:
    """H3: the CRB is what was pasted; lists and data are read when the job runs."""
    rig = Rig()
    request = Request(rig)
    rig.user_write(SOURCE, b"before")
    rig.user_write(BLOCK + 0x800, dde(SOURCE, 3))
    assert rig.paste(crb(0x1E, CSB, dde(BLOCK + 0x800, 6, 1), dde(TARGET, 100)))
    rig.user_write(BLOCK + 0x800, dde(SOURCE, 6))
    rig.user_write(SOURCE, b"after!")
    rig.settle()
    assert request.outcome().data == b"after!"


def fault_of(rig: Rig, block: bytes) -> tuple[int, int, int]:
    """(address, store, status) of the fault that a CRB ends in."""
    assert rig.paste(block)
    rig.settle()
    entry = rig.next_fault()
    assert entry is not None
    return int.from_bytes(entry[64:72], "big"), entry[74], entry[75]


def test_h4_bad_csb_pages() -> None:
    """H4: no mapping, read-only, out of the address space; the end of a mapping is fine."""
    rig = Rig()
    request = Request(rig)
    rig.user_write(SOURCE, b"abc")
    source, target = dde(SOURCE, 3), dde(TARGET, 100)
    rig.map(0x7FFE_0000_0000, PAGE, rights=READ)
    assert fault_of(rig, crb(0x18, 0x7FFE_0000_0FF0, source, target)) == (0x7FFE_0000_0FF1, 1, 2)  # an error's CSB, too
    assert fault_of(rig, crb(0x1E, 0x7FFE_0000_0E00, source, target)) == (0x7FFE_0000_0F90, 1, 2)  # CPB output comes before
    assert fault_of(rig, crb(0x18, 0x6FFE_0000_0000, source, target)) == (0x6FFE_0000_0001, 1, 3)
    assert fault_of(rig, crb(0x18, 0xFFFF_FFFF_FFFF_FFF0, source, target))[1:] in ((1, 2), (1, 3))
    rig.map(0x7FFD_0000_0000, PAGE, rights=WRITE)
    assert rig.paste(crb(0x18, 0x7FFD_0000_0FF0, source, target))
    rig.settle()
    assert rig.user_read(0x7FFD_0000_0FF0, 4) == bytes((0x80, 0, 17, 0x60))
    assert not request.outcome().valid


def test_h4_shared_csb_and_csb_inside_the_target() -> None:
    rig = Rig()
    request = Request(rig)
    rig.user_write(SOURCE, b"abcdef")
    for _ in range(2):
        assert rig.paste(crb(0x1E, CSB, dde(SOURCE, 6), dde(TARGET, 6)))
    rig.settle()
    assert request.outcome().cc == 0 and rig.vas.home
    rig.user_write(TARGET, bytes(PAGE))
    rig.user_write(SOURCE, b"\xaa" * 4096)
    assert rig.paste(crb(0x1E, TARGET + 0x100, dde(SOURCE, 4096), dde(TARGET, 4096)))
    rig.settle()
    assert rig.user_read(TARGET + 0x100, 4) == bytes((0x80, 0, 0, 0x20)) and rig.vas.home


def test_h6_counts() -> None:
    """H6: 255 entries; 256 wraps to a direct one in the field."""
    rig = Rig()
    request = Request(rig)
    rig.user_write(SOURCE, bytes(range(255)))
    rig.map(0x7FFE_0000_0000, PAGE)
    rig.user_write(0x7FFE_0000_0000, b"".join(dde(SOURCE + i, 1) for i in range(255)))
    assert rig.paste(crb(0x1E, CSB, dde(0x7FFE_0000_0000, 255, 255), dde(TARGET, 255)))
    rig.settle()
    assert request.outcome().data == bytes(range(255))
    assert rig.paste(crb(0x1E, CSB, dde(SOURCE, 255, 256 % 256), dde(TARGET, 255)))
    rig.settle()
    assert request.outcome().cc == 0


def test_aliased_gigabytes_take_bounded_steps() -> None:
    """One page mapped a thousand times over: the engine works on it slice by slice, and gives the clock its turn."""
    rig = Rig()
    request = Request(rig)
    gpa = rig.page()
    rig.write(gpa, b"\x55" * PAGE)
    for i in range(1024):
        rig.map_page(0x7FF0_0000_0000 + i * PAGE, gpa)
    rig.user_write(BLOCK + 0x800, dde(0x7FF0_0000_0000, 4 << 20) * 16)
    block = crb(0x1E, CSB, dde(BLOCK + 0x800, 64 << 20, 16), dde(BLOCK + 0x800, 64 << 20, 16))
    assert rig.paste(block)
    ticks = 0
    while rig.tick():
        ticks += 1
    assert ticks == 1 + (64 << 20) // (256 << 10) and request.outcome().tpbc == 64 << 20


def test_memory_that_is_none() -> None:
    """A translation to something that is not RAM is no translation fault: completion code 7 with the address."""
    rig = Rig()
    request = Request(rig)
    rig.map_page(0x7FFE_0000_0000, HVWC_BASE)
    rig.map_page(0x7FFE_0000_1000, 0x0008_0000_0002_0000)
    for ea in (0x7FFE_0000_0000, 0x7FFE_0000_1008):
        assert rig.paste(crb(0x1E, CSB, dde(ea, 8), dde(TARGET, 8)))
        rig.settle()
        got = request.outcome()
        assert (got.cc, got.ce, got.address) == (7, 0x60, ea)
    assert rig.paste(crb(0x18, 0x7FFE_0000_0000, dde(SOURCE, 8), dde(TARGET, 8)))
    rig.settle()
    assert rig.vas.home  # nobody could be told


def test_broken_page_tables() -> None:
    """Trees that lead outside memory, no tree, no process table, a PID outside it: unmapped."""
    rig = Rig()
    Request(rig)
    block = crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8))
    for broken in (b"\xff" * 8, bytes(8), (1 << 62 | 17 << 5 | 0x0FFF_FFFF_0000_0000 | 9).to_bytes(8, "big")):
        rig.write(0x10000 + 16 * 5, broken)
        assert fault_of(rig, block)[2] == 3
    for vcpu in rig.machine.vcpus:
        vcpu.set("prtbl", (1 << 64) - 1)
    assert fault_of(rig, block)[2] == 3
    rig.open_send(7, pid=0xFFFFF)
    assert rig.paste(block, 7)
    rig.settle()
    assert rig.next_fault() is not None


def test_page_tables_are_fetched() -> None:
    """A table that the host has swapped out is the hypervisor's business."""
    rig = Rig()
    request = Request(rig)
    rig.user_write(SOURCE, b"abc")
    core = rig.machine.core
    before = core.stats()["swap_in"]
    for page in range(0x20000, rig._table, PAGE):
        assert lib.s2_swap_out(core.ptr, core.index(page)) == 0
    assert request.run(0x1E, b"abc").data == b"abc" and rig.vas.engine.faults == {}
    assert core.stats()["swap_in"] > before


def test_reference_and_change_bits() -> None:
    rig = Rig()
    request = Request(rig)

    def bits(ea: int) -> int:
        return int.from_bytes(rig.read(rig._entry(ea, 5), 8), "big") & 0x180

    assert bits(SOURCE) == bits(TARGET) == 0
    request.run(0x1E, b"abc")
    assert (bits(SOURCE), bits(TARGET), bits(BLOCK)) == (0x100, 0x180, 0x180)


def test_h10_discarded_by_the_hypervisor() -> None:
    """Stamp word 3, bit 31: the engine drops the entry and every credit comes home."""
    rig = Rig()
    request = Request(rig)
    for _ in range(2):
        assert rig.paste(crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8)))
    rig.write(RX_FIFO + 128 + 79, b"\1")
    rig.settle()
    assert rig.vas.counts["discarded"] == 1 and rig.vas.home and request.outcome().valid


def test_receive_fifo_holds_real_bytes() -> None:
    rig = Rig()
    Request(rig)
    block = crb(0x1E, CSB, dde(SOURCE, 8), dde(TARGET, 8), tail=b"\x77" * 64)
    assert rig.paste(block)
    entry = rig.read(RX_FIFO, 128)
    assert entry[:64] == block[:64] and entry[64:80] == (SEND).to_bytes(4, "big") + bytes(12) and entry[80:] == block[80:]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32), st.sampled_from((*range(0x17), 0x1E, 0x1F, 0x20, 0x80)), st.binary(min_size=304, max_size=304),
    st.binary(max_size=600),
)  # fmt: skip
def test_any_request_ends_once(rig_: Rig, seed: int, function: int, cpb: bytes, source: bytes) -> None:
    """Random CPB input, source and DDEs: a CSB with a known code, or one fault that names an address; all credits home."""
    rng = random.Random(seed)

    def descriptor(base: int) -> bytes:
        address = base if rng.random() < 0.8 else rng.choice((BLOCK + 0x800, 0, (1 << 64) - 5, TARGET + 0xFFF0, base + 1))
        count = 0 if rng.random() < 0.7 else rng.choice((1, 3, 255))
        return dde(address, rng.choice((0, 1, 16, len(source), 600, 5000, 0xFFFFFFFF)), count, 0 if rng.random() < 0.9 else 1)

    rig_.user_write(SOURCE, source or b"x")
    rig_.user_write(CSB, bytes(16))
    rig_.user_write(CSB + 16, cpb)
    rig_.user_write(BLOCK + 0x800, b"".join(descriptor(SOURCE) for _ in range(8)))
    assert rig_.paste(crb(function, CSB, descriptor(SOURCE), descriptor(TARGET)))
    rig_.settle()
    raw = rig_.user_read(CSB, 16)
    entry = rig_.next_fault()
    assert (raw[0] == 0x80) != (entry is not None)
    if entry is None:
        assert raw[2] in (0, 1, 3, 13, 14, 17, 21, 30, 31, 33, 64, 66, 67, 68) and raw[3] in (0x20, 0xA0, 0x60)
        assert (raw[3] == 0x60) <= (raw[4:8] == bytes(4))
    else:
        rig_.set(FAULT, mmio.LRX_WCRED_ADDER, 1 << 48)
        rig_.set(SEND, mmio.TX_WCRED_ADDER, 1 << 48)
    assert rig_.vas.home


@pytest.fixture(scope="module")
def rig_() -> Rig:
    rig = Rig()
    Request(rig)
    return rig


@pytest.mark.parametrize(("what", "cc"), [("fail", 10), ("corrupt", 20), ("drop", 224), ("delay=7us", 0)])
def test_failures_of_the_engine(what: str, cc: int) -> None:
    """Completion codes of broken hardware, by the injector; the job after it is well."""
    rig = Rig(inject=(f"nx.job:1:{what}",))
    request = Request(rig)
    got = request.run(0x1E, b"abc")
    assert (got.valid, got.cc, got.ce) == (True, cc, 0x60 if cc else 0x20)
    assert rig.machine.now() > {0: 7000, 224: 10_000_000}.get(cc, 0) and rig.vas.home
    assert request.run(0x1E, b"abc").cc == 0


@pytest.mark.parametrize(("what", "pulses"), [("drop", []), ("duplicate", [370, 5370]), ("delay=9us", [9370])])
def test_interrupts_lost_late_and_twice(what: str, pulses: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """H9: the entry is there all the same."""
    rig = Rig(inject=(f"nx.interrupt:1:{what}",))
    Request(rig)
    seen: list[int] = []
    monkeypatch.setattr(rig.facility.board.xics, "pulse", lambda number: seen.append(rig.machine.now()))
    assert rig.paste(crb(0x1E, CSB, dde(0x1000, 8), dde(TARGET, 8)))
    rig.settle()
    assert seen == pulses and rig.serve_fault() is not None


# ---------------------------------------------------------------- window contexts
def test_windows_that_make_no_sense_stay_closed() -> None:
    rig = Rig()
    control = mmio.WINCTL
    rig.close(RX)
    for base, size, bits, n in (
        (0x0FFF_0000, 32 << 10, {"NX_WIN": 1}, 256), (RX_FIFO, 64 << 10, {"NX_WIN": 1}, 256), (RX_FIFO, 32 << 10, {"NX_WIN": 1}, 257),
        (RX_FIFO, 32 << 10, {"NX_WIN": 1}, 0), (RX_FIFO, 32 << 10, {"NX_WIN": 1, "FAULT_WIN": 1}, 1),
        (FAULT_FIFO, 16 << 20, {"FAULT_WIN": 1}, 1), (FAULT_FIFO, 1024, {"FAULT_WIN": 1}, 9),
    ):  # fmt: skip
        assert not rig.open_fifo(9, base, size, control.set(0, OPEN=1, **bits), n), (hex(base), size, bits, n)
    assert not rig.open_send(8)  # its receive window is closed
    assert rig.open_fifo(RX, RX_FIFO, 32 << 10, control.set(0, OPEN=1, NX_WIN=1))
    assert not rig.open_fifo(9, RX_FIFO, 32 << 10, control.set(0, OPEN=1, NX_WIN=1))  # one is enough
    assert rig.open_send(8) and not rig.open_send(9, credits_=0)
    rig.set(8, mmio.TX_WCRED, 5 << 48)
    assert rig.get(8, mmio.TX_WCRED) == 1024 << 48  # an open window takes only credits and its end


def test_credits_that_nobody_owes() -> None:
    rig = Rig()
    Request(rig)
    for register in (mmio.TX_WCRED_ADDER, mmio.LRX_WCRED_ADDER):
        for number in (RX, FAULT, SEND, 77):
            rig.set(number, register, 0xFFFF << 48)
    assert rig.vas.home and rig.vas.counts["credit_surplus"] > 0
    assert rig.paste(crb(0x1E, CSB, dde(0x1000, 8), dde(TARGET, 8)))
    rig.set(SEND, mmio.TX_WCRED_ADDER, 1 << 48)  # the job runs: not the kernel's to give back
    assert rig.credits(SEND) == 1023
    rig.settle()
    rig.set(SEND, mmio.TX_WCRED_ADDER, 2 << 48)
    assert rig.credits(SEND) == 1024


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_writes_to_the_contexts(seed: int) -> None:
    """Registers written at random, with pastes in between: sums hold, state saves and loads."""
    rng = random.Random(seed)
    rig = Rig()
    Request(rig)
    values = (0, 1 << 63, (1 << 64) - 1, PORT, FAULT_FIFO, RX_FIFO, 1 << 48, 256 << 48, mmio.WINCTL.set(0, OPEN=1, NX_WIN=1),
              mmio.WINCTL.set(0, OPEN=1, FAULT_WIN=1), mmio.XLATE_MSR.set(0, DR=1, PR=1), 5)  # fmt: skip
    bus = rig.machine.board.mmio
    for _ in range(150):
        if rng.random() < 0.2:
            rig.paste(crb(rng.choice((0, 0x1E, 0x10)), CSB, dde(rng.choice((SOURCE, 0x1000)), 64), dde(TARGET, 64)), rng.randrange(5))
        elif rng.random() < 0.2:
            rig.tick()
        else:
            offset = 512 * rng.randrange(5) + rng.choice((*mmio.FIELDS, mmio.CONTROL, mmio.STATUS, 0x1F8))
            value = rng.choice(values) if rng.random() < 0.8 else rng.getrandbits(64)
            bus.write(HVWC_BASE + offset + rng.choice((0, 0, 0, 4)), rng.choice((8, 8, 8, 4, 2, 1)), value)
            bus.read(HVWC_BASE + offset, rng.choice((8, 4, 1)), (1 << 64) - 1)
        rig.check()
    rig.settle()
    saved = json.loads(json.dumps(rig.facility.save()))
    rig.facility.load(saved)
    assert json.loads(json.dumps(rig.facility.save())) == saved


def test_words_make_doublewords() -> None:
    """The engine splits 8-byte accesses: upper word first, nothing happens until the lower one."""
    rig, at = Rig(), HVWC_BASE + 512 * 9 + mmio.AMR
    bus = rig.machine.board.mmio
    bus.write(at, 4, 0x12345678)
    assert rig.get(9, mmio.AMR) == 0
    bus.write(at + 4, 4, 0x9ABCDEF0)
    assert rig.get(9, mmio.AMR) == 0x1234_5678_9ABC_DEF0
    assert (bus.read(at, 4, 0), bus.read(at + 4, 4, 0)) == (0x12345678, 0x9ABCDEF0)
    bus.write(at + 4, 4, 7)  # no upper word before it
    assert rig.get(9, mmio.AMR) == 0x1234_5678_9ABC_DEF0


def test_entries_are_free_or_not() -> None:
    assert is_free(b"\xff" * 128) and is_free(bytes(3) + b"\1" + bytes(124)) and not is_free(bytes(128))


def test_kernel_windows_do_not_translate() -> None:
    """DR = PR = 0: real addresses; a page that is away is fetched, never a fault."""
    rig = Rig()
    assert rig.open_send(6, user=False)
    source, target, block = rig.page(), rig.page(), rig.page()
    rig.write(source, b"kernel data")
    rig.write(target, b"x")
    rig.write(block, b"x")
    core = rig.machine.core
    assert lib.s2_swap_out(core.ptr, core.index(source)) == 0
    assert rig.paste(crb(0x1E, block + 0xF0, dde(source, 11), dde(target, 11)), 6)
    rig.settle()
    assert rig.read(target, 11) == b"kernel data" and rig.read(block + 0xF0, 4) == bytes((0x80, 0, 0, 0x20))
    assert rig.paste(crb(0x1E, block + 0xF0, dde(1 << 40, 11), dde(target, 11)), 6)
    rig.settle()
    assert rig.read(block + 0xF2, 1) == b"\x07"
