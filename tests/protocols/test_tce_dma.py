# SPDX-License-Identifier: GPL-2.0-or-later
"""The device's side: every access is checked when it is made (W7), and the network card behind the window."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.devices.netcard import COALESCE, ENABLE, ID, Cause, DmaError, NetCard, Reg, Status
from vmemu.lab.tce_rig import OK, Bench, bench

EXTENT, NOTHING, FORBIDDEN = 1, 2, 3


def rw(page: int) -> int:
    return page << 12 | 3


def refused(b: Bench, code: int, address: int, write: bool = False, size: int = 4) -> int:
    """The access fails with this code; the place that is named."""
    bridge = b.tce.card._bridge
    with pytest.raises(DmaError) as caught:
        bridge.write(address, bytes(size)) if write else bridge.read(address, size)
    assert caught.value.code == code
    return caught.value.address


def test_each_check_of_an_access() -> None:
    with bench(memory="256K") as b:
        assert b.put(1, 1 << 12 | 1) == b.put(2, 2 << 12 | 2) == b.put(3, rw(3)) == OK
        bridge = b.tce.card._bridge
        bridge.read(b.at(1), 4)
        bridge.write(b.at(2), b"data")
        refused(b, FORBIDDEN, b.at(1), write=True)
        refused(b, FORBIDDEN, b.at(2))
        refused(b, NOTHING, b.at(4))
        for address in (b.at(-1), b.at(1 << 16), 0, (1 << 59) - 4):
            refused(b, EXTENT, address)
        refused(b, EXTENT, (1 << 64) - 2)  # wraps
        assert refused(b, NOTHING, b.at(4) - 2, size=4, write=True) == b.at(4)  # straddles: the first half is done
        assert b.machine.read_guest((3 << 12) + 4094, 2) == b"\0\0"
        b.check()


def test_what_was_unmapped_cannot_be_reached() -> None:
    """Not even through the bridge's cache, and not when the entry names another page."""
    with bench(memory="256K") as b:
        bridge = b.tce.card._bridge
        assert b.put(1, rw(1)) == OK
        bridge.write(b.at(1), b"one")
        assert b.put(1, rw(2)) == OK
        bridge.write(b.at(1), b"two")
        assert b.put(1, 0) == OK
        refused(b, NOTHING, b.at(1), write=True)
        assert b.machine.read_guest(1 << 12, 3) == b"one" and b.machine.read_guest(2 << 12, 3) == b"two"
        assert not b.host.ptr.stale_dma
        b.check()


@settings(max_examples=25)
@given(st.integers(0, 1 << 32))
def test_accesses_agree_with_the_table(seed: int) -> None:
    """Random mappings and accesses: an access succeeds exactly where a model says, and moves exactly those bytes."""
    dice, table = random.Random(seed), dict[int, int]()
    with bench(memory="256K") as b:
        memory = {page: bytearray(4096) for page in range(16)}
        bridge = b.tce.card._bridge
        for _ in range(60):
            index = dice.randrange(6)
            if dice.random() < 0.4:
                value = dice.choice([0, dice.randrange(16) << 12 | dice.randrange(1, 4)])
                assert b.put(index, value) == OK
                table[index] = value
                continue
            offset, size, write = dice.randrange(4096), dice.choice([1, 8, 700, 4096]), dice.random() < 0.5
            pieces = [(index, offset, min(size, 4096 - offset))]
            if size > 4096 - offset:
                pieces.append((index + 1, 0, size - 4096 + offset))
            data, error, done = dice.randbytes(size), 0, b""
            for i, at, length in pieces:
                value = table.get(i, 0)
                error = error or (NOTHING if not value & 3 else FORBIDDEN if not value & (2 if write else 1) else 0)
                if error:
                    break
                if write:
                    memory[value >> 12][at : at + length] = data[len(done) : len(done) + length]
                done += bytes(memory[value >> 12][at : at + length])
            if error:
                with pytest.raises(DmaError) as caught:
                    bridge.write(b.at(index) + offset, data) if write else bridge.read(b.at(index) + offset, size)
                assert caught.value.code == error
            elif write:
                bridge.write(b.at(index) + offset, data)
            else:
                assert bridge.read(b.at(index) + offset, size) == done
        for page, content in memory.items():
            assert b.machine.read_guest(page << 12, 4096) == content
        b.check()


def test_a_page_that_only_its_tce_keeps_is_still_written() -> None:
    """The guest gave it back: the device's bytes go to the old page, which nobody else has."""
    with bench(memory="256K") as b:
        frame = b.touch(3)
        assert b.put(0, rw(3)) == OK and b.discard(3)
        b.tce.card._bridge.write(b.at(0), b"late")
        assert b.machine.read_guest(3 << 12, 4) == bytes(4)
        assert int(b.page(3).frame) != frame
        assert b.put(0, 0) == OK
        b.check()


# ------------------------------------------------------------------ the card


class Memory:
    """A bridge to a bytearray."""

    def __init__(self) -> None:
        self.data = bytearray(1 << 16)

    def read(self, address: int, size: int) -> bytes:
        if address + size > len(self.data):
            raise DmaError(1, address)
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        if address + len(data) > len(self.data):
            raise DmaError(1, address)
        self.data[address : address + len(data)] = data


class Rig:
    def __init__(self, control: int = ENABLE) -> None:
        self.memory, self.time, self.lines = Memory(), 0, list[bool]()
        self.card = NetCard(self.memory, lambda: self.time, self.lines.append, lambda: None)
        for ring, base in ((Reg.TX_RING, 0x1000), (Reg.RX_RING, 0x2000)):
            self.card.write(ring, 8, base)
            self.card.write(ring + 8, 8, 8)
        self.card.write(Reg.CONTROL, 8, control)

    def give(self, ring: int, i: int, address: int, length: int) -> None:
        struct.pack_into(">QII", self.memory.data, (0x1000 if ring == Reg.TX_RING else 0x2000) + 16 * i, address, length, 0)

    def status(self, ring: int, i: int) -> tuple[int, int]:
        at = (0x1000 if ring == Reg.TX_RING else 0x2000) + 16 * i
        length, status = struct.unpack_from(">II", self.memory.data, at + 8)
        return status, length

    def run(self) -> None:
        while (due := self.card.next_deadline()) is not None:
            self.time = due
            self.card.on_deadline(due)


def test_a_packet_comes_back_inverted_when_the_wire_has_carried_it() -> None:
    rig = Rig()
    rig.memory.data[0x4000:0x4064] = bytes(range(100))
    rig.give(Reg.RX_RING, 0, 0x5000, 200)
    rig.give(Reg.TX_RING, 0, 0x4000, 100)
    rig.card.write(Reg.RX_RING + 16, 8, 1)
    rig.card.write(Reg.TX_RING + 16, 4, 0)  # upper half
    rig.card.write(Reg.TX_RING + 20, 4, 1)
    rig.run()
    assert rig.time == (100 + 24) * 8 // 10
    assert rig.memory.data[0x5000:0x5064] == bytes(255 - i for i in range(100)) and rig.memory.data[0x5064] == 0
    assert rig.status(Reg.TX_RING, 0) == (Status.DONE, 100) and rig.status(Reg.RX_RING, 0) == (Status.DONE, 100)
    assert rig.card.read(Reg.CAUSE, 8) == Cause.SENT | Cause.RECEIVED and rig.lines[-1]
    rig.card.write(Reg.CAUSE, 8, 7)
    assert not rig.lines[-1] and rig.card.read(Reg.ID, 4) == ID >> 32 and rig.card.read(Reg.ID + 4, 4) == ID & 0xFFFFFFFF


def test_what_a_driver_can_get_wrong() -> None:
    """Bad addresses, lengths, rings and sizes are marked and counted; nothing raises."""
    rig = Rig(ENABLE | COALESCE)
    for i, (address, length) in enumerate(((1 << 60, 64), (0x4000, 0), (0x4000, 1 << 20), (0xFFFF, 64), (0x4000, 64))):
        rig.give(Reg.TX_RING, i, address, length)
    rig.card.write(Reg.TX_RING + 16, 8, 5)
    rig.run()
    assert [rig.status(Reg.TX_RING, i)[0] for i in range(5)] == [Status.BAD] * 4 + [Status.DONE]
    assert rig.card.counters.errors == 4 and rig.card.read(Reg.DROPPED, 8) == 1
    rig.card.write(Reg.TX_RING, 8, (1 << 64) - 16)
    rig.card.write(Reg.TX_RING + 8, 8, 1 << 40)  # no ring of that size
    rig.card.write(Reg.TX_RING + 16, 8, 3)
    rig.card.write(Reg.TX_RING + 8, 8, 4)
    rig.card.write(Reg.TX_RING + 16, 8, 9)
    rig.card.write(Reg.TX_RING + 16, 8, 3)
    rig.run()
    for offset in range(0, 4096, 4):
        for size in (1, 2, 4, 8):
            rig.card.read(offset, size)
    for offset in range(0x80, 4096, 8):
        rig.card.write(offset, 8, (1 << 64) - 1)


def test_the_card_is_saved_amid_a_packet() -> None:
    rig, other = Rig(), Rig()
    rig.give(Reg.TX_RING, 0, 0x4000, 1500)
    rig.card.write(Reg.TX_RING + 16, 8, 1)
    assert rig.card.next_deadline()
    other.card.load(rig.card.save())
    assert other.card.save() == rig.card.save()
