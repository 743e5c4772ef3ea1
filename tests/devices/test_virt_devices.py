# SPDX-License-Identifier: GPL-2.0-or-later
"""PL011, generic timer, PSCI and the exit device."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from vmemu.devices import psci
from vmemu.devices.exit_device import ExitDevice
from vmemu.devices.generic_timer import CTL, CVAL, TVAL, GenericTimer
from vmemu.devices.pl011 import CR, DR, FR, FR_RXFE, Pl011
from vmemu.devices.psci import Psci


def test_uart() -> None:
    sent: list[int] = []
    typed = [0x61, 0x62]
    uart = Pl011(sent.append, lambda: typed.pop(0) if typed else None)
    for byte in b"ok":
        uart.write(DR, 4, byte | 0x100)
    assert bytes(sent) == b"ok"
    assert not uart.read(FR, 4) & FR_RXFE
    state = uart.save()  # a byte taken by a look at FR is part of the state
    assert uart.read(DR, 4) == 0x61
    uart.load(state)
    assert (uart.read(DR, 4), uart.read(DR, 4)) == (0x61, 0x62)
    assert uart.read(FR, 4) & FR_RXFE
    assert uart.read(DR, 4) == 0
    uart.write(CR, 4, 0x301)
    assert uart.read(CR, 4) == 0x301
    assert [uart.read(0xFE0 + 4 * i, 4) for i in range(4)] == [0x11, 0x10, 0x14, 0x00]


class Clock:
    """Virtual time, and what the timer did to its lines."""

    def __init__(self) -> None:
        self.ns = 0
        self.lines: dict[bool, bool] = {False: False, True: False}
        self.moved = 0
        self.timer = GenericTimer(1, lambda: self.ns, self._line, self._changed)

    def _line(self, cpu: int, virtual: bool, level: bool) -> None:
        self.lines[virtual] = level

    def _changed(self) -> None:
        self.moved += 1

    def at(self, ns: int) -> None:
        self.ns = ns
        self.timer.on_deadline(ns)


def test_timer_fires_at_its_compare_value() -> None:
    c = Clock()
    c.ns = 1600
    c.timer.write_register(0, True, TVAL, 10)
    assert c.timer.read_register(0, True, CVAL) == 110
    assert c.timer.next_deadline() is None
    c.timer.write_register(0, True, CTL, 1)
    assert c.timer.next_deadline() == 110 * 16
    c.at(110 * 16 - 1)
    assert not c.lines[True]
    c.at(110 * 16)
    assert c.lines == {False: False, True: True}
    assert c.timer.next_deadline() is None  # fired: waits for the guest
    assert c.timer.read_register(0, True, CTL) == 5
    assert c.timer.read_register(0, True, TVAL) == 0
    c.timer.write_register(0, True, CTL, 3)
    assert not c.lines[True]
    c.timer.write_register(0, True, CTL, 1)
    assert c.lines[True]
    c.timer.write_register(0, True, CVAL, 200)
    assert not c.lines[True]
    assert c.moved == 5


def test_timer_values_wrap_as_the_architecture_says() -> None:
    c = Clock()
    c.ns = 160
    c.timer.write_register(0, False, TVAL, 0xFFFFFFFF)  # minus one: in the past
    assert c.timer.read_register(0, False, CVAL) == 9
    c.timer.write_register(0, False, CTL, 1)
    assert c.lines[False]
    assert c.timer.read_register(0, False, TVAL) == 0xFFFFFFFF
    c.timer.write_register(0, False, CVAL, (1 << 64) - 1)
    assert not c.lines[False]
    assert c.timer.next_deadline() == ((1 << 64) - 1) * 16


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, (1 << 64) - 1)), max_size=20))
def test_timer_state_survives(writes: list[tuple[bool, int, int]]) -> None:
    c, d = Clock(), Clock()
    for virtual, which, value in writes:
        c.timer.write_register(0, virtual, which, value)
        d.timer.load(c.timer.save())
        assert d.timer.save() == c.timer.save()
        assert d.timer.next_deadline() == c.timer.next_deadline()


class FakeVcpu:
    id = 0

    def __init__(self, *registers: int) -> None:
        self.registers = {f"x{i}": registers[i] if i < len(registers) else 0 for i in range(8)}

    def get(self, name: str) -> int:
        return self.registers[name]

    def set(self, name: str, value: int) -> None:
        self.registers[name] = value


def call(firmware: Psci, *registers: int) -> int:
    vcpu = FakeVcpu(*registers)
    firmware.call(cast(Any, vcpu))
    value = vcpu.get("x0")
    return value - (1 << 64) if value >> 63 else value


def test_psci() -> None:
    ended: list[int] = []
    started: list[tuple[int, int, int]] = []
    firmware = Psci(2, ended.append, lambda *a: started.append(a), lambda f: f == psci.CPU_ON)
    assert call(firmware, psci.PSCI_VERSION) == 0x10001
    assert call(firmware, psci.CPU_ON | psci.SMC64, 1, 0x40080000, 7) == 0
    assert started == [(1, 0x40080000, 7)]
    assert call(firmware, psci.CPU_ON, 1) == psci.ALREADY_ON
    assert call(firmware, psci.CPU_ON, 2) == psci.INVALID_PARAMETERS
    assert call(firmware, psci.CPU_ON | psci.SMC64, 1 << 32) == psci.INVALID_PARAMETERS
    assert call(firmware, psci.CPU_ON, 1 << 32 | 1) == psci.ALREADY_ON  # a 32-bit call: upper halves do not count
    assert call(firmware, psci.AFFINITY_INFO, 1) == psci.ON
    assert call(firmware, psci.AFFINITY_INFO, 1, 1) == psci.INVALID_PARAMETERS
    assert call(firmware, psci.PSCI_FEATURES, psci.CPU_ON) == psci.SUCCESS
    assert call(firmware, psci.PSCI_FEATURES, 0x84000020) == psci.NOT_SUPPORTED
    assert call(firmware, 0x84000020) == psci.NOT_SUPPORTED
    other = Psci(2, ended.append, lambda *a: None, lambda f: False)
    other.load(firmware.save())
    assert call(other, psci.AFFINITY_INFO, 1) == psci.ON
    assert ended == []
    call(firmware, psci.SYSTEM_OFF)
    assert ended == [0]


def test_cpu_off_waits() -> None:
    firmware = Psci(1, lambda status: None, lambda *a: None, lambda f: True)
    assert firmware.call(cast(Any, FakeVcpu(psci.CPU_OFF)))
    assert call(firmware, psci.AFFINITY_INFO, 0) == psci.OFF


def test_exit_device() -> None:
    ended: list[int] = []
    device = ExitDevice(ended.append)
    device.write(0, 4, 3)
    device.write(4, 4, 9)
    assert ended == [3]
    device.load(device.save())
