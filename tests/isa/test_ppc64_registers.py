# SPDX-License-Identifier: GPL-2.0-or-later
"""The ppc64 register list and the C unit's idea of it."""

from __future__ import annotations

import re
from pathlib import Path

from vmemu.core import CoreMachine
from vmemu.isa.ppc64 import ISA
from vmemu.isa.ppc64.registers import DSISR, LPCR, MSR, SPRS

SOURCE = Path(__file__).parents[2] / "vmemu/core/src/regs_ppc64.c"
#: Registers with fixed or masked bits: what a write of all ones leaves is not all ones.
PARTIAL = {"msr", "fpscr", "cr", "vscr", "stalls"}


def test_numbers_agree_with_c() -> None:
    found = {m[1].lower(): int(m[2]) for m in re.finditer(r"\[R_PPC64_(\w+)\] = 1 \+ (\d+)", SOURCE.read_text())}
    assert found == {name: number for name, number, _, _ in SPRS}


def test_every_register_can_be_saved_and_restored() -> None:
    machine = CoreMachine("ppc64", 8, [(0, 8 * 4096)], lambda *_: (0, 0))
    vcpu, other = machine.add_vcpu(), machine.add_vcpu()
    for i, register in enumerate(ISA.registers):
        if register.name not in PARTIAL and register.name != "xer":
            value = (0x0123_4567_89AB_CDEF * (i + 1)) % (1 << register.bits)
            vcpu.set(register.name, value)
            assert vcpu.get(register.name) == value, register.name
    vcpu.set("xer", 0xE00C_007F)
    vcpu.set("cr", 0x1234_5678)
    vcpu.set("fpscr", 1)
    vcpu.set("msr", 1 << 63 | 0xB032)
    saved = vcpu.registers()
    assert saved["xer"] == 0xE00C_007F
    assert saved["cr"] == 0x1234_5678
    for name, value in saved.items():
        other.set(name, value)
    assert other.registers() == saved


def test_reset_state() -> None:
    machine = CoreMachine("ppc64", 8, [(0, 8 * 4096)], lambda *_: (0, 0))
    vcpu = machine.add_vcpu()
    assert MSR.show(vcpu.get("msr")) == "0x8000000000001000 (SF, ME)"
    assert LPCR.show(vcpu.get("lpcr")) == "0x500400 (UPRT, HR, GTSE)"
    assert vcpu.pc == 0x100
    assert vcpu.get("prtbl") == (1 << 64) - 1


def test_formats_print_themselves() -> None:
    assert DSISR.show(0x42000000) == "0x42000000 (NOPTE, STORE)"
