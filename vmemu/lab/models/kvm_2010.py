# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's asynchronous page faults of 2010 (Linux 2.6.38 to 5.7): away and here are both #PFs, told apart by a word of the shared area.

Nothing is acknowledged. The host announces a page when interrupts are on and no exception waits, and looks only when the vCPU is
out of its guest: late announcements are this protocol's own, missing ones are not. Pages that the guest was never told of are
announced as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu
from vmemu.core.observe import Seen
from vmemu.lab.models.base import profile
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.x86 import ALL, ENABLED, HFLAGS_SHADOW, MSR_EN, RFLAGS_IF, X86Model

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

READY = 2
RESERVED = 0x3C  # EN, bits 5:2 (Linux 3.11, Documentation/virtual/kvm/msr.txt)


class Kvm2010Model(X86Model):
    """`_ready`: the vCPU in whose area the host has just written "ready"."""

    name = "kvm-2010"
    features = 1 << 4
    msrs = (MSR_EN,)

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._ready = -1

    def is_on(self, vcpu: int) -> bool:
        return bool(self.en[vcpu] & ENABLED)

    def accepts(self, msr: int, value: int) -> bool:
        return not value & RESERVED and (not value & ENABLED or self.machine.is_ram(value & ~63, 64))

    def wrote(self, vcpu: int, offset: int, value: int) -> None:
        if (offset, value) != (0, READY):
            self.wrong("SLOT", f"the host writes {value:#x} to offset {offset} of the shared area", vcpu=vcpu)
        self._ready = vcpu

    def page_fault(self, seen: Seen) -> None:
        if self._ready != seen.vcpu:
            super().page_fault(seen)
            return
        self._ready = -1
        vcpu, token = self.machine.vcpus[seen.vcpu], seen.b
        for why in self.why_not_ready(vcpu):
            self.wrong("LEGAL", f"token {token:#x} is announced {why}", token=token, vcpu=seen.vcpu)
        if token == ALL:
            self.ledger.broadcast(seen.vcpu)
        elif token in self.ledger.told or token in self.ledger.covered:
            self.ledger.here(token, seen.vcpu)
        elif not token or token & 0xFFF != seen.vcpu:
            self.wrong("TOK", f"token {token:#x} is announced, which names no page", token=token, vcpu=seen.vcpu)

    @staticmethod
    def why_not_ready(vcpu: CoreVcpu) -> list[str]:
        found = [] if vcpu.get("rflags") & RFLAGS_IF else ["with interrupts off"]
        return found + (["in the shadow of STI or MOV SS"] if vcpu.get("hflags") & HFLAGS_SHADOW else [])

    def nothing_in_the_way(self, vcpu: CoreVcpu) -> bool:
        """Of a CPU that sleeps: whoever runs hears of it at some exit."""
        return self.is_on(vcpu.id) and vcpu.halted and not vcpu.event_pending and not self.why_not_ready(vcpu)

    def save(self) -> Any:
        return [*super().save(), self._ready]

    def load(self, state: Any) -> None:
        super().load(state)
        self._ready = state[6]


register(Entry(Kvm2010Model.name, lambda machine: profile(machine) == "kvm-2010", Kvm2010Model))
