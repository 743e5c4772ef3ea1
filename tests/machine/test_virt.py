# SPDX-License-Identifier: GPL-2.0-or-later
"""The virt board with bare images: console, firmware calls, timer and GIC, exit device, device tree, hostile guests."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.elfmaker import EM_AARCH64, make_elf

from vmemu.core import CoreVcpu
from vmemu.devices import psci
from vmemu.isa.arm64 import sensitive as reg
from vmemu.machine.board import Outcome
from vmemu.machine.boards.virt import EXIT, GICD, GICR, UART
from vmemu.machine.machine import Machine
from vmemu.machine.result import FAILED, OK, STALLED

BASE = 0x40080000
DATA = 0x40100000
HVC, SMC, WFI, ISB = 0xD4000002, 0xD4000003, 0xD503207F, 0xD5033FDF


def mov(register: int, value: int) -> list[int]:
    """movz and movk of a 64-bit constant."""
    words = [0xD2800000 | (value & 0xFFFF) << 5 | register]
    return words + [0xF2800000 | s << 21 | (value >> 16 * s & 0xFFFF) << 5 | register for s in (1, 2, 3)]


def store(address: int, value: int, *, wide: bool = False) -> list[int]:
    return [*mov(9, address), *mov(10, value), 0xF900012A if wide else 0xB900012A]


def keep(register: int, slot: int) -> list[int]:
    """Store a register to DATA + 8 * slot."""
    return [*mov(9, DATA + 8 * slot), 0xF9000120 | register]


def msr(number: int, register: int) -> int:
    return 0xD5000000 | number << 5 | register


def mrs(register: int, number: int) -> int:
    return 0xD5200000 | number << 5 | register


def call(function: int, *args: int, word: int = HVC) -> list[int]:
    return [w for i, value in enumerate((function, *args)) for w in mov(i, value & (1 << 64) - 1)] + [word]


def boot(code: list[int], tmp_path: Path, **options: object) -> Machine:
    image = tmp_path / "bare.elf"
    data = b"".join(struct.pack("<I", w) for w in code)
    image.write_bytes(make_elf(EM_AARCH64, entry=BASE, segments=((BASE, BASE, data, 0x2000),)))
    return Machine.boot(str(image), **options)


def slots(machine: Machine, n: int) -> list[int]:
    return [int.from_bytes(machine.read_guest(DATA + 8 * i, 8), "little", signed=True) for i in range(n)]


def test_console_and_exit_status(tmp_path: Path) -> None:
    machine = boot([*store(UART, 0x68), *store(UART, 0x69), *store(EXIT, 3), WFI], tmp_path)
    result = machine.run()
    assert (result.status, machine.guest_status) == (FAILED, 3)
    assert bytes(machine.console.output) == b"hi"


@pytest.mark.parametrize("word", [HVC, SMC])
def test_firmware_calls(word: int, tmp_path: Path) -> None:
    calls = (
        (psci.PSCI_VERSION,), (psci.CPU_ON | psci.SMC64, 0, 0, 0), (psci.CPU_ON | psci.SMC64, 1 << 40, 0, 0),
        (psci.PSCI_FEATURES, psci.CPU_ON), (0xDEADBEEF,), (psci.SMCCC_VERSION,), (0x84000007,),
    )  # fmt: skip
    code = [w for i, c in enumerate(calls) for w in (*call(*c, word=word), *keep(0, i))]
    machine = boot([*code, *call(psci.SYSTEM_OFF)], tmp_path)
    assert machine.run().status == OK
    assert slots(machine, len(calls)) == [0x10001, -4, -2, 0, -1, 0x10001, -1]


def test_protocols_can_add_calls(tmp_path: Path) -> None:
    machine = boot([*call(0x86000002, 5), *keep(0, 0), *keep(1, 1), *call(psci.SYSTEM_OFF)], tmp_path)
    board = machine.board

    def service(vcpu: CoreVcpu) -> Outcome:
        psci.answer(vcpu, 7, psci.arguments(vcpu)[0] + 1)
        return Outcome.HANDLED

    board.hcalls[0x86000002] = service
    assert machine.run().status == OK
    assert slots(machine, 2) == [7, 6]


def test_timer_interrupt_ends_a_wait_at_its_time(tmp_path: Path) -> None:
    setup = [
        *store(GICD, 0x12), *store(GICR + 0x14, 0), *store(GICR + 0x10080, 0xFFFFFFFF), *store(GICR + 0x10100, 1 << 27),
        *mov(0, 0xFF), msr(reg.ICC_PMR_EL1, 0), *mov(0, 1), msr(reg.ICC_IGRPEN1_EL1, 0),
        *mov(0, 6250), msr(reg.CNTV_TVAL_EL0, 0), mrs(3, reg.CNTVCT_EL0), *mov(0, 1), msr(reg.CNTV_CTL_EL0, 0),
        ISB, WFI, mrs(4, reg.CNTVCT_EL0), mrs(5, reg.ICC_IAR1_EL1), mrs(6, reg.CNTV_CTL_EL0), *mov(0, 0),
        msr(reg.CNTV_CTL_EL0, 0), msr(reg.ICC_EOIR1_EL1, 5), mrs(7, reg.ICC_IAR1_EL1),
        *(w for i in range(5) for w in keep(3 + i, i)), *call(psci.SYSTEM_OFF),
    ]  # fmt: skip
    machine = boot(setup, tmp_path)
    assert machine.run().status == OK
    before, after, interrupt, control, spurious = slots(machine, 5)
    # 100 us at 62.5 MHz from the write of TVAL on, whose own exit costs 1,500 cycles (47 ticks) before the first reading
    assert 6250 - 47 - 5 <= after - before <= 6255
    assert (interrupt, control, spurious) == (27, 5, 1023)


def test_a_wait_for_nothing_is_a_stall(tmp_path: Path) -> None:
    result = boot([WFI], tmp_path).run()
    assert result.status == STALLED
    assert f"{BASE + 4:#x}" in result.reason


def test_no_vectors_is_the_guest_s_death(tmp_path: Path) -> None:
    for code in ([0], [*mov(0, 0x2000_0000), msr(reg.sysreg(3, 0, 12, 0, 0), 0), 0xD4000001], [*mov(0, 1), 0xF9400000]):
        result = boot(code, tmp_path).run()
        assert result.status == FAILED
        assert "own vector" in result.reason


def test_device_tree_is_readable(tmp_path: Path) -> None:
    libfdt = pytest.importorskip("libfdt")
    machine = boot([WFI], tmp_path)
    tree = libfdt.Fdt(machine.board.build_fdt("quiet a=b", (0x1000, 0x2000), 64 << 20))
    chosen = tree.path_offset("/chosen")
    assert tree.getprop(chosen, "bootargs").as_str() == "quiet a=b"
    assert tree.getprop(chosen, "linux,initrd-end").as_uint64() == 0x2000
    for path, compatible in (
        (tree.getprop(chosen, "stdout-path").as_str(), "arm,pl011"), ("/intc", "arm,gic-v3"),
        ("/timer", "arm,armv8-timer"), ("/psci", "arm,psci-1.0"), (f"/exit@{EXIT:x}", "vmemu,exit"),
    ):  # fmt: skip
        assert compatible in tree.getprop(tree.path_offset(path), "compatible").as_stringlist()
