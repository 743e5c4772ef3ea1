# SPDX-License-Identifier: GPL-2.0-or-later
"""arm64 register file and sensitive instructions as data."""

from __future__ import annotations

import pytest

from vmemu.core import CoreMachine, CoreVcpu
from vmemu.errors import EngineError
from vmemu.isa.arm64 import ISA
from vmemu.isa.arm64.registers import ESR, PSTATE
from vmemu.isa.arm64.sensitive import CNTVCT_EL0, SENSITIVE


@pytest.fixture
def vcpu() -> CoreVcpu:
    machine = CoreMachine("arm64", 16, [(0, 16 * 4096)], lambda *_: (0, 0))
    return machine.add_vcpu()


def test_formats_print_themselves() -> None:
    assert PSTATE.show(0x3C5) == "0x3c5 (M=EL1h, F, I, A, D)"
    assert "DABT_EL0" in ESR.show(0x92000046)


def test_register_numbers() -> None:
    assert CNTVCT_EL0 == 0xDF02  # as KVM numbers it (0x603000000013df02)


def test_sensitive_patterns_do_not_overlap() -> None:
    words = {
        "HVC": 0xD4000002,
        "SMC": 0xD4000003,
        "SVC": 0xD4000001,
        "BRK": 0xD4200000,
        "WFI": 0xD503207F,
        "MRS, MSR, TLBI": 0xD5380000,
    }
    for entry in SENSITIVE:
        assert entry.matches(words[entry.name])
    for name, word in words.items():
        assert [s.name for s in SENSITIVE if s.matches(word)] in ([name], ["WFI", "MRS, MSR, TLBI"])


def test_reset_state(vcpu: CoreVcpu) -> None:
    assert vcpu.get("pstate") == 0x3C5
    assert vcpu.get("sctlr_el1") & 1 == 0  # MMU off
    assert vcpu.get("cpacr_el1") == 0  # FP and SIMD trap
    assert vcpu.get("cntfrq_el0") == 62_500_000


def test_every_register_holds_what_is_written(vcpu: CoreVcpu) -> None:
    fixed = {"pstate": 0x600003C4, "spsr_el1": 0x3C0, "fpcr": 0x03000000, "fpsr": 0x0800001F}
    for i, register in enumerate(ISA.registers):
        vcpu.set(register.name, fixed.get(register.name, 0x0123_4567_89AB_CD00 + i))
    for i, register in enumerate(ISA.registers):
        assert vcpu.get(register.name) == fixed.get(register.name, 0x0123_4567_89AB_CD00 + i), register.name


def test_stack_pointers_are_banked(vcpu: CoreVcpu) -> None:
    vcpu.set("sp_el0", 0x1000)
    vcpu.set("sp_el1", 0x2000)
    vcpu.set("pstate", 0)
    assert (vcpu.get("sp_el0"), vcpu.get("sp_el1")) == (0x1000, 0x2000)
    vcpu.set("sp_el0", 0x3000)
    vcpu.set("pstate", 0x3C5)
    assert (vcpu.get("sp_el0"), vcpu.get("sp_el1")) == (0x3000, 0x2000)


def test_modes_that_do_not_exist_are_refused(vcpu: CoreVcpu) -> None:
    for pstate in (0x10, 0x9, 0xD, 1 << 32):
        with pytest.raises(EngineError):
            vcpu.set("pstate", pstate)
    vcpu.set("spsr_el1", 0x10)  # a return to AArch32 must be an illegal return
    assert vcpu.get("spsr_el1") == 0x16
