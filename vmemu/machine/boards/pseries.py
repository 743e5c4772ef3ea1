# SPDX-License-Identifier: GPL-2.0-or-later
"""The pseries board: a big-endian PAPR partition with radix translation, XICS, virtual terminal, RTAS and VPAs.

Hypercalls: `hcalls` maps tokens to handlers; protocols add theirs. Unknown tokens get H_FUNCTION (LoPAR 2.9 5.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vmemu.devices import cas, hvc, papr, rtas
from vmemu.devices.cas import Cas
from vmemu.devices.decrementer import Decrementer
from vmemu.devices.hvc import Hvc
from vmemu.devices.page_usage import CHANGE, PageUsage
from vmemu.devices.papr import H_FUNCTION, H_P2, H_P3, H_P4, H_PARAMETER, H_PRIVILEGE, H_SUCCESS, H_UNSUPPORTED_FLAG, Refused
from vmemu.devices.rtas import Rtas
from vmemu.devices.vio import VioSignals
from vmemu.devices.vpa import Vpa
from vmemu.devices.xics import IPI, Xics
from vmemu.errors import ConfigError
from vmemu.isa.ppc64.registers import LPCR
from vmemu.machine.board import Board, Outcome, SystemRegister
from vmemu.machine.boards.bugs import KVM_SC1
from vmemu.machine.fdt import Node, cells, cells64, flatten

if TYPE_CHECKING:
    from vmemu.core import CoreVcpu
    from vmemu.machine.machine import Machine

#: Vectors (0 to 0x5000) and firmware; the guest's kernel leaves them alone.
LOW_RESERVED = 0x9000
RTAS_BASE, RTAS_ENTRY, RTAS_SIZE = 0x8000, 0x8100, 0x1000
TIMEBASE_HZ = 512_000_000
SPR_DEC = 22
MSR_RESET = 1 << 63 | 1 << 12  # SF, ME: real mode
MSR_EE, MSR_PR = 1 << 15, 1 << 14
PROGRAM, SRR1_PRIVILEGED = 0x700, 0x40000
EXTERNAL_LINE, DECREMENTER_LINE = 0, 1  # enum irq_ppc64

H_SET_SPRG0, H_PAGE_INIT, H_GET_TERM_CHAR, H_PUT_TERM_CHAR = 0x24, 0x2C, 0x54, 0x58
H_EOI, H_CPPR, H_IPI, H_IPOLL, H_XIRR = 0x64, 0x68, 0x6C, 0x70, 0x74
H_REGISTER_VPA, H_CEDE, H_CONFER, H_PROD, H_VIO_SIGNAL = 0xDC, 0xE0, 0xE4, 0xE8, 0x104
H_RANDOM, H_SET_MODE, H_REGISTER_PROC_TBL = 0x300, 0x31C, 0x37C
H_RTAS, H_CAS, H_VMEMU_EXIT = 0xF000, 0xF002, 0xF0FF  # the platform's own range
#: Sets of hypercalls that every partition has, as /rtas names them (LoPAR 2.9, "ibm,hypertas-functions").
HYPERTAS = ("hcall-term", "hcall-interrupt", "hcall-splpar", "hcall-vio")

#: H_SET_MODE resources
MODE_TRANSLATION, MODE_ENDIAN = 3, 4
#: H_PAGE_INIT flags
ZERO_PAGE, COPY_PAGE = 0x8000, 0x4000
#: H_REGISTER_PROC_TBL flags
TABLE_MODIFY, TABLE_REGISTER, TABLE_RADIX, TABLE_GTSE = 0x10, 0x08, 0x04, 0x01


class Processors:
    """The machine's vCPUs, as RTAS starts and stops them."""

    def __init__(self, machine: Machine) -> None:
        self._vcpus, self._set_online = machine.vcpus, machine.set_online

    def running(self, cpu: int) -> bool | None:
        return self._vcpus[cpu].online if 0 <= cpu < len(self._vcpus) else None

    def start(self, caller: int, cpu: int, entry: int, argument: int) -> None:
        """LoPAR 2.9, start-cpu: as the boot CPU entered, r3 = argument; what is the partition's is as the caller sees it."""
        vcpu = self._vcpus[cpu]
        vcpu.reset()
        for shared in ("lpcr", "prtbl"):
            vcpu.set(shared, self._vcpus[caller].get(shared))
        vcpu.set("msr", MSR_RESET)
        vcpu.set("pc", entry)
        vcpu.set("r3", argument)
        self._set_online(cpu, True)

    def stop(self, cpu: int) -> None:
        self._set_online(cpu, False)


class Pseries(Board):
    """One machine's pseries board."""

    name = "pseries"
    isa = "ppc64"
    interrupts = "2 for an IPI, or a source of the XICS, which knows its CPU: with a level when it has one"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self.cpus = len(machine.vcpus)
        memory = (machine.is_ram, machine.read_guest, machine.write_guest)
        self.vpa = Vpa(self.cpus, *memory)
        self.xics = Xics(self.cpus, lambda cpu, level: self._set_line(cpu, EXTERNAL_LINE, level))
        self.decrementer = Decrementer(
            self.cpus, self._ticks, lambda cpu, level: self._set_line(cpu, DECREMENTER_LINE, level), machine.deadline_changed
        )
        self.hvc = Hvc(machine.console.put, machine.console.get)
        self.rtas = Rtas(
            machine.now, machine.console.put, machine.power_off, self.xics, *memory, processors=Processors(machine)
        )
        self.random = papr.RandomNumbers()
        self.cas = Cas(*memory)
        self.vio = VioSignals()
        self.page_usage = PageUsage()
        #: Sets of hypercalls that the device tree names; protocols add theirs.
        self.hypertas = list(HYPERTAS)
        self.offer_cmo(True)
        self.devices = {
            "xics": self.xics, "decrementer": self.decrementer, "vpa": self.vpa, "hvc": self.hvc, "rtas": self.rtas,
            "random": self.random, "cas": self.cas, "vio": self.vio, "page_usage": self.page_usage,
        }  # fmt: skip
        self.registers[SPR_DEC] = SystemRegister("DEC", self._read_dec, self._write_dec)
        self._add_hcalls()

    @classmethod
    def memory_regions(cls, size: int) -> list[tuple[int, int]]:
        return [(0, size)]

    # ------------------------------------------------------------------- wiring
    def _ticks(self, cpu: int) -> int:
        """The CPU's time base, exactly as the C unit answers mftb."""
        return self.ticks(self.machine.vcpus[cpu].cycles)

    def ticks(self, cycles: int) -> int:
        """Time (CYC units) in ticks of the time base."""
        return cycles * TIMEBASE_HZ // (self.cpu_hz * 64)

    def _set_line(self, cpu: int, line: int, level: bool) -> None:
        """Whoever has ceded has its interrupts on: any line wakes it."""
        if level:
            self.vpa.dispatched(cpu)
        self.machine.set_irq(cpu, line, level)

    def _read_dec(self, vcpu: CoreVcpu) -> int:
        return self.decrementer.read_dec(vcpu.id)

    def _write_dec(self, vcpu: CoreVcpu, value: int) -> None:
        self.decrementer.write_dec(vcpu.id, value)

    def offer_cmo(self, on: bool) -> None:
        """Whether the partition may negotiate cooperative memory over-commitment. Before the device tree is built."""
        self.cas.offer(cas.CMO, on)
        self.hypertas = [name for name in self.hypertas if name != "hcall-cmo"] + ["hcall-cmo"] * on

    def reset_vcpu(self, vcpu: CoreVcpu, entry: int, dtb: int, kernel_entry: int) -> None:
        vcpu.set("msr", MSR_RESET)
        vcpu.set("pc", entry)
        vcpu.set("r3", dtb)
        vcpu.set("r4", kernel_entry)

    def interrupt(self, cpu: int, number: int, level: bool | None) -> None:
        source = self.xics.sources.get(number)
        if number == IPI and level is not False:
            self.xics.ipi(cpu, 0)  # the most urgent one
        elif source is None or (source.level != (level is not None)):
            known = " ".join(f"{n:#x}{' (level)' if s.level else ''}" for n, s in sorted(self.xics.sources.items()))
            raise ConfigError(f"interrupt {number:#x}: {self.interrupts}; sources: {known or 'none'}")
        elif level is None:
            self.xics.pulse(number)
        else:
            self.xics.set_level(number, level)

    def on_irq_window(self, vcpu: CoreVcpu) -> None:
        """Never: a Power core enters its vector by itself."""

    # --------------------------------------------------------------- hypercalls
    def on_hcall(self, vcpu: CoreVcpu, number: int) -> Outcome:
        """`sc 1`: token in r3, arguments from r4, status back in r3."""
        if vcpu.get("msr") & MSR_PR:
            return self._from_problem_state(vcpu)
        handler = self.hcalls.get(vcpu.get("r3"))
        if handler is None:
            vcpu.set("r3", H_FUNCTION)
            return Outcome.HANDLED
        return handler(vcpu)

    def _from_problem_state(self, vcpu: CoreVcpu) -> Outcome:
        """LoPAR 2.9 5.3, R1-11: the caller is told. KVM has radix guests take a program interrupt instead."""
        if self.machine.has_bug(KVM_SC1.id):
            vcpu.set("pc", vcpu.get("pc") - 4)
            vcpu.inject_exception(PROGRAM, aux=SRR1_PRIVILEGED)
        else:
            vcpu.set("r3", H_PRIVILEGE)
        return Outcome.HANDLED

    def _add_hcalls(self) -> None:
        """Calls of the form (r4, r5, ...) -> results in r4, r5, ...; Refused is the status."""
        vcpus = self.machine.vcpus
        simple: dict[int, tuple[int, Callable[..., tuple[int, ...] | None]]] = {
            H_SET_SPRG0: (1, lambda cpu, value: vcpus[cpu].set("sprg0", value)),
            H_PAGE_INIT: (3, lambda cpu, *args: self._page_init(*args)),
            H_PUT_TERM_CHAR: (4, lambda cpu, *args: self.hvc.put(*args)),
            H_GET_TERM_CHAR: (1, lambda cpu, unit: self.hvc.get(unit)),
            H_XIRR: (0, lambda cpu: (self.xics.xirr(cpu),)),
            H_CPPR: (1, lambda cpu, cppr: self.xics.set_cppr(cpu, cppr)),
            H_EOI: (1, lambda cpu, xirr: self.xics.eoi(cpu, xirr)),
            H_IPI: (2, lambda cpu, server, mfrr: self.xics.ipi(server, mfrr)),
            H_IPOLL: (1, lambda cpu, server: self.xics.poll(server)),
            H_REGISTER_VPA: (3, lambda cpu, *args: self.vpa.register(*args)),
            H_CONFER: (2, lambda cpu, *args: None),
            H_PROD: (1, lambda cpu, target: self._prod(target)),
            H_VIO_SIGNAL: (2, lambda cpu, unit, mode: self.vio.signal(unit, mode)),
            H_RANDOM: (0, lambda cpu: (self.random.next(),)),
            H_SET_MODE: (4, lambda cpu, *args: self._set_mode(*args)),
            H_REGISTER_PROC_TBL: (4, lambda cpu, *args: self._process_table(*args)),
            H_RTAS: (1, lambda cpu, buffer: self.rtas.call(buffer, cpu)),
            H_CAS: (3, lambda cpu, *args: self.cas.call(*args)),
            H_VMEMU_EXIT: (1, lambda cpu, status: self.machine.power_off(status & 0xFF)),
        }
        for token, (count, call) in simple.items():
            self.add_hcall(token, count, call)
        self.hcalls[H_CEDE] = self._cede

    def add_hcall(self, token: int, count: int, call: Callable[..., tuple[int, ...] | None]) -> None:
        """A hypercall as a function: call(cpu, r4, r5, ...) of `count` arguments gives r4, r5, ...; Refused is the status."""
        arguments = tuple(f"r{4 + i}" for i in range(count))

        def handler(vcpu: CoreVcpu) -> Outcome:
            try:
                results = call(vcpu.id, *map(vcpu.get, arguments))
            except Refused as refused:
                vcpu.set("r3", refused.code)
                return Outcome.HANDLED
            vcpu.set("r3", H_SUCCESS)
            for i, value in enumerate(results or ()):
                vcpu.set(f"r{4 + i}", value)
            return Outcome.HANDLED

        self.hcalls[token] = handler

    def _cede(self, vcpu: CoreVcpu) -> Outcome:
        """H_CEDE: interrupts on, wait for one or for a prod (LoPAR 11.3.3)."""
        vcpu.set("msr", vcpu.get("msr") | MSR_EE)
        vcpu.set("r3", H_SUCCESS)
        if not self.vpa.cede(vcpu.id):
            return Outcome.HANDLED
        if vcpu.irq_lines:
            self.vpa.dispatched(vcpu.id)
            return Outcome.HANDLED
        return Outcome.HALT

    def _prod(self, target: int) -> None:
        if self.vpa.prod(target):
            self.vpa.dispatched(target)
            self.machine.wake(target)

    def _page_init(self, flags: int, target: int, source: int) -> None:
        machine = self.machine
        if target % 4096 or not machine.is_ram(target, 4096) or (flags & CHANGE and not self.cas.has(cas.CMO)):
            raise Refused(H_PARAMETER)
        if flags & COPY_PAGE:
            if source % 4096 or not machine.is_ram(source, 4096):
                raise Refused(H_PARAMETER)
            machine.write_guest(target, machine.read_guest(source, 4096))
        elif flags & ZERO_PAGE:
            machine.write_guest(target, bytes(4096))
        self.page_usage.set(target // 4096, flags)

    def _set_mode(self, flags: int, resource: int, value1: int, value2: int) -> None:
        if resource not in (MODE_TRANSLATION, MODE_ENDIAN):
            raise Refused(H_P2)
        if value1:
            raise Refused(H_P3)
        if value2:
            raise Refused(H_P4)
        if flags not in ((0, 3) if resource == MODE_TRANSLATION else (0, 1)):
            raise Refused(H_UNSUPPORTED_FLAG)
        field = "AIL" if resource == MODE_TRANSLATION else "ILE"
        for vcpu in self.machine.vcpus:
            vcpu.set("lpcr", LPCR.set(vcpu.get("lpcr"), **{field: flags}))

    def _process_table(self, flags: int, base: int, page_size: int, size: int) -> None:
        """Radix only. A base outside memory is accepted: it is the guest's own translation that then fails."""
        if flags & ~(TABLE_MODIFY | TABLE_REGISTER | TABLE_RADIX | TABLE_GTSE):
            raise Refused(H_PARAMETER)
        if flags & TABLE_MODIFY and not flags & TABLE_REGISTER:
            self._set_table(papr.MASK64)
            return
        if flags & TABLE_MODIFY:
            if not flags & TABLE_RADIX:
                raise Refused(H_PARAMETER)
            if base % 4096 or base >> 60:
                raise Refused(H_P2)
            if page_size:
                raise Refused(H_P3)
            if size > 24:
                raise Refused(H_P4)
            self._set_table(base | size)

    def _set_table(self, prtbl: int) -> None:
        for vcpu in self.machine.vcpus:
            vcpu.set("prtbl", prtbl)

    # -------------------------------------------------------------- device tree
    def build_fdt(self, bootargs: str, initrd: tuple[int, int] | None, memory: int) -> bytes:
        root = Node().set("compatible", "vmemu,pseries").set("model", "vmemu pseries").set("device_type", "chrp")
        root.set("#address-cells", 2).set("#size-cells", 2)
        chosen = root.add("chosen").set("bootargs", bootargs).set("stdout-path", f"/vdevice/vty@{hvc.UNIT:x}")
        if initrd is not None:
            chosen.set("linux,initrd-start", cells64(initrd[0])).set("linux,initrd-end", cells64(initrd[1]))
        root.add("memory@0").set("device_type", "memory").set("reg", cells64(0, memory))
        reserved = root.add("reserved-memory").set("#address-cells", 2).set("#size-cells", 2).set("ranges")
        reserved.add("low@0").set("reg", cells64(0, LOW_RESERVED))
        self._cpu_nodes(root)
        services = root.add("rtas").set("rtas-size", RTAS_SIZE).set("linux,rtas-base", RTAS_BASE)
        services.set("linux,rtas-entry", RTAS_ENTRY)
        services.set("ibm,hypertas-functions", self.hypertas)
        for name, token in rtas.TOKENS.items():
            services.set(name, token)
        devices = root.add("vdevice").set("device_type", "vdevice").set("compatible", "IBM,vdevice")
        devices.set("#address-cells", 1).set("#size-cells", 0)
        vty = devices.add(f"vty@{hvc.UNIT:x}").set("device_type", "serial").set("compatible", "hvterm1")
        vty.set("reg", hvc.UNIT)
        xics = root.add("interrupt-controller").set("compatible", "IBM,ppc-xicp")
        xics.set("device_type", "PowerPC-External-Interrupt-Presentation")
        xics.set("interrupt-controller").set("#interrupt-cells", 2)
        xics.set("ibm,interrupt-server-ranges", cells(0, self.cpus)).set("phandle", 1)
        self.describe_facilities(root)
        return flatten(root)

    def _cpu_nodes(self, root: Node) -> None:
        cpus = root.add("cpus").set("#address-cells", 1).set("#size-cells", 0)
        for cpu in range(self.cpus):
            node = cpus.add(f"PowerPC,POWER10@{cpu}").set("device_type", "cpu").set("reg", cpu)
            node.set("cpu-version", 0x00800100)
            node.set("clock-frequency", self.cpu_hz).set("timebase-frequency", TIMEBASE_HZ)
            node.set("ibm,ppc-interrupt-server#s", cells(cpu))
            node.set("d-cache-line-size", 128).set("i-cache-line-size", 128)
            # 4K, 64K, 2M, 1G: encoding in the top three bits, shift in the rest
            node.set("ibm,processor-radix-AP-encodings", cells(0x0000000C, 0xA0000010, 0x20000015, 0x4000001E))
