# SPDX-License-Identifier: GPL-2.0-or-later
"""The SMC calling convention and the vendor service of the virt board."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.arm64 import HVC, WFI, Asm
from helpers.elfmaker import EM_AARCH64, make_elf
from helpers.sdei import BASE, ScriptGuest

from vmemu.core import CoreVcpu
from vmemu.devices import smccc
from vmemu.machine.machine import Machine
from vmemu.protocols.sdei.calls import Call


def test_discovery(tmp_path: Path) -> None:
    guest = ScriptGuest(tmp_path)
    guest.run([(0x80000000,), (0x80000001, 0x80000000), (0x80000001, 0x8600FF01), (0x80000001, 0x86000002), (0x8600FF01,), (0x86000000,)])
    log = guest.log()
    assert [e.x0 for e in log[:3]] == [0x10001, 0, 0]
    assert guest.results()[3] == -1
    assert log[4][1:5] == (0xB66FB428, 0xE911C52E, 0x564BCAA9, 0x743A004D)
    assert log[5][1:5] == (1, 0, 0, 0)


def test_vendor_functions(tmp_path: Path) -> None:
    guest = ScriptGuest(tmp_path)
    seen: list[list[int]] = []

    def serve(vcpu: CoreVcpu) -> bool:
        seen.append(smccc.arguments(vcpu))
        smccc.answer(vcpu, 0, 9)
        return False

    board = guest.machine.board
    vendor: smccc.VendorService = board.vendor  # type: ignore[attr-defined]
    vendor.add(2, serve)
    vendor.add(100, serve)
    for number in (0, 2, 128):
        with pytest.raises(ValueError, match="vendor function"):
            vendor.add(number, serve)
    guest.run([(0x86000000,), (0x86000002, 1 << 32 | 5, (1 << 64) - 1), (0xFFFF_FFFF_8600_0002,), (0xC6000002, 7), (0x86000001,)])
    log = guest.log()
    assert log[0][1:5] == (5, 0, 0, 1 << 4)
    assert seen[0][:2] == [5, 0xFFFFFFFF]  # a 32-bit call: upper halves do not count, in the function id neither
    assert len(seen) == 2
    assert guest.results()[3:] == [-1, -1]
    vendor.remove(2)
    guest.run([(0x86000000,), (0x86000002,)])
    assert guest.results() == [1, -1]


@pytest.mark.parametrize("function", [0, 0x80000002, 0xC4000020, 0xBEEF0000, 0xFFFFFFFF, 0x86000003])
def test_unknown_calls_change_x0_alone(tmp_path: Path, function: int) -> None:
    """I-13."""
    if function == 0:
        function = 1 << 32  # the lower half is zero: an unknown id
    guest = ScriptGuest(tmp_path)
    (entry,) = guest.run([(function, 1, 2, 3, 4, 5)])
    assert entry == (1, (1 << 64) - 1, 1, 2, 3, 4)


def test_immediates(tmp_path: Path) -> None:
    """HVC #n and SMC #n, n != 0: not supported, whatever x0 says. At EL0 both are undefined (test_arm64_exceptions)."""
    a = Asm(BASE)
    a.mov(19, 0x40100000)
    for word in (HVC | 1 << 5, HVC | 0xFFFF << 5, HVC | 1 | 7 << 5, HVC, HVC | 1):
        a.mov(0, 0x80000000)
        a.put(word)
        a.push(0, 1, 19)
    a.put(WFI)
    image = tmp_path / "imm.elf"
    data = a.code()
    image.write_bytes(make_elf(EM_AARCH64, entry=BASE, segments=((BASE, BASE, data, 0x2000),)))
    machine = Machine.boot(str(image))
    machine.run()
    answers = [int.from_bytes(machine.read_guest(0x40100000 + 16 * i, 8), "little", signed=True) for i in range(5)]
    assert answers == [-1, -1, -1, 0x10001, 0x10001]


def test_without_sdei_its_calls_are_unknown(tmp_path: Path) -> None:
    guest = ScriptGuest(tmp_path)
    guest.run([(call, 0, 0) for call in Call])
    assert set(guest.results()) == {-1}
