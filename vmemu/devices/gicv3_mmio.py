# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory-mapped side of gicv3.py: distributor (IHI 0069 12.9) and redistributors (12.10, 12.11)."""

from __future__ import annotations

from vmemu.devices.base import Quiet, State
from vmemu.devices.gicv3 import INTERRUPTS, PRIORITY_MASK, Gicv3

IIDR = 0x0000043B  # Arm
PIDR2, PIDR2_GICV3 = 0xFFE8, 0x3B
DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE = 0x10000, 0x20000

GICD_CTLR, GICD_TYPER, GICD_IIDR = 0x0, 0x4, 0x8
CTLR_FIXED = 0x50  # DS and ARE: one security state, affinity routing always on
GICR_CTLR, GICR_IIDR, GICR_TYPER, GICR_WAKER = 0x0, 0x4, 0x8, 0x14
SGI = 0x10000  # second page of a redistributor
IGROUPR0, ISENABLER0, ICENABLER0, ISPENDR0, ICPENDR0 = SGI + 0x80, SGI + 0x100, SGI + 0x180, SGI + 0x200, SGI + 0x280
ISACTIVER0, ICACTIVER0, IPRIORITYR, ICFGR0, ICFGR1 = SGI + 0x300, SGI + 0x380, SGI + 0x400, SGI + 0xC00, SGI + 0xC04


class _Window(Quiet):
    """A part of the GIC on the bus; the state is Gicv3's."""

    def __init__(self, gic: Gicv3) -> None:
        self.gic = gic

    def reset(self) -> None:
        return None

    def save(self) -> State:
        return {"version": 1}

    def load(self, state: State) -> None:
        return None


class Distributor(_Window):
    """No SPIs: the control register and identification."""

    def read(self, offset: int, size: int) -> int:
        if offset == GICD_CTLR:
            return self.gic.distributor_ctlr | CTLR_FIXED
        if offset == GICD_TYPER:
            return 15 << 19  # 16 bits of interrupt id; ITLinesNumber = 0: no SPIs
        if offset == GICD_IIDR:
            return IIDR
        return PIDR2_GICV3 if offset == PIDR2 else 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == GICD_CTLR:
            self.gic.distributor_ctlr = value & 3
            for cpu in range(len(self.gic.cpus)):
                self.gic.update(cpu)


class Redistributors(_Window):
    """All CPUs' redistributors, one after the other, 128 KiB each."""

    def read(self, offset: int, size: int) -> int:
        cpu, at = divmod(offset, REDISTRIBUTOR_SIZE)
        if cpu >= len(self.gic.cpus):
            return 0
        if IPRIORITYR <= at < IPRIORITYR + INTERRUPTS:
            bytes_ = self.gic.cpus[cpu].priority[at - IPRIORITYR : at - IPRIORITYR + size]
            return int.from_bytes(bytes(bytes_), "little")
        value = self._register(cpu, at & ~7 if at in (GICR_TYPER, GICR_TYPER + 4) else at)
        return value >> 32 if at == GICR_TYPER + 4 else value & (1 << 8 * size) - 1

    def _register(self, cpu: int, at: int) -> int:
        state = self.gic.cpus[cpu]
        match at:
            case 0x4:  # GICR_IIDR
                return IIDR
            case 0x8:  # GICR_TYPER: affinity, processor number, Last
                affinity = (cpu >> 4) << 8 | cpu & 15
                return affinity << 32 | cpu << 8 | (16 if cpu == len(self.gic.cpus) - 1 else 0)
            case 0x14:  # GICR_WAKER: ProcessorSleep, ChildrenAsleep
                return 0 if state.awake else 6
            case 0xFFE8:
                return PIDR2_GICV3
        if at == IGROUPR0:
            return state.group1
        if at in (ISENABLER0, ICENABLER0):
            return state.enabled
        if at in (ISPENDR0, ICPENDR0):
            return state.pending()
        if at in (ISACTIVER0, ICACTIVER0):
            return state.active
        if at in (ICFGR0, ICFGR1):
            low = 0 if at == ICFGR0 else 16
            return sum(2 << 2 * i for i in range(16) if state.edge >> low + i & 1)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        cpu, at = divmod(offset, REDISTRIBUTOR_SIZE)
        if cpu >= len(self.gic.cpus):
            return
        state = self.gic.cpus[cpu]
        value &= (1 << 8 * size) - 1
        if IPRIORITYR <= at < IPRIORITYR + INTERRUPTS:
            for i, byte in enumerate(value.to_bytes(size, "little")):
                if at - IPRIORITYR + i < INTERRUPTS:
                    state.priority[at - IPRIORITYR + i] = byte & PRIORITY_MASK
        elif size == 4:
            self._write_word(cpu, at, value)
        self.gic.update(cpu)

    def _write_word(self, cpu: int, at: int, value: int) -> None:
        state = self.gic.cpus[cpu]
        if at == GICR_WAKER:
            state.awake = not value & 2
        elif at == IGROUPR0:
            state.group1 = value
        elif at == ISENABLER0:
            state.enabled |= value
        elif at == ICENABLER0:
            state.enabled &= ~value
        elif at == ISPENDR0:
            state.latch |= value
        elif at == ICPENDR0:
            state.latch &= ~value
        elif at == ISACTIVER0:
            state.active |= value
        elif at == ICACTIVER0:
            state.active &= ~value
        elif at == ICFGR1:
            edge = sum(1 << 16 + i for i in range(16) if value >> 2 * i + 1 & 1)
            state.edge = state.edge & 0xFFFF | edge
