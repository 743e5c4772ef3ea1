# SPDX-License-Identifier: GPL-2.0-or-later
"""The host half of KVM's asynchronous page faults without a guest: tests fault, take and acknowledge by hand."""

from __future__ import annotations

from typing import Any

from vmemu.core import CYC, CoreVcpu, Exit, ExitKind, PageState, lib
from vmemu.devices.lapic import EOI, SVR
from vmemu.machine.facility import Resolution
from vmemu.machine.machine import Machine
from vmemu.protocols.kvm_x86.abi import MSR_ACK, MSR_EN, MSR_INT
from vmemu.protocols.kvm_x86.host import KvmX86

AREA, PAGES, VECTOR = 0x30_0000, 0x40_0000, 0xF3
REPEATED = 2


class Rig:
    """One machine whose vCPUs stand in user mode, interrupts and paging on. Page n lies at PAGES + n * 4096, content n + 1."""

    def __init__(self, profile: str = "kvm", smp: int = 1, latency: str = "nvme", **options: Any) -> None:
        self.machine = Machine.boot(
            "hello", isa="x86_64", smp=smp, memory="16M", resident="8M", latency=latency, apf=profile, **options
        )
        pager = self.machine.pager
        assert isinstance(pager, KvmX86)
        self.pager = pager
        for vcpu in self.vcpus:
            self.set_mode(vcpu)
            self.lapic(vcpu).write(SVR, 4, 0x1FF)
            vcpu.set("cr0", vcpu.get("cr0") | 1 << 31 | 1)

    @property
    def vcpus(self) -> list[CoreVcpu]:
        return self.machine.vcpus

    def lapic(self, vcpu: CoreVcpu) -> Any:
        return self.pager.apics.lapics[vcpu.id]

    def set_mode(self, vcpu: CoreVcpu, user: bool = True, interrupts: bool = True) -> None:
        vcpu.set("cs", 0x33 if user else 0x10)
        vcpu.set("rflags", 0x202 if interrupts else 2)

    def wrmsr(self, vcpu: CoreVcpu, msr: int, value: int) -> None:
        self.machine.board.write_register(vcpu, msr, value)
        self.enter(vcpu)

    def enable(self, vcpu: CoreVcpu, flags: int = 9) -> None:
        """Vector first, then EN; the wake-all that follows is taken."""
        if not self.pager.legacy:
            self.wrmsr(vcpu, MSR_INT, VECTOR)
        self.wrmsr(vcpu, MSR_EN, self.area(vcpu) | flags)

    @staticmethod
    def area(vcpu: CoreVcpu) -> int:
        return AREA + 64 * vcpu.id

    def words(self, vcpu: CoreVcpu) -> tuple[int, int]:
        """Flags and token in the shared area."""
        data = self.machine.read_guest(self.area(vcpu), 8)
        return int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")

    def clear(self, vcpu: CoreVcpu, offset: int) -> None:
        self.machine.write_guest(self.area(vcpu) + offset, bytes(4))

    # ---------------------------------------------------------------- pages
    def swap_out(self, page: int) -> int:
        """The page's content goes to the store; its page index."""
        gpa = PAGES + 4096 * page
        index = self.machine.core.index(gpa)
        if self.machine.core.page(index).state != PageState.SWAPPED:
            self.machine.write_guest(gpa, (page + 1).to_bytes(4, "little") * 1024)
            self._evict(index)
        return index

    def _evict(self, index: int) -> None:
        core, memory = self.machine.core, self.machine.memory
        if memory.store is None:
            assert lib.s2_swap_out(core.ptr, index) == 0
            return
        slot = memory._take_slot(index)
        memory.store.put(slot, core.frame_bytes(index))
        core.evicted(None, index, slot)

    def is_away(self, page: int) -> bool:
        return bool(self.machine.core.page(self.machine.core.index(PAGES + 4096 * page)).state == PageState.SWAPPED)

    def fault(self, vcpu: CoreVcpu, page: int, nr: int = 0) -> Resolution:
        """The guest touches the page, as the C unit would report it."""
        gpa = PAGES + 4096 * page + 8
        self.catch_up(vcpu)
        if self.pager.gfns.get(self.pager.gfn_key(vcpu, gpa)) is not None:
            nr |= REPEATED
        resolution = self.pager.on_fault(vcpu, Exit(ExitKind.STAGE2, 0, nr, gpa, 0x7000_0000 + gpa, 0x40_0000, 0, vcpu.cycles, ""))
        if resolution is Resolution.HALT:
            vcpu.host_halt()
        self.pager.on_exit(vcpu)
        return resolution

    def take_exception(self, vcpu: CoreVcpu) -> tuple[int, int, int] | None:
        """What is about to be entered: vector, error code, address. It is entered, and nothing pends any more."""
        pend = vcpu.ptr.pend
        if not pend.kind:
            return None
        found = int(pend.vector), int(pend.error), int(pend.addr)
        pend.kind = 0
        return found

    # ----------------------------------------------------------------- time
    def catch_up(self, vcpu: CoreVcpu) -> None:
        behind = self.machine.time_units - vcpu.cycles
        if behind > 0:
            vcpu.add_cycles(behind)

    def advance(self, ns: int) -> None:
        """Time goes on, and what is due happens; vCPUs whose attention was asked for look."""
        self.machine.time_units += ns * 2 * CYC
        while (deadline := self.machine.queue.next_deadline()) is not None and deadline <= self.machine.now():
            self.machine.queue.run_due(self.machine.now())
        for vcpu in self.vcpus:
            self.enter(vcpu)

    def enter(self, vcpu: CoreVcpu) -> None:
        if vcpu.id in self.machine.requests:
            self.machine.requests.discard(vcpu.id)
            self.pager.on_exit(vcpu)

    # ---------------------------------------------------------------- guest
    def take_interrupt(self, vcpu: CoreVcpu, acknowledge: bool = True) -> int | None:
        """What a guest does about the page-ready vector: the token, or None when no such interrupt is there."""
        lapic = self.lapic(vcpu)
        if not vcpu.get("rflags") & 0x200 or lapic.pending() != VECTOR:
            return None
        assert lapic.acknowledge() == VECTOR
        lapic.write(EOI, 4, 0)
        token = self.words(vcpu)[1]
        if acknowledge:
            self.clear(vcpu, 4)
            self.wrmsr(vcpu, MSR_ACK, 1)
        return token

    def close(self) -> None:
        self.machine.close()
