# SPDX-License-Identifier: GPL-2.0-or-later
"""GICv3 (Arm IHI 0069) with private interrupts only: SGIs 0-15 and PPIs 16-31 of each CPU, one security state, no SPIs.

This file holds the interrupt state and the CPU interface (ICC_* system registers); gicv3_mmio.py is the memory-mapped
side. Signals are group 1 on IRQ; group 0 is implemented as far as its registers, nothing is ever signalled as FIQ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vmemu.devices.base import Quiet, State, flat
from vmemu.isa.arm64 import sensitive as reg

INTERRUPTS = 32
SPURIOUS = 1023
PRIORITY_BITS = 5
PRIORITY_MASK = 0xFF << 8 - PRIORITY_BITS & 0xFF
IDLE_PRIORITY = 0xFF
MIN_BPR = 7 - PRIORITY_BITS  # of group 0; group 1 has one more (12.2.5)
EOI_MODE = 2
CTLR_FIXED = PRIORITY_BITS - 1 << 8  # PRIbits; 16-bit ids, no SEI, affinity 3 is zero

#: Sets the IRQ input of a CPU.
IrqOut = Callable[[int, bool], None]


class NoRegister(Exception):
    """The register does not exist or not in that direction: the access is UNDEFINED."""


@dataclass(slots=True)
class CpuState:
    """What one CPU's redistributor and CPU interface remember. Bit i of a mask belongs to interrupt i."""

    latch: int = 0  # edge interrupts that have arrived
    level: int = 0  # lines of level interrupts
    edge: int = 0xFFFF  # SGIs are edge-triggered, PPIs level until ICFGR1 says otherwise
    enabled: int = 0
    group1: int = 0
    active: int = 0
    priority: list[int] = field(default_factory=lambda: [0] * INTERRUPTS)
    running: list[int] = field(default_factory=list)  # group priorities of active interrupts, innermost last
    pmr: int = 0
    bpr0: int = MIN_BPR
    bpr1: int = MIN_BPR + 1
    ctlr: int = 0  # EOImode, CBPR
    group_enable: list[int] = field(default_factory=lambda: [0, 0])
    awake: bool = False
    out: bool = False  # level of the IRQ output

    def pending(self) -> int:
        return self.latch | self.level & ~self.edge


class Gicv3(Quiet):
    """The distributor's state, and the CPU interface of every CPU."""

    def __init__(self, cpus: int, irq_out: IrqOut) -> None:
        self._irq_out = irq_out
        self._count = cpus
        self.cpus: list[CpuState] = []
        self.distributor_ctlr = 0
        self.reset()

    def reset(self) -> None:
        self.cpus = [CpuState() for _ in range(self._count)]
        self.distributor_ctlr = 0

    # ------------------------------------------------------------------- inputs
    def set_ppi(self, cpu: int, interrupt: int, level: bool) -> None:
        """Level of a private peripheral interrupt's line (interrupt = 16..31)."""
        state, bit = self.cpus[cpu], 1 << interrupt
        if level and not state.level & bit and state.edge & bit:
            state.latch |= bit
        state.level = state.level | bit if level else state.level & ~bit
        self.update(cpu)

    def would_signal(self, cpu: int, interrupt: int) -> bool:
        """Were this level line high, it would be the interrupt that the CPU is signalled next."""
        state, bit = self.cpus[cpu], 1 << interrupt
        before, state.level = state.level, state.level | bit
        best = self._highest(state)
        state.level = before
        return best == interrupt

    def send_sgi(self, sender: int, value: int) -> None:
        """ICC_SGI1R_EL1 (12.2.15): targets are the CPUs of one cluster, or all others."""
        interrupt = value >> 24 & 15
        for cpu in range(self._count):
            if value >> 40 & 1:
                hit = cpu != sender
            else:
                hit = value >> 16 & 0xFF == cpu >> 4 and bool(value >> (cpu & 15) & 1)
            if hit:
                self.cpus[cpu].latch |= 1 << interrupt
                self.update(cpu)

    def update(self, cpu: int) -> None:
        """Recompute the IRQ output of a CPU."""
        state = self.cpus[cpu]
        level = self._highest(state) != SPURIOUS
        if level != state.out:
            state.out = level
            self._irq_out(cpu, level)

    # ------------------------------------------------------------- CPU interface
    @staticmethod
    def _group_priority(state: CpuState, priority: int) -> int:
        """The part of a priority that decides about preemption, by the binary point of group 1 (4.8.5)."""
        point = state.bpr0 + 1 if state.ctlr & 1 else state.bpr1
        return priority & 0xFF << point & 0xFF

    def _highest(self, state: CpuState) -> int:
        """The pending interrupt that would be signalled now, or SPURIOUS."""
        candidates = state.pending() & state.enabled & state.group1 & ~state.active
        if not candidates or not self.distributor_ctlr & 2 or not state.group_enable[1]:
            return SPURIOUS
        best = min((i for i in range(INTERRUPTS) if candidates >> i & 1), key=lambda i: (state.priority[i], i))
        priority = state.priority[best]
        if priority >= state.pmr:
            return SPURIOUS
        if state.running and self._group_priority(state, priority) >= state.running[-1]:
            return SPURIOUS
        return best

    def _acknowledge(self, cpu: int) -> int:
        state = self.cpus[cpu]
        interrupt = self._highest(state)
        if interrupt != SPURIOUS:
            state.active |= 1 << interrupt
            state.latch &= ~(1 << interrupt)
            state.running.append(self._group_priority(state, state.priority[interrupt]))
            self.update(cpu)
        return interrupt

    def _end(self, cpu: int, interrupt: int) -> None:
        state = self.cpus[cpu]
        if interrupt >= INTERRUPTS:
            return
        if state.running:
            state.running.pop()
        if not state.ctlr & EOI_MODE:
            state.active &= ~(1 << interrupt)
        self.update(cpu)

    def read_register(self, cpu: int, number: int) -> int:
        """ICC_* by number (vmemu.isa.arm64.sensitive). Raises NoRegister."""
        state = self.cpus[cpu]
        match number:
            case reg.ICC_IAR1_EL1:
                return self._acknowledge(cpu)
            case reg.ICC_HPPIR1_EL1:
                return self._highest(state)
            case reg.ICC_IAR0_EL1 | reg.ICC_HPPIR0_EL1:
                return SPURIOUS
            case reg.ICC_RPR_EL1:
                return state.running[-1] if state.running else IDLE_PRIORITY
            case reg.ICC_PMR_EL1:
                return state.pmr
            case reg.ICC_BPR0_EL1:
                return state.bpr0
            case reg.ICC_BPR1_EL1:
                return min(state.bpr0 + 1, 7) if state.ctlr & 1 else state.bpr1
            case reg.ICC_CTLR_EL1:
                return state.ctlr | CTLR_FIXED
            case reg.ICC_SRE_EL1:
                return 7  # system registers are the only interface
            case reg.ICC_IGRPEN0_EL1 | reg.ICC_IGRPEN1_EL1:
                return state.group_enable[number & 1]
            case reg.ICC_AP1R0_EL1:
                return sum({1 << (p >> 8 - PRIORITY_BITS) for p in state.running})
            case reg.ICC_AP0R0_EL1:
                return 0
        raise NoRegister(hex(number))

    def write_register(self, cpu: int, number: int, value: int) -> None:
        """ICC_* by number. Raises NoRegister."""
        state = self.cpus[cpu]
        match number:
            case reg.ICC_EOIR1_EL1:
                self._end(cpu, value & 0xFFFFFF)
            case reg.ICC_DIR_EL1:
                if value & 0xFFFFFF < INTERRUPTS:
                    state.active &= ~(1 << (value & 0xFFFFFF))
            case reg.ICC_SGI1R_EL1:
                self.send_sgi(cpu, value)
            case reg.ICC_PMR_EL1:
                state.pmr = value & PRIORITY_MASK
            case reg.ICC_BPR0_EL1:
                state.bpr0 = max(value & 7, MIN_BPR)
            case reg.ICC_BPR1_EL1:
                state.bpr1 = max(value & 7, MIN_BPR + 1)
            case reg.ICC_CTLR_EL1:
                state.ctlr = value & (EOI_MODE | 1)
            case reg.ICC_IGRPEN0_EL1 | reg.ICC_IGRPEN1_EL1:
                state.group_enable[number & 1] = value & 1
            case reg.ICC_AP1R0_EL1:
                state.running = sorted((i << 8 - PRIORITY_BITS for i in range(32) if value >> i & 1), reverse=True)
            case reg.ICC_SRE_EL1 | reg.ICC_EOIR0_EL1 | reg.ICC_AP0R0_EL1:
                return
            case _:
                raise NoRegister(hex(number))
        self.update(cpu)

    # ------------------------------------------------------------------- device
    def read(self, offset: int, size: int) -> int:
        return 0  # gicv3_mmio.py

    def write(self, offset: int, size: int, value: int) -> None:
        return None

    def save(self) -> State:
        return {"version": 1, "ctlr": self.distributor_ctlr, "cpus": [flat(cpu) for cpu in self.cpus]}

    def load(self, state: State) -> None:
        self.distributor_ctlr = state["ctlr"]
        lists = ("priority", "running", "group_enable")
        self.cpus = [CpuState(**{**cpu, **{name: list(cpu[name]) for name in lists}}) for cpu in state["cpus"]]
