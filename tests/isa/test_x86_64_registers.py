# SPDX-License-Identifier: GPL-2.0-or-later
"""The x86-64 register list: complete, restorable in its own order, and readable."""

from __future__ import annotations

from vmemu.core import CoreMachine
from vmemu.isa.x86_64 import ISA
from vmemu.isa.x86_64.registers import CR0, EFER, PF_ERROR, RFLAGS
from vmemu.isa.x86_64.sensitive import SENSITIVE

#: Registers with fixed or masked bits, or whose value decides others'.
PARTIAL = {"rflags", "cr0", "cr4", "efer", "hflags", "hflags2", "fpcw", "fpsw", "fptag", "mxcsr"}


def machine() -> CoreMachine:
    return CoreMachine("x86_64", 8, [(0, 8 * 4096)], lambda *_: (0, 0))


def test_every_register_can_be_written_and_read_back() -> None:
    vcpu = machine().add_vcpu()
    for i, register in enumerate(ISA.registers):
        if register.name in PARTIAL:
            continue
        value = 0x0123_4567_89AB_CDEF * (i + 1) % (1 << register.bits)
        vcpu.set(register.name, value)
        assert vcpu.get(register.name) == value, register.name


def test_all_registers_restore_in_order() -> None:
    core = machine()
    vcpu, other = core.add_vcpu(), core.add_vcpu()
    for i, register in enumerate(ISA.registers):
        if register.name not in PARTIAL and register.group != "segment":
            vcpu.set(register.name, 0x1111_2222_3333_4444 * (i + 3) % (1 << register.bits))
    special = {
        "efer": 0xD01, "cr4": 0x620, "cr0": 0x80010033, "cs_flags": 0xAFFB00, "ss_flags": 0xCFF300,
        "rflags": 0xA97, "fpcw": 0x27F, "fpsw": 0x3800, "mxcsr": 0x1FA0,
    }  # fmt: skip
    for name, value in special.items():
        vcpu.set(name, value)
    vcpu.set("hflags", vcpu.get("hflags") | 3)
    saved = vcpu.registers()
    for name, value in saved.items():
        other.set(name, value)
    assert other.registers() == saved


def test_reset_state_is_flat_protected_mode() -> None:
    vcpu = machine().add_vcpu()
    assert CR0.show(vcpu.get("cr0")) == "0x11 (PE, ET)"
    assert vcpu.get("efer") == 0
    assert vcpu.get("hflags") == 0xB0  # PE, 32-bit code and stack, CPL 0
    assert vcpu.get("mxcsr") == 0x1F80
    assert vcpu.get("fpcw") == 0x37F


def test_control_registers_decide_the_mode() -> None:
    vcpu = machine().add_vcpu()
    vcpu.set("efer", EFER.set(0, LME=1, LMA=1))
    vcpu.set("cs_flags", 0xAF9B00)
    assert vcpu.get("hflags") & 0xC000 == 0xC000  # LMA, 64-bit code
    vcpu.set("cs_flags", 0xCF9B00)
    assert vcpu.get("hflags") & 0xC000 == 0x4000


def test_formats_print_themselves() -> None:
    assert RFLAGS.show(0x246) == "0x246 (PF, ZF, IF)"
    assert PF_ERROR.show(7) == "0x7 (P, W, U)"


def test_sensitive_patterns_are_distinct() -> None:
    keys = [(p.opcode, p.reg) for p in SENSITIVE]
    assert len(set(keys)) == len(keys)
    assert {p.how for p in SENSITIVE} == {"code", "insn", "invalid"}
