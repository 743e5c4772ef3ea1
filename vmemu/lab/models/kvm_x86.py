# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's asynchronous page faults since Linux 5.8: away is a #PF, here an interrupt with the token in the shared area's slot.

The slot is the guest's from the host's write to the guest's clearing it; ACK asks for the next one. While the local APIC is
disabled its interrupt would be lost, and the slot never be cleared: nothing is announced then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu
from vmemu.core.observe import Seen
from vmemu.lab.models.base import End, Wait, peek, profile, token_node, vcpu_node
from vmemu.lab.models.ledger import SOON_NS, announcement
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.x86 import ALL, AS_INT, AS_VMEXIT, ENABLED, MSR_ACK, MSR_EN, MSR_INT, X86Model
from vmemu.machine.result import STALLED

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

APIC_ENABLED = 1 << 11  # IA32_APIC_BASE
NOT_DUE = -1
LOWEST_VECTOR = 16  # below, a local APIC takes no interrupt (SDM 3, 10.5.2)


class KvmModel(X86Model):
    """By vCPU, beside X86Model's: `slot` the token announced last, `owed` its acknowledge, `due` since when its interrupt was not seen."""

    name = "kvm"
    features = 1 << 4 | 1 << 14
    msrs = (MSR_EN, MSR_INT, MSR_ACK)

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        count = len(machine.vcpus)
        self.slot = [0] * count
        self.owed = [False] * count
        self.due = [NOT_DUE] * count
        self.cleared: dict[int, int] = {}  # vCPU -> since when the slot is free, others wait for it, and no ACK comes

    def is_on(self, vcpu: int) -> bool:
        return self.en[vcpu] & (ENABLED | AS_INT) == ENABLED | AS_INT

    def accepts(self, msr: int, value: int) -> bool:
        if msr == MSR_INT:
            return value >> 8 == 0
        if msr == MSR_ACK:
            return True
        if value & 0x30 or value & AS_VMEXIT:  # CPUID does not offer delivery as a VM exit
            return False
        asked_for = value & (ENABLED | AS_INT) == ENABLED | AS_INT
        return not asked_for or self.machine.is_ram(value & ~63, 64)

    def accepted(self, vcpu: int, msr: int, value: int) -> None:
        super().accepted(vcpu, msr, value)
        if msr == MSR_INT:
            self.vector[vcpu] = value
        elif msr == MSR_ACK and value & 1:
            self.owed[vcpu] = False
            self.cleared.pop(vcpu, None)

    def forget(self, vcpu: int) -> None:
        self.owed[vcpu], self.due[vcpu] = False, NOT_DUE
        self.cleared.pop(vcpu, None)

    # ---------------------------------------------------------- announcements
    def _apic_on(self, vcpu: int) -> bool:
        return bool(self.board.apics.bases[vcpu] & APIC_ENABLED) and self.board.apics.lapics[vcpu].enabled

    def wrote(self, vcpu: int, offset: int, value: int) -> None:
        if offset != 4:
            self.wrong("SLOT", f"the host writes {value:#x} to offset {offset} of the shared area", vcpu=vcpu)
            return
        if not value:
            self.wrong("TOK", "token 0 is announced: to guest and host alike it says that the slot is free", token=0, vcpu=vcpu)
        if not self._apic_on(vcpu):
            self.wrong("LIVE", f"token {value:#x} is announced, and the local APIC is disabled: its interrupt is lost",
                       token=value, vcpu=vcpu)
        if value == ALL:
            self.ledger.broadcast(vcpu)
        else:
            self.ledger.here(value, vcpu)
        self.slot[vcpu], self.owed[vcpu] = value, True
        self.due[vcpu] = self.machine.now() if self.vector[vcpu] >= LOWEST_VECTOR else NOT_DUE

    def _interrupt(self, seen: Seen) -> None:
        if seen.a == self.vector[seen.vcpu]:
            self.due[seen.vcpu] = NOT_DUE

    def nothing_in_the_way(self, vcpu: CoreVcpu) -> bool:
        if not self.is_on(vcpu.id) or not self._apic_on(vcpu.id):
            return False
        token = peek(self.machine, self.area(vcpu.id) + 4, 4)
        if token is None or any(token):
            return False
        if self.owed[vcpu.id]:
            self._acknowledge_soon(vcpu.id)
        return not self.owed[vcpu.id]

    def _acknowledge_soon(self, vcpu: int) -> None:
        now = self.machine.now()
        if now > self.cleared.setdefault(vcpu, now) + SOON_NS:
            self.wrong("LIVE", f"the guest has taken token {self.slot[vcpu]:#x} and writes no ACK, while others wait",
                       token=self.slot[vcpu], vcpu=vcpu)

    def check(self) -> None:
        super().check()
        for vcpu in self.machine.vcpus:
            number, lapic = vcpu.id, self.board.apics.lapics[vcpu.id]
            bit = 1 << self.vector[number]
            if self.due[number] != NOT_DUE:
                if (lapic.irr | lapic.isr) & bit or not lapic.enabled:
                    self.due[number] = NOT_DUE
                elif self.machine.now() > self.due[number] + SOON_NS:
                    self._never_raised(number)
            if lapic.isr & bit and self.vector[number] >= LOWEST_VECTOR and self._handler_is_over(vcpu):
                self.wrong("EOI", f"vector {self.vector[number]:#x} is still in service after its handler", vcpu=number)

    def _never_raised(self, vcpu: int) -> None:
        token, vector = self.slot[vcpu], self.vector[vcpu]
        self.wrong("LIVE", f"token {token:#x} is announced, and vector {vector:#x} was never raised", token=token, vcpu=vcpu)

    def at_end(self, end: End) -> None:
        super().at_end(end)
        if end.status == STALLED:
            for vcpu, due in enumerate(self.due):
                if due != NOT_DUE:
                    self._never_raised(vcpu)

    def waits(self) -> list[Wait]:
        found = super().waits()
        for vcpu in range(len(self.en)):
            token = peek(self.machine, self.area(vcpu) + 4, 4) if self.is_on(vcpu) else None
            if not self.is_on(vcpu):
                continue
            if not self._apic_on(vcpu):
                found.append(Wait(announcement(vcpu), vcpu_node(vcpu), "its local APIC is disabled"))
            elif token is not None and any(token):
                busy = int.from_bytes(token, "little")
                found.append(Wait(announcement(vcpu), f"slot of vCPU {vcpu}", f"the slot still has {token_node(busy)}"))
                found.append(Wait(f"slot of vCPU {vcpu}", vcpu_node(vcpu), self._why_not_taken(vcpu)))
            elif self.owed[vcpu]:
                found.append(Wait(announcement(vcpu), vcpu_node(vcpu), f"the ACK of {token_node(self.slot[vcpu])} is not written"))
        return found

    def _why_not_taken(self, vcpu: int) -> str:
        lapic, vector = self.board.apics.lapics[vcpu], self.vector[vcpu]
        if lapic.isr >> vector & 1:
            return f"it has taken vector {vector:#x}, and neither cleared the slot nor ended the interrupt"
        if lapic.irr >> vector & 1:
            ready = lapic.pending() == vector
            return f"vector {vector:#x} is pending" + (" with interrupts off" if ready else " behind another one in service")
        return f"vector {vector:#x} is neither pending nor in service: it was lost, or taken and forgotten"

    @staticmethod
    def _handler_is_over(vcpu: CoreVcpu) -> bool:
        """User code runs, or the CPU sleeps: no handler does."""
        if vcpu.event_pending or not vcpu.settled:
            return False
        return bool(vcpu.get("hflags") & 3) or vcpu.halted and not vcpu.host_halted

    # ------------------------------------------------------------------ state
    def more_state(self, vcpu: int) -> tuple[int, ...]:
        return (int(self.owed[vcpu]),)

    def save(self) -> Any:
        return [*super().save(), list(self.slot), list(self.owed), list(self.due), dict(self.cleared)]

    def load(self, state: Any) -> None:
        super().load(state)
        self.slot, self.owed, self.due = (list(part) for part in state[6:9])
        self.cleared = dict(state[9])


register(Entry(KvmModel.name, lambda machine: profile(machine) == "kvm", KvmModel))
