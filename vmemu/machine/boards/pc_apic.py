# SPDX-License-Identifier: GPL-2.0-or-later
"""The local APICs of the pc board's CPUs: register windows, MSRs, messages between CPUs, INIT and startup (SDM 3, 8.4, 10.6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.devices.base import Quiet, State
from vmemu.devices.lapic import INIT, STARTUP, Lapic
from vmemu.machine.board import RegisterFault, SystemRegister

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.board import Board
    from vmemu.machine.machine import Machine

LAPIC_BASE = 0xFEE00000
TSC_PER_NS = 2  # 2 GHz
NMI_VECTOR = 2
IRQ_INTR, IRQ_NMI = 0, 1  # vCPU lines: core's enum irq_x86_64, by bit number

#: REG_READ and REG_WRITE addresses that are no MSR (core.h): CR8, the task priority.
CR8 = 1 << 32
#: CR0.PG is about to change; only told where a pager is (core.h, IO_X86_PAGING).
CR0_PAGING = CR8 + 1
APIC_BASE, TSC_DEADLINE = 0x1B, 0x6E0
X2APIC_FIRST = 0x800
BSP, EXTD, GLOBAL_ENABLE = 1 << 8, 1 << 10, 1 << 11  # IA32_APIC_BASE (SDM 3, 10.4.4)
MASK64 = (1 << 64) - 1

#: ICR (SDM 3, figure 10-12)
LEVEL_ASSERT, LOWEST_PRIORITY = 1 << 14, 1
SELF, EVERYONE = 1, (2, 3)

REAL_DATA, REAL_CODE = 0x9300, 0x9B00  # segment attributes after INIT: present, accessed, writable or readable (table 9-1)
CR0_INIT = 0x6000_0010
VERSION_EDX = 0xF61  # as CPUID leaf 1 EAX


class Window(Quiet):
    """The page at LAPIC_BASE: every CPU sees its own APIC there."""

    def __init__(self, lapics: list[Lapic], current: Callable[[], int]) -> None:
        self._lapics, self._current = lapics, current

    def reset(self) -> None:
        return None

    def read(self, offset: int, size: int) -> int:
        return self._lapics[self._current()].read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self._lapics[self._current()].write(offset, size, value)

    def save(self) -> State:
        return {"version": 1}

    def load(self, state: State) -> None:
        return None


class Apics(Quiet):
    """One Lapic to a vCPU, and what lies between them. CPU 0 is the bootstrap processor; the others wait for a startup message."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        #: Called with the CPU whose APIC was enabled, by SVR or IA32_APIC_BASE.
        self.on_enabled: Callable[[int], None] = lambda _cpu: None
        self._ready = False  # devices reset themselves while they are made
        self.lapics = [self._make(cpu) for cpu in range(len(machine.vcpus))]
        self._ready = True
        self.reset()

    def _make(self, cpu: int) -> Lapic:
        return Lapic(
            cpu, self._machine.now, lambda level: self._line(cpu, IRQ_INTR, level), nmi=lambda: self._line(cpu, IRQ_NMI, True),
            send=lambda icr, dest: self._send(cpu, icr, dest), changed=self._changed,
            enabled=lambda: self.on_enabled(cpu),
        )  # fmt: skip

    def reset(self) -> None:
        self.bases = [LAPIC_BASE | GLOBAL_ENABLE | (0 if cpu else BSP) for cpu in range(len(self.lapics))]
        self.waiting = [cpu != 0 for cpu in range(len(self.lapics))]

    def window(self) -> Window:
        return Window(self.lapics, lambda: self._machine.running_vcpu)

    def interrupt(self, cpu: int, vector: int) -> None:
        """A message from outside: a vector from 16 on, or 2 for an NMI."""
        if vector == NMI_VECTOR:
            self._line(cpu, IRQ_NMI, True)
        else:
            self.lapics[cpu].request(vector)

    def _line(self, cpu: int, line: int, level: bool) -> None:
        if self._ready:
            self._machine.set_irq(cpu, line, level)

    def _changed(self) -> None:
        if self._ready:
            self._machine.deadline_changed()

    # -------------------------------------------------------------- messages
    def _send(self, sender: int, icr: int, dest: int) -> None:
        """A message from the interrupt command register to other CPUs; the sender has taken its own copy."""
        shorthand, mode = icr >> 18 & 3, icr >> 8 & 7
        for cpu, lapic in enumerate(self.lapics):
            if cpu == sender or not (shorthand in EVERYONE or lapic.addressed(dest, bool(icr & 1 << 11))):
                continue
            if mode == INIT:
                if icr & LEVEL_ASSERT:  # the other form, deassert, was for APICs of another age
                    self._init(cpu)
            elif mode == STARTUP:
                self._start(cpu, icr & 0xFF)
            elif not self.waiting[cpu]:
                lapic.message(icr)
            if mode == LOWEST_PRIORITY:
                return

    def _init(self, cpu: int) -> None:
        """INIT: back to where a startup message starts it. APIC mode and id stay (SDM 3, 10.4.7.3, 10.12.5.1)."""
        lapic = self.lapics[cpu]
        x2apic, mapped = lapic.x2apic, lapic.mapped
        lapic.reset()
        lapic.x2apic, lapic.mapped = x2apic, mapped
        self.waiting[cpu] = True
        self._machine.set_online(cpu, False)

    def _start(self, cpu: int, vector: int) -> None:
        """STARTUP: run at vector * 4 KiB in real mode. Ignored by a CPU that does not wait for one."""
        if not self.waiting[cpu]:
            return
        self.waiting[cpu] = False
        enter_real_mode(self._machine.vcpus[cpu], vector)
        self._machine.set_online(cpu, True)

    # ------------------------------------------------------------- registers
    def add_registers(self, board: Board) -> None:
        """CR8, IA32_APIC_BASE, IA32_TSC_DEADLINE and the x2APIC MSRs."""
        lapics = self.lapics
        board.registers[CR8] = SystemRegister(
            "CR8", lambda vcpu: lapics[vcpu.id].tpr >> 4, lambda vcpu, value: lapics[vcpu.id].set_tpr(value << 4)
        )
        board.registers[CR0_PAGING] = SystemRegister("CR0.PG", lambda _vcpu: 0, lambda _vcpu, _value: None)
        board.registers[APIC_BASE] = SystemRegister("IA32_APIC_BASE", lambda vcpu: self.bases[vcpu.id], self._write_base)
        board.registers[TSC_DEADLINE] = SystemRegister("IA32_TSC_DEADLINE", self._read_tsc_deadline, self._write_tsc_deadline)
        for offset in range(0, 0x400, 0x10):
            board.registers[X2APIC_FIRST + (offset >> 4)] = SystemRegister(
                f"X2APIC_{offset:#x}",
                lambda vcpu, offset=offset: self._read_x2apic(vcpu, offset),  # type: ignore[misc]
                lambda vcpu, value, offset=offset: self._write_x2apic(vcpu, offset, value),  # type: ignore[misc]
            )

    def _write_base(self, vcpu: CoreVcpu, value: int) -> None:
        """Mode changes that SDM 3, 10.12.5 allows; the window does not move."""
        lapic = self.lapics[vcpu.id]
        wanted, mode = value & (EXTD | GLOBAL_ENABLE), self.bases[vcpu.id] & (EXTD | GLOBAL_ENABLE)
        bad = value & ~(0xFFFFFF000 | BSP | EXTD | GLOBAL_ENABLE) or value & 0xFFFFFF000 != LAPIC_BASE
        to_xapic = mode == EXTD | GLOBAL_ENABLE and wanted == GLOBAL_ENABLE
        to_x2apic = mode == 0 and wanted == EXTD | GLOBAL_ENABLE
        if bad or wanted == EXTD or to_xapic or to_x2apic:
            raise RegisterFault("IA32_APIC_BASE")
        switched_on = bool(wanted and not mode)
        self.bases[vcpu.id] = value
        if not wanted:
            lapic.reset()
        lapic.x2apic = bool(value & EXTD)
        lapic.mapped = wanted == GLOBAL_ENABLE
        if switched_on:
            self.on_enabled(vcpu.id)

    def _read_x2apic(self, vcpu: CoreVcpu, offset: int) -> int:
        value = self.lapics[vcpu.id].read_msr(offset)
        if value is None:
            raise RegisterFault(f"x2APIC register {offset:#x}")
        return value

    def _write_x2apic(self, vcpu: CoreVcpu, offset: int, value: int) -> None:
        if not self.lapics[vcpu.id].write_msr(offset, value):
            raise RegisterFault(f"x2APIC register {offset:#x}")

    def _read_tsc_deadline(self, vcpu: CoreVcpu) -> int:
        lapic = self.lapics[vcpu.id]
        deadline = lapic.next_deadline() if lapic.in_tsc_mode else None
        return 0 if deadline is None else deadline * TSC_PER_NS + vcpu.get("tsc_offset") & MASK64

    def _write_tsc_deadline(self, vcpu: CoreVcpu, value: int) -> None:
        lapic = self.lapics[vcpu.id]
        if not value:
            lapic.set_tsc_deadline(None)
            return
        ticks = value - vcpu.get("tsc_offset") & MASK64
        lapic.set_tsc_deadline(-(-ticks // TSC_PER_NS))

    # ---------------------------------------------------------------- device
    def read(self, offset: int, size: int) -> int:
        return 0  # window()

    def write(self, offset: int, size: int, value: int) -> None:
        return None

    def next_deadline(self) -> int | None:
        return min((d for lapic in self.lapics if (d := lapic.next_deadline()) is not None), default=None)

    def on_deadline(self, now: int) -> None:
        for lapic in self.lapics:
            lapic.on_deadline(now)

    def save(self) -> State:
        return {
            "version": 1, "lapics": [lapic.save() for lapic in self.lapics], "bases": list(self.bases), "waiting": list(self.waiting),
        }  # fmt: skip

    def load(self, state: State) -> None:
        for lapic, saved in zip(self.lapics, state["lapics"], strict=True):
            lapic.load(saved)
        self.bases, self.waiting = list(state["bases"]), list(state["waiting"])


def enter_real_mode(vcpu: CoreVcpu, vector: int) -> None:
    """Registers after INIT and STARTUP (SDM 3, table 9-1 and 8.4.4.2): CS base = vector * 4 KiB, IP 0."""
    vcpu.reset()
    for name in ("ds", "es", "fs", "gs", "ss", "cs"):
        is_code = name == "cs"
        vcpu.set(name, vector << 8 if is_code else 0)
        vcpu.set(f"{name}_base", vector << 12 if is_code else 0)
        vcpu.set(f"{name}_limit", 0xFFFF)
        vcpu.set(f"{name}_flags", REAL_CODE if is_code else REAL_DATA)
    for table in ("gdt", "idt"):
        vcpu.set(f"{table}_base", 0)
        vcpu.set(f"{table}_limit", 0xFFFF)
    vcpu.set("cr0", CR0_INIT)
    vcpu.set("rdx", VERSION_EDX)
    vcpu.set("rflags", 2)
    vcpu.set("rip", 0)
