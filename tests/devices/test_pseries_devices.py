# SPDX-License-Identifier: GPL-2.0-or-later
"""Devices of the pseries board: XICS, decrementer, VPAs, terminal, RTAS."""

from __future__ import annotations

from collections import deque

import pytest

from vmemu.devices.decrementer import PARKED, Decrementer
from vmemu.devices.hvc import UNIT, Hvc
from vmemu.devices.papr import H_PARAMETER, H_RESOURCE, RandomNumbers, Refused
from vmemu.devices.rtas import PARAMETER_ERROR, TOKENS, Rtas
from vmemu.devices.vpa import DISPATCH_COUNT, Vpa
from vmemu.devices.xics import IPI, MASKED, Xics

SIZE = 0x10000


class Memory:
    """64 KiB of guest memory."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def is_ram(self, address: int, size: int) -> bool:
        return address >= 0 and address + size <= SIZE

    def read(self, address: int, size: int) -> bytes:
        assert self.is_ram(address, size)
        return bytes(self.data[address : address + size])

    def write(self, address: int, data: bytes) -> None:
        assert self.is_ram(address, len(data))
        self.data[address : address + len(data)] = data

    def word(self, address: int, size: int = 4) -> int:
        return int.from_bytes(self.read(address, size), "big")


# ------------------------------------------------------------------------ XICS
class Lines:
    def __init__(self, cpus: int = 2) -> None:
        self.level = [False] * cpus
        self.xics = Xics(cpus, self.set)

    def set(self, cpu: int, level: bool) -> None:
        self.level[cpu] = level


def test_edge_source() -> None:
    lines = Lines()
    xics = lines.xics
    xics.add_source(0x1002, level=False)
    xics.pulse(0x1002)
    assert lines.level == [False, False]  # masked
    assert xics.set_xive(0x1002, 1, 5)
    assert lines.level == [False, False]  # CPPR 0 accepts nothing
    xics.set_cppr(1, 0xFF)
    assert lines.level == [False, True]
    assert xics.poll(1) == (0xFF001002, MASKED)
    assert xics.xirr(1) == 0xFF001002
    assert xics.presenters[1].cppr == 5
    assert lines.level == [False, False]
    assert xics.xirr(1) == 5 << 24  # nothing more
    xics.pulse(0x1002)
    assert not lines.level[1]  # same priority must wait
    xics.eoi(1, 0xFF001002)
    assert lines.level[1]


def test_level_source_comes_back_after_eoi() -> None:
    lines = Lines()
    xics = lines.xics
    xics.add_source(16, level=True)
    xics.set_xive(16, 0, 4)
    xics.set_cppr(0, 0xFF)
    xics.set_level(16, True)
    assert xics.xirr(0) == 0xFF000010
    xics.eoi(0, 0xFF000010)
    assert lines.level[0]
    assert xics.xirr(0) == 0xFF000010
    xics.set_level(16, False)
    xics.eoi(0, 0xFF000010)
    assert not lines.level[0]


def test_ipi_and_priorities() -> None:
    lines = Lines()
    xics = lines.xics
    xics.add_source(16, level=False)
    xics.set_xive(16, 0, 4)
    xics.set_cppr(0, 0xFF)
    xics.pulse(16)
    xics.ipi(0, 4)
    assert xics.xirr(0) == 0xFF000000 | IPI  # ties go to the lower number
    xics.ipi(0, MASKED)
    xics.eoi(0, 0xFF000000 | IPI)
    assert xics.xirr(0) == 0xFF000010


def test_interrupts_off_and_on() -> None:
    lines = Lines()
    xics = lines.xics
    xics.add_source(16, level=False)
    xics.set_xive(16, 0, 4)
    xics.set_cppr(0, 0xFF)
    assert xics.enable(16, False)
    xics.pulse(16)
    assert not lines.level[0]
    assert xics.enable(16, True)
    assert xics.get_xive(16) == (0, 4)
    assert lines.level[0]


def test_hostile_xics_calls() -> None:
    xics = Lines().xics
    for call in (lambda: xics.ipi(2, 0), lambda: xics.poll(1 << 63), lambda: xics.eoi(0, 0x1234)):
        with pytest.raises(Refused) as refused:
            call()
        assert refused.value.code == H_PARAMETER
    assert not xics.set_xive(99, 0, 0)
    assert xics.get_xive(99) is None
    with pytest.raises(ValueError, match="reserved"):
        xics.add_source(IPI, level=False)


def test_xics_state() -> None:
    lines, other = Lines(), Lines()
    lines.xics.add_source(16, level=True)
    other.xics.add_source(16, level=True)
    lines.xics.set_xive(16, 0, 4)
    lines.xics.set_cppr(0, 9)
    lines.xics.set_level(16, True)
    other.xics.load(lines.xics.save())
    assert other.xics.xirr(0) == lines.xics.xirr(0) == 0x09000010


# ----------------------------------------------------------------- decrementer
class Clock:
    def __init__(self) -> None:
        self.ns = 0
        self.level = False
        self.dec = Decrementer(1, lambda _: self.ns * 64 // 125, self.set, lambda: None)

    def set(self, _: int, level: bool) -> None:
        self.level = level


def test_decrementer_counts_down_and_fires() -> None:
    clock = Clock()
    clock.dec.write_dec(0, 64)  # 125 ns
    clock.ns = 125
    assert clock.dec.read_dec(0) == 0
    due = clock.dec.next_deadline()
    assert due == 127  # one tick later, rounded up
    clock.dec.on_deadline(126)
    assert not clock.level
    clock.ns = due
    clock.dec.on_deadline(due)
    assert clock.level
    assert clock.dec.read_dec(0) == 0xFFFF_FFFF
    assert clock.dec.next_deadline() is None
    clock.dec.write_dec(0, 1000)
    assert not clock.level


def test_negative_value_interrupts_at_once() -> None:
    clock = Clock()
    clock.dec.write_dec(0, 1 << 63 | 0xFFFF_FFFF)
    assert clock.level


def test_parked_decrementer_has_no_deadline() -> None:
    clock = Clock()
    clock.dec.write_dec(0, PARKED)
    assert clock.dec.next_deadline() is None
    assert clock.dec.read_dec(0) == PARKED
    clock.dec.write_dec(0, PARKED - 1)
    saved = clock.dec.save()
    other = Clock()
    other.dec.load(saved)
    assert other.dec.next_deadline() == clock.dec.next_deadline() is not None


# ------------------------------------------------------------------------- VPA
def make_vpa() -> tuple[Memory, Vpa]:
    memory = Memory()
    return memory, Vpa(2, memory.is_ram, memory.read, memory.write)


def flags(sub: int) -> int:
    return sub << 45


def refusal(vpa: Vpa, sub: int, cpu: int, address: int) -> int:
    with pytest.raises(Refused) as refused:
        vpa.register(flags(sub), cpu, address)
    return refused.value.code


def test_register_vpa() -> None:
    memory, vpa = make_vpa()
    memory.write(0x8004, (0x280).to_bytes(2, "big"))
    vpa.register(flags(1), 0, 0x8000)
    assert vpa.address(0) == 0x8000
    assert vpa.address(1) is None
    assert memory.word(0x8000 + DISPATCH_COUNT) % 2 == 0
    assert vpa.cede(0)
    assert memory.word(0x8000 + DISPATCH_COUNT) % 2 == 1
    vpa.dispatched(0)
    assert memory.word(0x8000 + DISPATCH_COUNT) == 4
    vpa.dispatched(0)
    assert memory.word(0x8000 + DISPATCH_COUNT) == 4
    assert vpa.poke(0, 0x17E, b"\x01\x02")
    assert vpa.peek(0, 0x17E, 2) == b"\x01\x02"
    assert not vpa.poke(0, 0x27F, b"ab")
    assert not vpa.poke(1, 0, b"a")


def test_registering_a_vpa_again_starts_afresh() -> None:
    memory, vpa = make_vpa()
    for at in (0x8000, 0x9000):
        memory.write(at, b"\xff" * 640)
        memory.write(at + 4, (640).to_bytes(2, "big"))
    vpa.register(flags(1), 0, 0x8000)
    assert memory.word(0x8000 + 0x17D, 3) == memory.word(0x8000 + 0x118, 8) == 0
    assert memory.word(0x8000 + 0xB9, 1) == 0xFF  # the first time it is the guest's to say
    memory.write(0x80B9, b"\x02")
    vpa.waited(0, 43_520)
    vpa.waited(0, 1)
    assert (memory.word(0x8108, 8), memory.word(0x8110, 8)) == (2, 43_521)
    for at in (0x9000, 0x8000):  # the last one wins
        vpa.register(flags(1), 0, at)
        assert vpa.address(0) == at
        assert memory.word(at + 0xB9, 1) == 0
        assert memory.word(at + DISPATCH_COUNT) == 2
    vpa.waited(1, 5)  # no VPA: nothing to count in


def test_vpa_rules() -> None:
    memory, vpa = make_vpa()
    assert refusal(vpa, 1, 2, 0x8000) == H_PARAMETER  # no such CPU
    for address in (0, 0x8001, 0x8040, SIZE, SIZE - 4, (1 << 64) - 128, 1 << 60):
        assert refusal(vpa, 1, 0, address) == H_PARAMETER
    assert refusal(vpa, 1, 0, 0x8000) == H_PARAMETER  # size 0
    memory.write(0x8004, (639).to_bytes(2, "big"))
    assert refusal(vpa, 1, 0, 0x8000) == H_PARAMETER
    memory.write(0x8E04, (640).to_bytes(2, "big"))
    assert refusal(vpa, 1, 0, 0x8E00) == H_PARAMETER  # crosses a 4 KiB border
    for sub in (0, 4):
        assert refusal(vpa, sub, 0, 0x8000) == H_PARAMETER
    memory.write(0x9004, (48).to_bytes(4, "big"))
    assert refusal(vpa, 2, 0, 0x9000) == H_RESOURCE  # no VPA yet
    memory.write(0x8004, (640).to_bytes(2, "big"))
    vpa.register(flags(1), 0, 0x8000)
    vpa.register(flags(2), 0, 0x9000)
    memory.write(0x9004, (47).to_bytes(4, "big"))
    assert refusal(vpa, 2, 0, 0x9000) == H_PARAMETER
    memory.write(0x9004, b"\xff\xff\xff\xff")
    assert refusal(vpa, 3, 0, 0x9000) == H_PARAMETER
    assert refusal(vpa, 5, 0, 0) == H_RESOURCE  # trace log still there
    vpa.register(flags(6), 0, 0)
    for _ in range(2):  # twice is fine
        vpa.register(flags(5), 0, 0)
    assert vpa.address(0) is None


def test_prod() -> None:
    _, vpa = make_vpa()
    assert not vpa.prod(0)
    assert not vpa.cede(0)  # the prod was remembered
    assert vpa.cede(0)
    assert vpa.prod(0)
    with pytest.raises(Refused):
        vpa.prod(7)


def test_vpa_state() -> None:
    memory, vpa = make_vpa()
    memory.write(0x8004, (640).to_bytes(2, "big"))
    vpa.register(flags(1), 1, 0x8000)
    other = make_vpa()[1]
    other.load(vpa.save())
    assert other.areas == vpa.areas


# -------------------------------------------------------------------- terminal
def test_terminal() -> None:
    out: list[int] = []
    pending = deque(b"0123456789abcdefXY")
    terminal = Hvc(out.append, lambda: pending.popleft() if pending else None)
    terminal.put(UNIT, 9, int.from_bytes(b"abcdefgh", "big"), int.from_bytes(b"i       ", "big"))
    assert bytes(out) == b"abcdefghi"
    assert terminal.get(0) == (16, int.from_bytes(b"01234567", "big"), int.from_bytes(b"89abcdef", "big"))
    assert terminal.get(0) == (2, int.from_bytes(b"XY\0\0\0\0\0\0", "big"), 0)
    assert terminal.get(0) == (0, 0, 0)
    for call in (lambda: terminal.put(5, 1, 0, 0), lambda: terminal.put(0, 17, 0, 0), lambda: terminal.get(1)):
        with pytest.raises(Refused):
            call()


# ------------------------------------------------------------------------ RTAS
class Services:
    def __init__(self) -> None:
        self.memory = Memory()
        self.out: list[int] = []
        self.status: list[int] = []
        self.now = 1_500_000_000
        self.xics = Xics(1, lambda *_: None)
        self.xics.add_source(0x1002, level=False)
        self.rtas = Rtas(lambda: self.now, self.out.append, self.status.append, self.xics, self.memory.is_ram,
                         self.memory.read, self.memory.write)  # fmt: skip

    def call(self, token: int, *args: int, nret: int = 1) -> list[int]:
        cells = (token, len(args), nret, *args)
        self.memory.write(0x100, b"".join(c.to_bytes(4, "big") for c in cells))
        self.rtas.call(0x100)
        return [self.memory.word(0x100 + 4 * (3 + len(args) + i)) for i in range(nret)]


def test_rtas_time() -> None:
    s = Services()
    assert s.call(TOKENS["get-time-of-day"], nret=8) == [0, 2024, 1, 1, 0, 0, 1, 500_000_000]
    assert s.call(TOKENS["set-time-of-day"], 2030, 5, 6, 7, 8, 9, 0) == [0]
    s.now += 1_000_000_000
    assert s.call(TOKENS["get-time-of-day"], nret=8)[:7] == [0, 2030, 5, 6, 7, 8, 10]
    bad = PARAMETER_ERROR & 0xFFFF_FFFF
    for date in ((2030, 13, 1, 0, 0, 0, 0), (1 << 31, 1, 1, 0, 0, 0, 0), (2030,), (9999, 1, 1, 0, 0, 0, 0)):
        assert s.call(TOKENS["set-time-of-day"], *date) == [bad]


def test_rtas_interrupts_console_power() -> None:
    s = Services()
    assert s.call(TOKENS["ibm,set-xive"], 0x1002, 0, 5) == [0]
    assert s.call(TOKENS["ibm,int-off"], 0x1002) == [0]
    assert s.call(TOKENS["ibm,get-xive"], 0x1002, nret=3) == [0, 0, 0xFF]
    assert s.call(TOKENS["ibm,int-on"], 0x1002) == [0]
    assert s.call(TOKENS["ibm,get-xive"], 0x1002, nret=3) == [0, 0, 5]
    s.call(TOKENS["display-character"], ord("x"))
    assert s.out == [ord("x")]
    s.call(TOKENS["power-off"], 0, 0)
    assert s.status == [0]


def test_hostile_rtas() -> None:
    s = Services()
    bad = PARAMETER_ERROR & 0xFFFF_FFFF
    assert s.call(0xDEAD) == [bad]
    assert s.call(TOKENS["ibm,set-xive"]) == [bad]
    assert s.call(TOKENS["get-time-of-day"], nret=0) == []
    s.memory.write(0x100, b"".join(c.to_bytes(4, "big") for c in (TOKENS["power-off"], 0xFFFFFFFF, 1)))
    for address in (0x100, SIZE - 8, SIZE, (1 << 64) - 4):
        with pytest.raises(Refused) as refused:
            s.rtas.call(address)
        assert refused.value.code == H_PARAMETER


def test_random_numbers_repeat() -> None:
    a, b = RandomNumbers(), RandomNumbers()
    assert [a.next() for _ in range(3)] == [b.next() for _ in range(3)]
    b.load(a.save())
    assert a.next() == b.next() != a.next()
