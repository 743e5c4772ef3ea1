# SPDX-License-Identifier: GPL-2.0-or-later
"""COM1, fw_cfg, debug exit and the local APIC."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmemu.devices import com1, lapic
from vmemu.devices.com1 import Com1
from vmemu.devices.debug_exit import DebugExit
from vmemu.devices.fw_cfg import NB_CPUS, FwCfg
from vmemu.devices.lapic import ENABLE, Lapic


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def enabled(clock: Clock | None = None, **options: object) -> tuple[Lapic, list[bool]]:
    levels: list[bool] = []
    chip = Lapic(0, clock or Clock(), levels.append, **options)  # type: ignore[arg-type]
    chip.write(lapic.SVR, 4, ENABLE | 0xFF)
    return chip, levels


def test_com1_sends_receives_and_loops_back() -> None:
    sent: list[int] = []
    typed = [0x61]
    uart = Com1(sent.append, lambda: typed.pop(0) if typed else None)
    assert uart.read(com1.LSR, 1) == 0x61
    state = uart.save()
    assert uart.read(com1.DATA, 1) == 0x61
    assert uart.read(com1.LSR, 1) == 0x60
    uart.write(com1.DATA, 1, 0x41)
    uart.write(com1.MCR, 1, com1.MCR_LOOP | 0x0A)
    uart.write(com1.DATA, 1, 0x42)
    assert sent == [0x41]
    assert uart.read(com1.DATA, 1) == 0x42
    assert uart.read(com1.MSR, 1) == 0x90
    uart.load(state)
    assert uart.read(com1.DATA, 1) == 0x61


def test_com1_divisor_latch_and_interrupt() -> None:
    levels: list[bool] = []
    uart = Com1(lambda _: None, lambda: None, levels.append)
    uart.write(com1.LCR, 1, com1.LCR_DLAB | 3)
    uart.write(com1.DATA, 1, 0x34)
    uart.write(com1.IER, 1, 0x12)
    assert (uart.read(com1.DATA, 1), uart.read(com1.IER, 1)) == (0x34, 0x12)
    uart.write(com1.LCR, 1, 3)
    uart.write(com1.MCR, 1, com1.MCR_OUT2)
    uart.write(com1.IER, 1, com1.IER_THRE)
    assert levels[-1]
    assert uart.read(com1.IIR_FCR, 1) == com1.IIR_THRE
    assert not levels[-1]


def test_fw_cfg_gives_items_and_then_zeros() -> None:
    chip = FwCfg({NB_CPUS: b"\x02\x01"})
    chip.write(0, 2, NB_CPUS)
    assert [chip.read(1, 1) for _ in range(3)] == [2, 1, 0]
    chip.write(0, 2, 0x3FFF)
    assert chip.read(1, 1) == 0


def test_debug_exit_tells_the_status() -> None:
    seen: list[int] = []
    DebugExit(seen.append).write(0, 4, 0x1_0000_0003)
    assert seen == [3]


def test_priorities_and_end_of_interrupt() -> None:
    chip, levels = enabled()
    chip.request(0x31)
    chip.request(0x52)
    assert levels[-1]
    assert chip.acknowledge() == 0x52
    assert not levels[-1]  # 0x31 has a lower class than the one in service
    chip.request(0x61)
    assert chip.acknowledge() == 0x61
    chip.write(lapic.EOI, 4, 0)
    chip.write(lapic.EOI, 4, 0)
    assert chip.acknowledge() == 0x31
    assert chip.acknowledge() == 0xFF  # spurious
    chip.write(lapic.TPR, 4, 0x70)
    chip.request(0x65)
    assert chip.pending() is None
    chip.write(lapic.TPR, 4, 0)
    assert levels[-1]


def test_one_shot_timer() -> None:
    clock = Clock()
    chip, _ = enabled(clock)
    chip.write(lapic.DIVIDE, 4, 0xB)
    chip.write(lapic.LVT_TIMER, 4, 0x30)
    clock.now = 100
    chip.write(lapic.INITIAL, 4, 5000)
    assert chip.next_deadline() == 5100
    clock.now = 2100
    assert chip.read(lapic.CURRENT, 4) == 3000
    clock.now = 5100
    chip.on_deadline(5100)
    assert chip.next_deadline() is None
    assert chip.acknowledge() == 0x30


def test_periodic_timer_keeps_its_phase_and_has_a_floor() -> None:
    clock = Clock()
    chip, _ = enabled(clock)
    chip.write(lapic.DIVIDE, 4, 0xB)
    chip.write(lapic.LVT_TIMER, 4, 0x20030)
    chip.write(lapic.INITIAL, 4, 10_000)
    chip.on_deadline(35_000)
    assert chip.next_deadline() == 40_000
    chip.write(lapic.INITIAL, 4, 1)
    assert chip.next_deadline() == lapic.MIN_PERIOD


def test_tsc_deadline_mode() -> None:
    chip, _ = enabled()
    chip.set_tsc_deadline(500)
    assert chip.next_deadline() is None
    chip.write(lapic.LVT_TIMER, 4, 0x40031)
    chip.set_tsc_deadline(500)
    assert chip.next_deadline() == 500
    chip.on_deadline(600)
    assert chip.acknowledge() == 0x31
    chip.write(lapic.EOI, 4, 0)
    chip.set_tsc_deadline(0)
    assert chip.acknowledge() == 0x31


def test_messages_to_itself_and_others() -> None:
    out: list[tuple[int, int]] = []
    chip, _ = enabled(send=lambda icr, dest: out.append((icr, dest)))
    chip.write(lapic.ICR, 4, 0x40000 | 0x40)
    assert chip.acknowledge() == 0x40
    assert out == []
    chip.write(lapic.ICR_HIGH, 4, 3 << 24)
    chip.write(lapic.ICR, 4, 0x41)
    assert out == [(0x41, 3)]
    chip.x2apic = True
    assert chip.write_msr(lapic.SELF_IPI, 0x42)
    assert not chip.write_msr(lapic.ID, 1)
    assert chip.read_msr(lapic.EOI) is None


accesses = st.lists(
    st.tuples(st.booleans(), st.integers(0, 0xFFF), st.sampled_from((1, 2, 4, 8)), st.integers(0, (1 << 64) - 1)),
    max_size=40,
)


@given(accesses, st.booleans())
def test_no_access_can_upset_the_apic(operations: list[tuple[bool, int, int, int]], x2apic: bool) -> None:
    clock = Clock()
    chip, levels = enabled(clock)
    chip.x2apic = x2apic
    for write, offset, size, value in operations:
        clock.now += 997
        if write:
            chip.write(offset, size, value)
            chip.write_msr(offset & 0xFF0, value)
        else:
            assert 0 <= chip.read(offset, size) < 1 << 32
            chip.read_msr(offset & 0xFF0)
        chip.on_deadline(clock.now)
        assert levels[-1] == (chip.pending() is not None)
        copy = Lapic(0, clock, lambda _: None)
        copy.load(chip.save())
        assert copy.save() == chip.save()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7), st.integers(0, 0xFFFFFFFF)), max_size=40))
def test_no_access_can_upset_com1(operations: list[tuple[bool, int, int]]) -> None:
    sent: list[int] = []
    uart = Com1(sent.append, lambda: None)
    for write, offset, value in operations:
        if write:
            uart.write(offset, 1, value)
        else:
            assert 0 <= uart.read(offset, 1) < 1 << 16
    assert all(0 <= byte < 256 for byte in sent)
