# SPDX-License-Identifier: GPL-2.0-or-later
"""Trapped ppc64 instructions: time, randomness, privilege; the C classifier against the declared patterns."""

from __future__ import annotations

import struct

import pytest

from vmemu.core import CYC, CoreMachine, CoreVcpu, ExitKind
from vmemu.isa.ppc64.sensitive import PATTERNS, is_sensitive

SC1, TRAP = 0x44000022, 0x7FE00008
MFTB, MFDEC, MTDEC = 0x7C6C42A6, 0x7C7602A6, 0x7C7603A6
DARN, WAIT, TLBIE, MTPIDR = 0x7C6005E6, 0x7C00003C, 0x7C001A64, 0x7C700BA6
EE = 1 << 15


def mfspr(number: int, register: int = 3) -> int:
    return 0x7C0002A6 | register << 21 | (number & 31) << 16 | number >> 5 << 11


def mtspr(number: int, register: int = 3) -> int:
    return 0x7C0003A6 | register << 21 | (number & 31) << 16 | number >> 5 << 11


class Rig:
    """One vCPU in real mode with code at 0x2000; every vector holds `sc 1`, so that interrupts show as exits."""

    def __init__(self) -> None:
        self.io: list[tuple[int, int, int]] = []
        self.machine = CoreMachine("ppc64", 64, [(0, 64 * 4096)], self.on_io)
        self.vcpu: CoreVcpu = self.machine.add_vcpu()
        for page in range(8):
            self.machine.ensure(self.vcpu, page * 4096, True)
        for vector in range(0x100, 0x1000, 0x20):
            self.put(vector, SC1)

    def on_io(self, _: CoreVcpu, kind: int, address: int, __: int, value: int) -> tuple[int, int]:
        self.io.append((kind, address, value))
        return 0, 0xFFFF_FFFF_8000_0001

    def put(self, gpa: int, *words: int) -> None:
        self.machine.write_resident(gpa, b"".join(struct.pack(">I", w) for w in words))

    def run(self, *words: int) -> int:
        """Run `words`; returns the PC of the `sc 1` that ended it."""
        self.put(0x2000, *words)
        self.vcpu.set("pc", 0x2000)
        self.vcpu.set("msr", 1 << 63 | 1 << 12)
        x = self.vcpu.run(self.vcpu.cycles + 10_000 * CYC)
        assert x.kind == ExitKind.HCALL, x
        return x.pc - 4


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_time_base_follows_cycles(rig: Rig) -> None:
    rig.vcpu.add_cycles(2_000_000 * CYC)  # 1 ms at 2 GHz
    rig.run(MFTB, mfspr(269, 4), mfspr(309, 5), mfspr(308, 6), mfspr(849, 7), SC1)
    assert rig.vcpu.get("r3") == 512_000
    assert rig.vcpu.get("r4") == 0
    assert all(512_000 <= rig.vcpu.get(f"r{r}") < 512_010 for r in (5, 6, 7))


def test_skipped_instructions_count_once(rig: Rig) -> None:
    before = rig.vcpu.insns, rig.vcpu.cycles
    rig.run(0x60000000, MFTB, 0x60000000, MFTB, MFTB, SC1)
    trapped = rig.vcpu.insns - before[0], rig.vcpu.cycles - before[1]
    rig = Rig()
    before = rig.vcpu.insns, rig.vcpu.cycles
    rig.run(0x60000000, mfspr(272), 0x60000000, mfspr(272), mfspr(272), SC1)  # SPRG0: same class, not trapped
    assert trapped == (rig.vcpu.insns - before[0], rig.vcpu.cycles - before[1]) == (6, trapped[1])


def test_decrementer_is_the_boards(rig: Rig) -> None:
    rig.vcpu.set("r3", 77)
    rig.run(MTDEC, MFDEC, SC1)
    assert rig.io == [(5, 22, 77), (4, 22, 0)]
    assert rig.vcpu.get("r3") == 0xFFFF_FFFF_8000_0001


def test_no_randomness(rig: Rig) -> None:
    rig.run(DARN, SC1)
    assert rig.vcpu.get("r3") == (1 << 64) - 1


@pytest.mark.parametrize("number", [284, 285, 286, 310])
def test_hypervisor_timers_are_illegal(rig: Rig, number: int) -> None:
    for word in (mtspr(number), mfspr(number)):
        assert rig.run(0x60000000, word) == 0x700
        assert rig.vcpu.get("srr0") == 0x2004
        assert rig.vcpu.get("srr1") & 0x80000


def test_wait_with_interrupts_off_goes_on(rig: Rig) -> None:
    assert rig.run(WAIT, SC1) == 0x2004


def test_tlb_instructions_run(rig: Rig) -> None:
    assert rig.run(TLBIE, TLBIE ^ 64, MTPIDR, SC1) == 0x200C


@pytest.mark.parametrize(
    ("word", "vector", "srr1"),
    [(TRAP, 0x700, 0x20000), (0, 0x700, 0x80000), (0x44000002, 0xC00, 0), (0x7C00060C, 0x700, 0x80000),
     (0x4C000364, 0x700, 0x80000), (0xC0230000, 0x800, 0)],
)  # fmt: skip
def test_interrupt_vectors(rig: Rig, word: int, vector: int, srr1: int) -> None:
    assert rig.run(0x60000000, word) == vector
    assert rig.vcpu.get("srr0") == (0x2008 if vector == 0xC00 else 0x2004)
    assert rig.vcpu.get("srr1") == 1 << 63 | 1 << 12 | srr1


def test_misaligned_reservation(rig: Rig) -> None:
    rig.vcpu.set("r4", 0x3001)
    assert rig.run(0x7C6020A8) == 0x600  # ldarx r3,0,r4
    assert rig.vcpu.get("dar") == 0x3001


def test_a_vector_that_cannot_run_is_fatal(rig: Rig) -> None:
    rig.put(0x700, 0)
    rig.put(0x2000, 0)
    rig.vcpu.set("pc", 0x2000)
    x = rig.vcpu.run(10_000 * CYC)
    assert x.kind == ExitKind.FATAL
    assert "0x700" in x.why


def test_interrupts(rig: Rig) -> None:
    rig.put(0x2000, 0x48000000)
    rig.vcpu.set("pc", 0x2000)
    rig.vcpu.set("msr", 1 << 63 | 1 << 12 | EE)
    for line, vector in ((1, 0x900), (0, 0x500), (2, 0xA00)):
        rig.vcpu.set_irq(line, True)
        x = rig.vcpu.run(rig.vcpu.cycles + 1000 * CYC)
        assert (x.kind, x.pc) == (ExitKind.HCALL, vector + 4)
        assert rig.vcpu.get("msr") == 1 << 63 | 1 << 12
        rig.vcpu.set_irq(line, False)
        rig.vcpu.set("msr", rig.vcpu.get("srr1"))
        rig.vcpu.set("pc", rig.vcpu.get("srr0"))
    rig.vcpu.set("msr", 1 << 63)
    rig.vcpu.set_irq(3, True)  # system reset needs no EE
    assert rig.vcpu.run(rig.vcpu.cycles + 1000 * CYC).pc == 0x104
    assert rig.vcpu.irq_lines == 0


def test_machine_check(rig: Rig) -> None:
    rig.vcpu.set("pc", 0x2000)
    rig.vcpu.memory_error(0x12345, 0x12345, 0)
    assert rig.vcpu.run(10_000 * CYC).pc == 0x204
    assert (rig.vcpu.get("dar"), rig.vcpu.get("dsisr")) == (0x12345, 0x8000)
    assert rig.vcpu.get("msr") == 1 << 63
    rig.vcpu.memory_error(0x12345, 0x12345, 0)
    x = rig.vcpu.run(20_000 * CYC)
    assert x.kind == ExitKind.FATAL
    assert "checkstop" in x.why


def test_patterns_name_what_they_trap() -> None:
    for word in (MFTB, MFDEC, MTDEC, mfspr(309), mfspr(849), DARN, WAIT, TLBIE, TLBIE ^ 64, mtspr(48), mtspr(29)):
        assert is_sensitive(word), hex(word)
    for word in (0x60000000, mfspr(272), mfspr(8), mtspr(26), SC1, TRAP, mfspr(48), 0x4E800020):
        assert not is_sensitive(word), hex(word)
    assert len({p.name for p in PATTERNS}) == len(PATTERNS)
