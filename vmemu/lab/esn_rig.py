# SPDX-License-Identifier: GPL-2.0-or-later
"""A pseries partition without a guest, for tests and the explorer: real instructions on real vCPUs, one at a time, and page-ins that
end when the caller says so.

Memory is mapped as it is (one leaf of 1 GiB). Every vector is a branch to itself, so that a CPU which has taken an interrupt stands
in its vector with SRR0, SRR1, DAR and DSISR as they were left. A page-in takes 10 s, so that none ends by itself; where a CPU
waits for one, all that were under way before end too.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from vmemu.clock.choices import Choices
from vmemu.core import CoreVcpu, PageState, lib
from vmemu.devices.cas import CMO
from vmemu.machine.boot import BootOptions, build
from vmemu.machine.machine import Machine
from vmemu.protocols.async_page.mishaps import IO_DONE
from vmemu.protocols.esn_pseries.pager import Esn
from vmemu.protocols.esn_pseries.wire import SOURCE

BRANCH_SELF, NOP, SC1 = 0x48000000, 0x60000000, 0x44000022
LBZ, STB, LD, LWZU, LMW = 0x88A60000, 0x98A60000, 0xE8A60000, 0x84A60008, 0xBB860000  # of r5 (or r28 on), at 0(r6)
LDARX, DCBZ = 0x7CA030A8, 0x7C0037EC  # at r6
CODE, KCODE, VPAS, TABLES = 0x10000, 0x11000, 0x20000, 0x40000
SNS = 0x5000
USER_MSR, KERNEL_MSR, REAL_MSR = 0x8000_0000_0000_F032, 0x8000_0000_0000_1032, 1 << 63 | 1 << 12
H_REGISTER_VPA, H_CEDE, H_PROD, H_VIO_SIGNAL, H_REGISTER_PROC_TBL, H_PAGE_INIT = 0xDC, 0xE0, 0xE8, 0x104, 0x37C, 0x2C
H_XIRR, H_EOI, H_CPPR = 0x74, 0x64, 0x68


def s64(value: int) -> int:
    return value - (value >> 63 << 64)


@dataclass(frozen=True)
class Taken:
    """An interrupt that a CPU took; None as `vector` means that the instruction completed."""

    vector: int | None
    srr0: int = 0
    srr1: int = 0
    dar: int = 0
    dsisr: int = 0

    @property
    def expropriated(self) -> bool:
        return self.vector is not None and bool(self.srr1 & 0x20000)


class Partition:
    """4 MiB; all CPUs get VPAs by `begin`, the caller registers the SNS area."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        pager = machine.pager
        assert isinstance(pager, Esn)
        self.esn = pager
        self.board = pager.board
        self.pulses = 0  # of the subvention interrupt, once `count_pulses` was called

    @classmethod
    def make(cls, profile: str = "papr", smp: int = 1, choices: Choices | None = None, **options: Any) -> Self:
        """A machine of its own, with its code in memory and nothing done yet."""
        fields: dict[str, Any] = {"image": "", "memory": "4M", "latency": "10000000us", "apf": profile, "smp": smp, **options}
        machine = build(BootOptions(**fields), "ppc64", Choices() if choices is None else choices)
        write = machine.write_guest
        write(0, struct.pack(">I", BRANCH_SELF) * 0x500)
        for code in (CODE, KCODE):
            write(code, struct.pack(">I", NOP) * 0x400)
        for first, last in ((0, 0x1400), (CODE, CODE + 0x1000), (KCODE, KCODE + 0x1000)):
            if fields.get("bolt") != "none":
                machine.memory.pin(first, last)
        write(TABLES, struct.pack(">QQ", 2 << 61 | (TABLES + 0x1000) | 1 << 5 | 9, 0))
        write(TABLES + 0x1000, struct.pack(">Q", 1 << 63 | (TABLES + 0x2000) | 9))
        write(TABLES + 0x2000, struct.pack(">Q", 3 << 62 | 7))
        made = cls(machine)
        made.board.cas.agreed = bytes([0, 0, 0, CMO[1], 0, 0, 0, 0])
        return made

    @classmethod
    def begun(cls, *args: Any, **options: Any) -> Self:
        """The same, with VPAs, and with interrupts counted."""
        made = cls.make(*args, **options)
        made.count_pulses()
        made.begin()
        return made

    def begin(self) -> None:
        """What a kernel does first."""
        assert self.hcall(0, H_REGISTER_PROC_TBL, 0x1D, TABLES, 0, 0)[0] == 0
        for cpu in range(len(self.machine.vcpus)):
            self.register_vpa(cpu)

    def count_pulses(self) -> None:
        pulse = self.board.xics.pulse

        def counted(number: int) -> None:
            self.pulses += number == SOURCE
            pulse(number)

        self.board.xics.pulse = counted  # type: ignore[method-assign]

    # ------------------------------------------------------------------- the CPUs
    def cpu(self, number: int) -> CoreVcpu:
        return self.machine.vcpus[number]

    def store(self, at: int, data: bytes) -> None:
        """The partition itself writes: observers of the host are told nothing."""
        done = self.machine.core.write_resident(at, data)
        if done < len(data):
            self.machine.write_guest(at + done, data[done:])

    def step(self, cpu: int) -> None:
        """One instruction of one CPU, or the entry of an interrupt and the first instruction of its vector."""
        for vcpu in self.machine.vcpus:
            vcpu.online = vcpu.id == cpu
        end = self.machine.step(1, cpu)
        assert end is None, end
        self.machine._turn_open = None  # the next step is another CPU's

    def hcall(self, cpu: int, token: int, *args: int) -> tuple[int, int, int]:
        """`sc 1` in real mode: r3 (signed), r4, r5."""
        vcpu = self.cpu(cpu)
        self.store(KCODE, struct.pack(">II", SC1, BRANCH_SELF))
        vcpu.set("msr", REAL_MSR)
        vcpu.set("pc", KCODE)
        vcpu.set("r3", token)
        for i, value in enumerate(args):
            vcpu.set(f"r{4 + i}", value & (1 << 64) - 1)
        self.step(cpu)
        return s64(vcpu.get("r3")), vcpu.get("r4"), vcpu.get("r5")

    def touch(self, cpu: int, address: int, insn: int = LBZ, *, msr: int = USER_MSR, pc: int = CODE) -> Taken:
        """One instruction at `pc`, with r6 = address, r5 = 0x55 and r28 to r31 = 0x77."""
        vcpu = self.cpu(cpu)
        self.store(CODE, struct.pack(">I", insn))
        for name, value in (("r5", 0x55), ("r6", address), ("r28", 0x77), ("r29", 0x77), ("r30", 0x77), ("r31", 0x77)):
            vcpu.set(name, value)
        vcpu.set("msr", msr)
        vcpu.set("pc", pc)
        return self.again(cpu, pc)

    def again(self, cpu: int, pc: int) -> Taken:
        """Run on from where the CPU stands; `pc` is the instruction there."""
        vcpu = self.cpu(cpu)
        self.step(cpu)
        at = vcpu.get("pc")
        if at >= 0x1000:
            return Taken(None)
        return Taken(at & ~0xFF if at & 0xFF < 0x80 else at, *(vcpu.get(n) for n in ("srr0", "srr1", "dar", "dsisr")))

    def retry(self, cpu: int) -> Taken:
        """rfid: back to the instruction that was interrupted."""
        vcpu = self.cpu(cpu)
        pc = vcpu.get("srr0")
        vcpu.set("msr", vcpu.get("srr1") & ~0x783F0000)
        vcpu.set("pc", pc)
        return self.again(cpu, pc)

    # -------------------------------------------------------------------- pages
    def index(self, address: int) -> int:
        return self.machine.core.index(address)

    def expropriate(self, address: int, data: bytes = b"page") -> None:
        """Take a page away; it holds `data` at its start."""
        page = address & ~0xFFF
        self.store(page, data)
        self.take(page)

    def take(self, address: int) -> None:
        assert lib.s2_swap_out(self.machine.core.ptr, self.index(address)) == 0
        assert not self.resident(address)

    def resident(self, address: int) -> bool:
        return int(self.machine.core.page(self.index(address)).state) == PageState.RESIDENT

    def away(self) -> list[int]:
        """Pages (addresses) whose page-in is under way."""
        return [self.machine.core.gpa(i) for i in self.esn.io]

    def restore(self, address: int) -> None:
        """The page-in of this page ends, now."""
        event = self.machine.queue.find(IO_DONE, self.index(address))
        assert event is not None
        self.machine.queue.cancel(event)
        self.esn.mishaps.io_done(self.machine.now(), self.index(address))

    # ------------------------------------------------------------------ structures
    def word(self, address: int, size: int) -> int:
        return int.from_bytes(self.machine.read_guest(address, size), "big")

    def vpa(self, cpu: int) -> int:
        return VPAS + 0x1000 * cpu

    def register_vpa(self, cpu: int) -> None:
        """And let expropriations come."""
        self.store(self.vpa(cpu) + 4, (640).to_bytes(2, "big"))
        assert self.hcall(cpu, H_REGISTER_VPA, 1 << 45, cpu, self.vpa(cpu))[0] == 0
        self.store(self.vpa(cpu) + 0xB9, b"\x02")

    def told(self, cpu: int) -> tuple[int, int]:
        """Flags and number that the CPU's VPA shows."""
        if self.esn.profile == "rfc":
            return 1, self.word(self.vpa(cpu) + 0x118, 2)
        return self.word(self.vpa(cpu) + 0x17D, 1), self.word(self.vpa(cpu) + 0x17E, 2)

    def register_sns(self, size: int = 0x1000, *, arm: bool = True) -> None:
        """H_REG_SNS at SNS, interrupt on and armed, source routed to CPU 0."""
        self.store(SNS, bytes(0x1000))
        status, unit, source = self.hcall(0, self.esn.rules.token, SNS, size)
        assert (status, source) == (0, SOURCE)
        if self.esn.profile == "papr":
            assert self.hcall(0, H_VIO_SIGNAL, unit, 1)[0] == 0
        assert self.board.xics.set_xive(SOURCE, 0, 5)
        if arm:
            self.arm()

    def arm(self) -> None:
        at = self.machine.read_guest(SNS, 1)[0]
        self.store(SNS, bytes([1 if self.esn.profile == "rfc" else at ^ 0x80]))

    def ring(self) -> list[int]:
        """Numbers that the ring shows, from its start up to the first free entry."""
        area = self.esn.sns.area
        assert area is not None
        return self.ring_at(area.base, area.entries)

    def ring_at(self, base: int, entries: int = 2047) -> list[int]:
        numbers = list(struct.unpack(f">{entries}H", self.machine.read_guest(base + 2, 2 * entries)))
        return numbers[: numbers.index(0)] if 0 in numbers else numbers


#: Makes partitions, as the fixture `make` does.
Maker = Callable[..., Partition]
#: A page to take away.
PAGE = 0x30000


def fault_and_back(p: Partition, page: int = PAGE, cpu: int = 0) -> None:
    """A page goes, is touched, and comes back."""
    p.expropriate(page)
    assert p.touch(cpu, page).expropriated
    p.restore(page)
