# SPDX-License-Identifier: GPL-2.0-or-later
"""The pc board: x86-64 CPUs, COM1, local APICs, debug exit, fw_cfg; CPUID and MSRs as open registries.

Memory map: RAM from 0 to 3 GiB, the rest from 4 GiB; firmware at 0x8000; local APIC at 0xfee00000.
Ports: COM1 0x3f8, debug exit 0xf4, fw_cfg 0x510.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.devices.base import State
from vmemu.devices.com1 import Com1
from vmemu.devices.debug_exit import DebugExit
from vmemu.devices.fw_cfg import MAX_CPUS, MAX_RAM, NB_CPUS, SIGNATURE, FwCfg
from vmemu.errors import ConfigError
from vmemu.machine import multiboot
from vmemu.machine.board import Board, Outcome, RegisterFault, SystemRegister
from vmemu.machine.boards.pc_apic import GLOBAL_ENABLE, LAPIC_BASE, Apics
from vmemu.machine.boards.pc_cpuid import CPUID_LEAVES
from vmemu.machine.elf import ElfImage
from vmemu.machine.fdt import Node, cells64, flatten

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

LOW_RAM = 3 << 30  # device windows are below 4 GiB
HIGH_RAM = 4 << 30
COM1_PORT, DEBUG_EXIT_PORT, FW_CFG_PORT = 0x3F8, 0xF4, 0x510

CPUID_APIC = 1 << 9  # leaf 1 EDX follows IA32_APIC_BASE (SDM 3, 10.4.3)
MISC_ENABLE, MC0_CTL = 0x1A0, 0x400

#: A leaf of CPUID: (vcpu, subleaf) -> EAX, EBX, ECX, EDX.
CpuidLeaf = Callable[["CoreVcpu", int], tuple[int, int, int, int]]


class Pc(Board):
    name = "pc"
    isa = "x86_64"
    interrupts = "a vector from 16 to 255 for the local APIC, or 2 for an NMI; they are edges"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        #: leaf -> function; protocols add theirs (0x40000000 ...) and take them out again
        self.cpuid_leaves: dict[int, CpuidLeaf] = dict(CPUID_LEAVES)
        self.cpus = len(machine.vcpus)
        self.stored = {MISC_ENABLE: [1] * self.cpus, MC0_CTL: [0] * self.cpus}
        self.apics = Apics(machine)
        self.com1 = Com1(machine.console.put, machine.console.get)
        self.fw_cfg = FwCfg({SIGNATURE: b"QEMU", NB_CPUS: bytes([self.cpus, 0]), MAX_CPUS: bytes([self.cpus, 0]), MAX_RAM: bytes(8)})
        exit_port = DebugExit(machine.power_off)
        self.mmio.add(LAPIC_BASE, 0x1000, self.apics.window(), "lapic")
        self.ports.add(COM1_PORT, 8, self.com1, "com1")
        self.ports.add(DEBUG_EXIT_PORT, 4, exit_port, "debug-exit")
        self.ports.add(FW_CFG_PORT, 2, self.fw_cfg, "fw_cfg")
        self.devices = {"com1": self.com1, "debug_exit": exit_port, "fw_cfg": self.fw_cfg, "lapic": self.apics}
        self._add_registers()

    # ------------------------------------------------------------- registers
    def _add_registers(self) -> None:
        def constant(name: str, value: int) -> SystemRegister:
            return SystemRegister(name, lambda _vcpu: value, lambda _vcpu, _value: None)

        self.apics.add_registers(self)
        # what kernels probe without asking CPUID first (SDM 4, table 2-2); the machine check bank is in the C unit
        for msr, name, value in (
            (0x179, "IA32_MCG_CAP", 1), (0x8B, "IA32_BIOS_SIGN_ID", 0),
            (0x3A, "IA32_FEATURE_CONTROL", 1), (0xFE, "IA32_MTRRCAP", 0),
        ):  # fmt: skip
            self.registers[msr] = constant(name, value)
        for msr, name in ((MISC_ENABLE, "IA32_MISC_ENABLE"), (MC0_CTL, "IA32_MC0_CTL")):
            self.registers[msr] = SystemRegister(
                name,
                lambda vcpu, msr=msr: self.stored[msr][vcpu.id],  # type: ignore[misc]
                lambda vcpu, value, msr=msr: self._store(vcpu, msr, value),  # type: ignore[misc]
            )

    def _store(self, vcpu: CoreVcpu, msr: int, value: int) -> None:
        if msr == MC0_CTL and value not in (0, (1 << 64) - 1):  # all or nothing (SDM 3, 15.3.2.1)
            raise RegisterFault("IA32_MC0_CTL")
        self.stored[msr][vcpu.id] = value

    def cpuid(self, vcpu: CoreVcpu, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        found = self.cpuid_leaves.get(leaf)
        a, b, c, d = (0, 0, 0, 0) if found is None else found(vcpu, subleaf)
        if leaf == 1 and not self.apics.bases[vcpu.id] & GLOBAL_ENABLE:
            d &= ~CPUID_APIC
        return a, b, c, d

    # ------------------------------------------------------------------ boot
    @classmethod
    def memory_regions(cls, size: int) -> list[tuple[int, int]]:
        if size <= LOW_RAM:
            return [(0, size)]
        return [(0, LOW_RAM), (HIGH_RAM, size - LOW_RAM)]

    def build_fdt(self, bootargs: str, initrd: tuple[int, int] | None, memory: int) -> bytes:
        root = Node()
        root.set("#address-cells", 2).set("#size-cells", 2).set("compatible", "vmemu,pc").set("model", "vmemu pc")
        regions = self.memory_regions(memory)
        reg = b"".join(cells64(*region) for region in regions)
        root.add("memory@0").set("device_type", "memory").set("reg", reg)
        chosen = root.add("chosen").set("bootargs", bootargs).set("stdout-path", "/serial@3f8")
        if initrd is not None:
            chosen.set("linux,initrd-start", cells64(initrd[0])).set("linux,initrd-end", cells64(initrd[1]))
        cpus = root.add("cpus").set("#address-cells", 1).set("#size-cells", 0)
        for cpu in range(self.cpus):
            cpus.add(f"cpu@{cpu}").set("device_type", "cpu").set("reg", cpu).set("clock-frequency", self.cpu_hz)
        root.add("serial@3f8").set("compatible", "ns16550a").set("reg", cells64(COM1_PORT, 8))
        chip = root.add("interrupt-controller@fee00000").set("compatible", "intel,ce4100-lapic")
        chip.set("reg", cells64(LAPIC_BASE, 0x1000))
        self.describe_facilities(root)
        return flatten(root, [(0x8000, 0x8000)])

    def reset_vcpu(self, vcpu: CoreVcpu, entry: int, dtb: int, kernel_entry: int) -> None:
        """32-bit protected mode, flat (the C unit's reset state): EDI = device tree, ESI = kernel entry."""
        vcpu.set("rip", entry)
        vcpu.set("rdi", dtb)
        vcpu.set("rsi", kernel_entry)

    def reset_bare(self, vcpu: CoreVcpu, image: ElfImage, dtb: int, bootargs: str) -> None:
        """With a multiboot header: as that specification says. Any other image: as firmware starts, in 32-bit mode."""
        if multiboot.has_header(image.raw):
            multiboot.start(self.machine, vcpu, image, bootargs)
        else:
            self.reset_vcpu(vcpu, image.entry_paddr, dtb, image.entry_paddr)

    def save(self) -> State:
        return super().save() | {"stored": {str(msr): list(values) for msr, values in self.stored.items()}}

    def load(self, state: State) -> None:
        super().load(state)
        self.stored = {int(msr): list(values) for msr, values in state["stored"].items()}

    # ----------------------------------------------------------------- exits
    def interrupt(self, cpu: int, number: int, level: bool | None) -> None:
        if level is not None or not (number == 2 or 16 <= number < 256):
            raise ConfigError(f"interrupt {number}: {self.interrupts}")
        self.apics.interrupt(cpu, number)

    def on_irq_window(self, vcpu: CoreVcpu) -> None:
        vcpu.inject_irq(self.apics.lapics[vcpu.id].acknowledge())

    def on_hcall(self, vcpu: CoreVcpu, number: int) -> Outcome:
        hcall = self.hcalls.get(number)
        if hcall is not None:
            return hcall(vcpu)
        vcpu.set("rax", -1000)  # KVM_ENOSYS: what Linux expects of a call that does not exist
        return Outcome.HANDLED
