# SPDX-License-Identifier: GPL-2.0-or-later
"""What a board is: memory map, devices, and the registries that protocols fill from above.

A board answers the vCPUs' synchronous accesses (device memory, ports, system registers) and their hypercalls. It knows no
protocol by name: a protocol adds entries to `registers`, `hcalls`, `pastes` or `cpuid` and gives them back when it leaves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from vmemu.devices.base import Device, State
from vmemu.errors import ConfigError

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.elf import ElfImage
    from vmemu.machine.fdt import Node
    from vmemu.machine.machine import Machine


class Outcome(Enum):
    """What an exit handler answers, never None."""

    HANDLED = "handled"  # go on after the instruction
    RETRY = "retry"  # run the same instruction again
    HALT = "halt"  # the vCPU waits for an interrupt
    STOP = "stop"  # end the run


class RegisterFault(Exception):
    """A register access that the architecture answers with #GP, UNDEF or a program interrupt."""


#: read(vcpu) -> value and write(vcpu, value); either may raise RegisterFault.
ReadRegister = Callable[["CoreVcpu"], int]
WriteRegister = Callable[["CoreVcpu", int], None]
#: hypercall(vcpu) -> Outcome; arguments and results are in the vCPU's registers.
Hypercall = Callable[["CoreVcpu"], Outcome]


#: paste(vcpu, real address, the 128 bytes) -> were they taken?
Paste = Callable[["CoreVcpu", int, bytes], bool]


@dataclass(frozen=True, slots=True)
class SystemRegister:
    """An MSR, arm64 system register or SPR that the host serves."""

    name: str
    read: ReadRegister
    write: WriteRegister


@dataclass(frozen=True, slots=True)
class Window:
    """A device's place on a bus: bytes [base, base + size)."""

    base: int
    size: int
    device: Device
    name: str


class Bus:
    """Address -> device. Overlaps are refused when the board is built."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.windows: list[Window] = []

    def add(self, base: int, size: int, device: Device, name: str) -> None:
        for w in self.windows:
            if base < w.base + w.size and w.base < base + size:
                raise ConfigError(f"{self.name} bus: {name} at {base:#x} overlaps {w.name} at {w.base:#x}")
        self.windows.append(Window(base, size, device, name))

    def find(self, address: int) -> Window | None:
        for w in self.windows:
            if w.base <= address < w.base + w.size:
                return w
        return None

    def read(self, address: int, size: int, default: int) -> int:
        """Value at address; `default` where nobody answers."""
        w = self.find(address)
        return default if w is None else w.device.read(address - w.base, size) & ((1 << 8 * size) - 1)

    def write(self, address: int, size: int, value: int) -> None:
        w = self.find(address)
        if w is not None:
            w.device.write(address - w.base, size, value)


class Board(ABC):
    """A machine's wiring. One per Machine; devices are made in __init__, wired to `machine`."""

    name: str
    isa: str
    cpu_hz = 2_000_000_000  # nominal; cycle figures are approximate (cycles.md 7)

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.mmio = Bus("memory")
        self.ports = Bus("port")
        self.registers: dict[int, SystemRegister] = {}
        self.hcalls: dict[int, Hypercall] = {}
        self.pastes: list[tuple[int, int, Paste]] = []
        self.devices: dict[str, Device] = {}

    @classmethod
    @abstractmethod
    def memory_regions(cls, size: int) -> list[tuple[int, int]]:
        """(gpa, bytes) of each RAM region for a machine of `size` bytes; the first is main memory."""

    @abstractmethod
    def build_fdt(self, bootargs: str, initrd: tuple[int, int] | None, memory: int) -> bytes:
        """The flattened device tree handed to the guest."""

    def describe_facilities(self, root: Node) -> None:
        """What floors above have to say in the device tree; a board calls this when its own nodes are there."""
        for facility in self.machine.facilities.values():
            facility.describe(root)

    @abstractmethod
    def reset_vcpu(self, vcpu: CoreVcpu, entry: int, dtb: int, kernel_entry: int) -> None:
        """Registers of the boot vCPU at reset: PC at the firmware's entry, arguments as the boot protocol says."""

    def reset_bare(self, vcpu: CoreVcpu, image: ElfImage, dtb: int, bootargs: str) -> None:
        """Start an image that brings no vmemu note: no firmware, PC at its entry, the device tree in the first argument."""
        self.reset_vcpu(vcpu, image.entry_paddr, dtb, 0)

    def cpuid(self, vcpu: CoreVcpu, leaf: int, subleaf: int) -> tuple[int, int, int, int]:
        """EAX, EBX, ECX, EDX of a CPUID leaf; only x86 boards have any."""
        raise RegisterFault(f"cpuid {leaf:#x}")

    @abstractmethod
    def on_irq_window(self, vcpu: CoreVcpu) -> None:
        """The vCPU can take the interrupt whose line is high (x86: acknowledge the controller, inject the vector)."""

    #: What the numbers of `interrupt` are, for people.
    interrupts = "this board has no interrupt controller"

    def interrupt(self, cpu: int, number: int, level: bool | None) -> None:
        """An interrupt from outside arrives at a vCPU: an edge (level None), or a line's level. Raises ConfigError for one there is not."""
        raise ConfigError(f"interrupt {number}: {self.interrupts}")

    @abstractmethod
    def on_hcall(self, vcpu: CoreVcpu, number: int) -> Outcome:
        """A hypercall instruction; the engine has moved PC past it."""

    def default_register(self, vcpu: CoreVcpu, number: int, write: bool, value: int) -> int:
        """A register nobody registered. Raises RegisterFault where the architecture would fault."""
        raise RegisterFault(f"register {number:#x}")

    def read_register(self, vcpu: CoreVcpu, number: int) -> int:
        entry = self.registers.get(number)
        return self.default_register(vcpu, number, False, 0) if entry is None else entry.read(vcpu)

    def write_register(self, vcpu: CoreVcpu, number: int, value: int) -> None:
        entry = self.registers.get(number)
        if entry is None:
            self.default_register(vcpu, number, True, value)
        else:
            entry.write(vcpu, value)

    def add_paste(self, base: int, size: int, handler: Paste) -> None:
        """Let an accelerator take what is pasted to real addresses [base, base + size)."""
        for other, length, _ in self.pastes:
            if base < other + length and other < base + size:
                raise ConfigError(f"paste addresses {base:#x}+{size:#x} overlap {other:#x}+{length:#x}")
        self.pastes.append((base, size, handler))

    def paste(self, vcpu: CoreVcpu, address: int, block: bytes) -> bool:
        """A `paste.`; False where nobody listens."""
        for base, size, handler in self.pastes:
            if base <= address < base + size:
                return handler(vcpu, address, block)
        return False

    def save(self) -> State:
        return {name: device.save() for name, device in sorted(self.devices.items())}

    def load(self, state: State) -> None:
        for name, device in sorted(self.devices.items()):
            device.load(state[name])

    def describe(self) -> dict[str, Any]:
        """What is where, for people."""
        return {w.name: f"{w.base:#x}+{w.size:#x}" for w in (*self.mmio.windows, *self.ports.windows)}
