# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3: signalling, acknowledge and end, priorities, SGIs, the memory-mapped side, save and load."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmemu.devices.gicv3 import SPURIOUS, Gicv3, NoRegister
from vmemu.devices.gicv3_mmio import (
    GICD_CTLR,
    GICR_TYPER,
    GICR_WAKER,
    ICENABLER0,
    IGROUPR0,
    IPRIORITYR,
    ISENABLER0,
    ISPENDR0,
    PIDR2,
    REDISTRIBUTOR_SIZE,
    Distributor,
    Redistributors,
)
from vmemu.isa.arm64 import sensitive as reg


class Rig:
    """A GIC with all that a kernel sets up; `out` is the IRQ level of each CPU."""

    def __init__(self, cpus: int = 1) -> None:
        self.out = [False] * cpus
        self.gic = Gicv3(cpus, self.out.__setitem__)
        self.distributor, self.redistributors = Distributor(self.gic), Redistributors(self.gic)
        self.distributor.write(GICD_CTLR, 4, 0x12)
        for cpu in range(cpus):
            base = cpu * REDISTRIBUTOR_SIZE
            self.redistributors.write(base + GICR_WAKER, 4, 0)
            self.redistributors.write(base + IGROUPR0, 4, 0xFFFFFFFF)
            self.redistributors.write(base + ISENABLER0, 4, 0xFFFFFFFF)
            for word in range(8):
                self.redistributors.write(base + IPRIORITYR + 4 * word, 4, 0xA0A0A0A0)
            self.gic.write_register(cpu, reg.ICC_PMR_EL1, 0xFF)
            self.gic.write_register(cpu, reg.ICC_IGRPEN1_EL1, 1)

    def ack(self, cpu: int = 0) -> int:
        return self.gic.read_register(cpu, reg.ICC_IAR1_EL1)

    def end(self, interrupt: int, cpu: int = 0) -> None:
        self.gic.write_register(cpu, reg.ICC_EOIR1_EL1, interrupt)


def test_a_level_interrupt_comes_again_until_its_line_falls() -> None:
    rig = Rig()
    rig.gic.set_ppi(0, 27, True)
    assert rig.out == [True]
    assert rig.ack() == 27
    assert rig.out == [False]  # active: not signalled again
    rig.end(27)
    assert rig.out == [True]
    assert rig.ack() == 27
    rig.gic.set_ppi(0, 27, False)
    rig.end(27)
    assert rig.out == [False]
    assert rig.ack() == SPURIOUS


def test_what_holds_a_signal_back() -> None:
    rig = Rig()
    rig.gic.set_ppi(0, 27, True)
    switches: tuple[tuple[Callable[[], None], Callable[[], None]], ...] = (
        (lambda: rig.distributor.write(GICD_CTLR, 4, 0), lambda: rig.distributor.write(GICD_CTLR, 4, 2)),
        (
            lambda: rig.redistributors.write(ICENABLER0, 4, 1 << 27),
            lambda: rig.redistributors.write(ISENABLER0, 4, 1 << 27),
        ),
        (
            lambda: rig.gic.write_register(0, reg.ICC_PMR_EL1, 0xA0),
            lambda: rig.gic.write_register(0, reg.ICC_PMR_EL1, 0xA8),
        ),
        (
            lambda: rig.gic.write_register(0, reg.ICC_IGRPEN1_EL1, 0),
            lambda: rig.gic.write_register(0, reg.ICC_IGRPEN1_EL1, 1),
        ),
        (lambda: rig.redistributors.write(IGROUPR0, 4, 0), lambda: rig.redistributors.write(IGROUPR0, 4, 1 << 27)),
    )
    for off, on in switches:
        off()
        assert rig.out == [False]
        on()
        assert rig.out == [True]


def test_a_higher_priority_preempts_and_ends_in_order() -> None:
    rig = Rig()
    rig.redistributors.write(IPRIORITYR + 30, 1, 0x40)
    rig.gic.set_ppi(0, 27, True)
    assert rig.ack() == 27
    assert rig.gic.read_register(0, reg.ICC_RPR_EL1) == 0xA0
    rig.gic.set_ppi(0, 30, True)
    assert rig.out == [True]
    assert rig.ack() == 30
    assert rig.gic.read_register(0, reg.ICC_RPR_EL1) == 0x40
    assert rig.gic.read_register(0, reg.ICC_AP1R0_EL1) == 1 << (0x40 >> 3) | 1 << (0xA0 >> 3)
    rig.gic.set_ppi(0, 30, False)
    rig.gic.set_ppi(0, 27, False)
    rig.end(30)
    rig.end(27)
    assert rig.gic.read_register(0, reg.ICC_RPR_EL1) == 0xFF


def test_split_end_and_deactivation() -> None:
    rig = Rig()
    rig.gic.write_register(0, reg.ICC_CTLR_EL1, 2)
    rig.gic.set_ppi(0, 27, True)
    assert rig.ack() == 27
    rig.end(27)
    assert rig.out == [False]  # priority dropped, still active
    rig.gic.write_register(0, reg.ICC_DIR_EL1, 27)
    assert rig.out == [True]


def test_software_interrupts_reach_their_targets() -> None:
    rig = Rig(4)
    rig.gic.write_register(1, reg.ICC_SGI1R_EL1, 5 << 24 | 0b1001)
    assert rig.out == [True, False, False, True]
    assert rig.ack(0) == 5
    rig.gic.write_register(1, reg.ICC_SGI1R_EL1, 1 << 40 | 7 << 24)
    assert rig.out == [False, False, True, True]  # CPU 0 is inside 5 at the same priority
    assert rig.ack(3) == 5
    rig.end(5, 3)
    assert rig.ack(3) == 7


def test_identification_and_unknown_registers() -> None:
    rig = Rig(2)
    assert rig.distributor.read(PIDR2, 4) == 0x3B
    assert rig.redistributors.read(PIDR2, 4) == 0x3B
    assert rig.redistributors.read(REDISTRIBUTOR_SIZE + GICR_TYPER, 8) == 1 << 32 | 1 << 8 | 16
    assert rig.redistributors.read(REDISTRIBUTOR_SIZE + GICR_TYPER + 4, 4) == 1
    assert rig.redistributors.read(3 * REDISTRIBUTOR_SIZE, 4) == 0
    assert rig.redistributors.read(IPRIORITYR + 31, 8) == 0xA0
    rig.redistributors.write(IPRIORITYR + 28, 8, 0)
    with pytest.raises(NoRegister):
        rig.gic.read_register(0, reg.ICC_EOIR1_EL1)
    with pytest.raises(NoRegister):
        rig.gic.write_register(0, reg.ICC_IAR1_EL1, 0)
    rig.end(0xFFFFFF)  # no such interrupt: ignored


def test_save_and_load() -> None:
    rig, other = Rig(2), Gicv3(2, lambda cpu, level: None)
    rig.redistributors.write(ISPENDR0, 4, 1 << 3)
    assert rig.ack() == 3
    rig.gic.set_ppi(1, 30, True)
    other.load(rig.gic.save())
    assert other.save() == rig.gic.save()
    rig.end(3)
    assert other.save() != rig.gic.save()  # nothing is shared
