# SPDX-License-Identifier: GPL-2.0-or-later
"""The virt board: arm64 with PL011, GICv3, generic timer and PSCI, at the addresses of QEMU's machine of that name.

Firmware calls: `hcalls` maps SMCCC function ids to handlers; protocols add theirs. Unknown ids get NOT_SUPPORTED
(DEN 0028 5.2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.devices import generic_timer, psci, smccc
from vmemu.devices.exit_device import ExitDevice
from vmemu.devices.generic_timer import GenericTimer
from vmemu.devices.gicv3 import Gicv3, NoRegister
from vmemu.devices.gicv3_mmio import DISTRIBUTOR_SIZE, REDISTRIBUTOR_SIZE, Distributor, Redistributors
from vmemu.devices.pl011 import Pl011
from vmemu.devices.psci import Psci
from vmemu.errors import ConfigError
from vmemu.isa.arm64 import sensitive as reg
from vmemu.machine.board import Board, Outcome, RegisterFault, SystemRegister
from vmemu.machine.fdt import Node, cells, cells64, flatten

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

FIRMWARE_SIZE = 0x10000
GICD, GICR = 0x08000000, 0x080A0000
UART, EXIT = 0x09000000, 0x090F0000
RAM = 0x40000000

#: Interrupt ids of the timers (DDI 0487 D11.2.4, BSA): PPIs
VIRTUAL_TIMER, PHYSICAL_TIMER = 27, 30
IRQ_LINE = 0  # enum irq_arm64
PSTATE_RESET = 0x3C5  # EL1h, everything masked

PSCI_CALLS = (
    psci.PSCI_VERSION, psci.CPU_OFF, psci.MIGRATE_INFO_TYPE, psci.SYSTEM_OFF, psci.SYSTEM_RESET, psci.PSCI_FEATURES,
    psci.CPU_SUSPEND, psci.CPU_ON, psci.AFFINITY_INFO,
    psci.CPU_SUSPEND | smccc.SMC64, psci.CPU_ON | smccc.SMC64, psci.AFFINITY_INFO | smccc.SMC64,
    smccc.SMCCC_VERSION, smccc.SMCCC_ARCH_FEATURES,
)  # fmt: skip


class Virt(Board):
    """One machine's virt board."""

    name = "virt"
    isa = "arm64"
    interrupts = "0 to 15 for an SGI, 16 to 31 for a PPI, whose line has a level: without one it goes up and down again"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.cpus = len(machine.vcpus)
        self.gic = Gicv3(self.cpus, lambda cpu, level: machine.set_irq(cpu, IRQ_LINE, level))
        self.timer = GenericTimer(self.cpus, machine.now, self._timer_line, machine.deadline_changed)
        self.uart = Pl011(machine.console.put, machine.console.get)
        self.psci = Psci(
            self.cpus, machine.power_off, self._start_cpu, self._known,
            lambda cpu: machine.set_online(cpu, False),
        )  # fmt: skip
        exit_device = ExitDevice(machine.power_off)
        self.devices = {"gic": self.gic, "timer": self.timer, "uart": self.uart, "psci": self.psci, "exit": exit_device}
        self.mmio.add(GICD, DISTRIBUTOR_SIZE, Distributor(self.gic), "gic distributor")
        self.mmio.add(GICR, REDISTRIBUTOR_SIZE * self.cpus, Redistributors(self.gic), "gic redistributors")
        self.mmio.add(UART, 0x1000, self.uart, "uart")
        self.mmio.add(EXIT, 0x1000, exit_device, "exit")
        #: Functions of the vendor-specific hypervisor service; protocols add theirs.
        self.vendor = smccc.VendorService()
        self._add_registers()
        for function in PSCI_CALLS:
            self.hcalls[function] = self._psci

    @classmethod
    def memory_regions(cls, size: int) -> list[tuple[int, int]]:
        return [(RAM, size), (0, FIRMWARE_SIZE)]

    # ------------------------------------------------------------------- wiring
    def _timer_line(self, cpu: int, virtual: bool, level: bool) -> None:
        self.gic.set_ppi(cpu, VIRTUAL_TIMER if virtual else PHYSICAL_TIMER, level)

    def _add_registers(self) -> None:
        for first, virtual in ((reg.CNTP_TVAL_EL0, False), (reg.CNTV_TVAL_EL0, True)):
            for which in (generic_timer.TVAL, generic_timer.CTL, generic_timer.CVAL):
                self._add_timer_register(first + which, virtual, which)

    def _add_timer_register(self, number: int, virtual: bool, which: int) -> None:
        def read(vcpu: CoreVcpu) -> int:
            return self.timer.read_register(vcpu.id, virtual, which)

        def write(vcpu: CoreVcpu, value: int) -> None:
            self.timer.write_register(vcpu.id, virtual, which, value)

        name = f"CNT{'V' if virtual else 'P'}_{('TVAL', 'CTL', 'CVAL')[which]}_EL0"
        self.registers[number] = SystemRegister(name, read, write)

    def default_register(self, vcpu: CoreVcpu, number: int, write: bool, value: int) -> int:
        """What is left is the GIC's CPU interface; registers that it does not have are UNDEFINED."""
        try:
            if write:
                self.gic.write_register(vcpu.id, number, value)
                return 0
            return self.gic.read_register(vcpu.id, number)
        except NoRegister:
            raise RegisterFault(f"system register {number:#x}") from None

    # -------------------------------------------------------------- start, calls
    def reset_vcpu(self, vcpu: CoreVcpu, entry: int, dtb: int, kernel_entry: int) -> None:
        vcpu.set("pstate", PSTATE_RESET)
        vcpu.set("pc", entry)
        vcpu.set("x0", dtb)
        vcpu.set("x1", kernel_entry)

    def _start_cpu(self, cpu: int, entry: int, context: int) -> None:
        """Entry state of CPU_ON (DEN 0022, 6.4): as after a reset, x0 = context."""
        vcpu = self.machine.vcpus[cpu]
        vcpu.reset()
        self.reset_vcpu(vcpu, entry, context, 0)
        self.machine.set_online(cpu, True)

    def interrupt(self, cpu: int, number: int, level: bool | None) -> None:
        if not 0 <= number < 32 or (number < 16 and level is not None):
            raise ConfigError(f"interrupt {number}: {self.interrupts}")
        if number < 16:
            self.gic.send_sgi(cpu, number << 24 | (cpu >> 4) << 16 | 1 << (cpu & 15))
            return
        self.gic.set_ppi(cpu, number, level is not False)
        if level is None:
            self.gic.set_ppi(cpu, number, False)

    def on_irq_window(self, vcpu: CoreVcpu) -> None:
        """Never: an arm64 core enters its vector by itself."""

    def _known(self, function: int) -> bool:
        return function in self.hcalls or self.vendor.known(function)

    def on_hcall(self, vcpu: CoreVcpu, number: int) -> Outcome:
        """HVC and SMC are one conduit; their immediate, in the upper half of `number`, must be zero (DEN 0028 2.9)."""
        function = vcpu.get("x0") & 0xFFFFFFFF
        handler = self.hcalls.get(function)
        if number >> 16:
            smccc.answer(vcpu, smccc.NOT_SUPPORTED)
        elif handler is not None:
            return handler(vcpu)
        elif self.vendor.call(vcpu):
            return Outcome.HALT
        return Outcome.HANDLED

    def _psci(self, vcpu: CoreVcpu) -> Outcome:
        return Outcome.HALT if self.psci.call(vcpu) else Outcome.HANDLED

    # -------------------------------------------------------------- device tree
    def build_fdt(self, bootargs: str, initrd: tuple[int, int] | None, memory: int) -> bytes:
        root = Node().set("compatible", "linux,dummy-virt").set("model", "vmemu virt")
        root.set("#address-cells", 2).set("#size-cells", 2).set("interrupt-parent", 1)
        chosen = root.add("chosen").set("bootargs", bootargs).set("stdout-path", f"/pl011@{UART:x}")
        if initrd is not None:
            chosen.set("linux,initrd-start", cells64(initrd[0])).set("linux,initrd-end", cells64(initrd[1]))
        root.add(f"memory@{RAM:x}").set("device_type", "memory").set("reg", cells64(RAM, memory))
        self._cpu_nodes(root)
        self._device_nodes(root)
        self.describe_facilities(root)
        return flatten(root)

    def _cpu_nodes(self, root: Node) -> None:
        cpus = root.add("cpus").set("#address-cells", 1).set("#size-cells", 0)
        for cpu in range(self.cpus):
            node = cpus.add(f"cpu@{cpu}").set("device_type", "cpu").set("compatible", "arm,cortex-a72").set("reg", cpu)
            node.set("enable-method", "psci").set("clock-frequency", self.cpu_hz)
        root.add("psci").set("compatible", ["arm,psci-1.0", "arm,psci-0.2"]).set("method", "hvc")
        timer = root.add("timer").set("compatible", ["arm,armv8-timer"]).set("always-on")
        timer.set("interrupts", b"".join(cells(1, ppi - 16, 4) for ppi in (29, PHYSICAL_TIMER, VIRTUAL_TIMER, 26)))

    def _device_nodes(self, root: Node) -> None:
        gic = (
            root.add(f"intc@{GICD:x}")
            .set("compatible", "arm,gic-v3")
            .set("#interrupt-cells", 3)
            .set("interrupt-controller")
        )
        gic.set("reg", cells64(GICD, DISTRIBUTOR_SIZE, GICR, REDISTRIBUTOR_SIZE * self.cpus)).set("phandle", 1)
        clock = (
            root.add("apb-pclk")
            .set("compatible", "fixed-clock")
            .set("#clock-cells", 0)
            .set("clock-frequency", 24_000_000)
        )
        clock.set("clock-output-names", "clk24mhz").set("phandle", 2)
        uart = (
            root.add(f"pl011@{UART:x}")
            .set("compatible", ["arm,pl011", "arm,primecell"])
            .set("reg", cells64(UART, 0x1000))
        )
        uart.set("clocks", cells(2, 2)).set("clock-names", ["uartclk", "apb_pclk"])
        root.add(f"exit@{EXIT:x}").set("compatible", "vmemu,exit").set("reg", cells64(EXIT, 0x1000))
