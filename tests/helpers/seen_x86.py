# SPDX-License-Identifier: GPL-2.0-or-later
"""The rig of apf_x86.py with models watching: what the run loop would tell observers is told here."""

from __future__ import annotations

from typing import Any

from helpers.apf_x86 import PAGES, VECTOR, Rig

from vmemu.core import CoreVcpu, IoKind
from vmemu.core.observe import Fate, Seen, What
from vmemu.devices.lapic import SVR
from vmemu.lab.models import Violation, Watch, models_for
from vmemu.machine.facility import Resolution

FATES = {Resolution.RETRY: Fate.RETRY, Resolution.NOTIFIED: Fate.NOTIFIED, Resolution.HALT: Fate.HALT, Resolution.FATAL: Fate.FATAL}


class SeenRig(Rig):
    """What the guest itself does to its memory is not told, as on a machine."""

    def __init__(self, profile: str = "kvm", **options: Any) -> None:
        super().__init__(profile, **options)
        self.watch = Watch(self.machine, models_for(self.machine))

    def set_mode(self, vcpu: CoreVcpu, user: bool = True, interrupts: bool = True) -> None:
        """With the bits that the processor keeps for itself (hflags 1:0, CPL)."""
        super().set_mode(vcpu, user, interrupts)
        vcpu.set("hflags", vcpu.get("hflags") & ~3 | (3 if user else 0))

    @property
    def found(self) -> list[Violation]:
        return self.watch.violations

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(v.invariant for v in self.found))

    def turn(self, vcpu: CoreVcpu) -> None:
        assert self.machine.core.observe is not None
        self.machine.core.observe(Seen(What.TURN, vcpu.id, 0))

    def wrmsr(self, vcpu: CoreVcpu, msr: int, value: int) -> None:
        self.machine.core.io(vcpu, IoKind.REG_WRITE, msr, 8, value)
        self.turn(vcpu)
        self.enter(vcpu)

    def apic(self, vcpu: CoreVcpu, on: bool) -> None:
        """Software-enable the local APIC, or disable it."""
        self.lapic(vcpu).write(SVR, 4, 0x1FF if on else 0xFF)
        self.enter(vcpu)

    def take_interrupt(self, vcpu: CoreVcpu, acknowledge: bool = True) -> int | None:
        assert self.machine.core.observe is not None
        if vcpu.get("rflags") & 0x200 and self.lapic(vcpu).pending() == VECTOR:
            self.machine.core.observe(Seen(What.INTERRUPT, vcpu.id, VECTOR))
        return super().take_interrupt(vcpu, acknowledge)

    def clear(self, vcpu: CoreVcpu, offset: int) -> None:
        self.machine.core.write_resident(self.area(vcpu) + offset, bytes(4))

    def swap_out(self, page: int) -> int:
        self.watch.detach()
        index = super().swap_out(page)
        self.watch.attach()
        return index

    def fault(self, vcpu: CoreVcpu, page: int, nr: int = 0) -> Resolution:
        """The guest touches the page; what it is told it takes at once."""
        observe = self.machine.core.observe
        assert observe is not None
        gpa = PAGES + 4096 * page + 8
        observe(Seen(What.FAULT, vcpu.id, gpa, 0x7000_0000 + gpa, nr << 8))
        resolution = super().fault(vcpu, page, nr)
        observe(Seen(What.FAULT_DONE, vcpu.id, gpa, 0x7000_0000 + gpa, FATES[resolution]))
        self.turn(vcpu)
        return resolution

    def advance(self, ns: int) -> None:
        super().advance(ns)
        for vcpu in self.vcpus:
            self.turn(vcpu)

    def away(self, page: int) -> Resolution:
        """vCPU 0's task touches a page that is in the store; its kernel takes note."""
        self.swap_out(page)
        resolution = self.fault(self.vcpus[0], page)
        if self.take_exception(self.vcpus[0]) is not None:
            self.clear(self.vcpus[0], 0)
        return resolution
