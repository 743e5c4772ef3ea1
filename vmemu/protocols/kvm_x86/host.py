# SPDX-License-Identifier: GPL-2.0-or-later
"""KVM's half of asynchronous page faults on x86: when the guest may be told, and how (x86-apf.md 5 and 6).

The current protocol: "away" is a #PF whose CR2 is the token, with a flag in the shared area; "here" is an interrupt with the
token in the area's slot, one at a time, until the guest clears the slot and acknowledges. The protocol of 2010: both are #PFs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vmemu.core import CoreVcpu, Exit
from vmemu.devices.base import State
from vmemu.errors import StoreError
from vmemu.machine.boards.pc import Pc
from vmemu.machine.boards.pc_apic import GLOBAL_ENABLE
from vmemu.machine.control import Refused
from vmemu.machine.insight import Insight
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.work import BROADCAST, Work
from vmemu.protocols.kvm_x86 import registers
from vmemu.protocols.kvm_x86.abi import (
    AREA,
    CR0_PG,
    DF_VECTOR,
    FLAGS,
    HFLAGS_SHADOW,
    ID_SHIFT,
    NOT_PRESENT,
    PF_VECTOR,
    READY_2010,
    RFLAGS_IF,
    TOKEN,
    TOKEN_MASK,
    En,
)

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine


#: Known bugs of the protocol of 2010: a ready event does not wait for the exception that is to be entered next.
OVER_PENDING = ("kvm-two-exceptions", "kvm-blind-cancel")


class KvmX86(AsyncPager):
    """Per vCPU: `en` and `vector` as the MSRs read, `on`, `ids` of the last token; pageready_pending is a shared word."""

    notifications: ClassVar[dict[str, str]] = {"flag": "apf.flag"}

    def __init__(self, machine: Machine, profile: str) -> None:
        super().__init__(machine, profile)
        self.legacy = profile == "kvm-2010"
        count = len(machine.vcpus)
        self.en = [0] * count
        self.on = [False] * count
        self.vector = [0] * count
        self.ids = [0] * count
        assert isinstance(machine.board, Pc)
        self.apics = machine.board.apics
        self.apics.on_enabled = self._apic_enabled
        registers.add(self, machine.board)
        machine.commands["token-id"] = self._token_id

    def _token_id(self, words: list[str]) -> str:
        """``token-id VCPU ID|oldest``: as if so many tokens had been given out that this id comes next. Raises Refused."""
        try:
            cpu, text = words
            number = int(cpu)
            self.ids[number] = (self._oldest(number) if text == "oldest" else int(text, 0)) - 1 & TOKEN_MASK >> ID_SHIFT
        except (ValueError, IndexError):
            raise Refused("token-id: write token-id VCPU ID, or oldest for the one that is waited for longest") from None
        return f"the next id of vCPU {number} is {self.ids[number] + 1:#x}"

    def _oldest(self, cpu: int) -> int:
        away = [token for token, work in self.ledger.away.items() if work[0] == cpu]
        return away[0] >> ID_SHIFT if away else self.ids[cpu] + 1

    # ------------------------------------------------------------- registers
    def enable(self, vcpu: CoreVcpu, value: int, on: bool) -> None:
        """EN was written, and accepted."""
        self.en[vcpu.id] = value
        self.on[vcpu.id] = on
        if on:
            self.wake_all(vcpu)
        else:
            self.clear(vcpu)
            self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].pending, 0)

    def acknowledge(self, vcpu: CoreVcpu) -> None:
        self.heard(vcpu, "the guest has taken it, and acknowledges (KVM_ASYNC_PF_ACK)")
        actor = self.names[vcpu.id].actor
        self.words.write(actor, self.names[vcpu.id].pending, 0)
        if self.request_barrier:
            self.words.fence(actor)
        if "kvm-no-rescan" not in self.bugs and self.words.read(actor, self.names[vcpu.id].done):
            self.ask(vcpu)

    def paging_switched(self, vcpu: CoreVcpu) -> None:
        """CR0.PG changes, either way: what is under way belongs to another address space."""
        self.clear(vcpu)

    def _apic_enabled(self, cpu: int) -> None:
        if self.done[cpu] and "kvm-apic-no-rescan" not in self.bugs:
            self.ask(self.machine.vcpus[cpu])

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        super().reset_vcpu(vcpu)
        self.en[vcpu.id] = self.vector[vcpu.id] = 0
        self.on[vcpu.id] = False
        self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].pending, 0)

    def migrated(self) -> None:
        """A VMM carries EN and INT. Works, ids and pageready_pending stay behind; writing EN anew wakes all sleepers (x86-apf.md 2)."""
        for vcpu in self.machine.vcpus:
            self.clear(vcpu)
            self.ids[vcpu.id] = 0
            self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].pending, 0)
            if self.on[vcpu.id]:
                self.wake_all(vcpu)
                if vcpu.halted:  # it enters its guest only when there is an interrupt
                    self.on_exit(vcpu)

    # ---------------------------------------------------------------- faults
    def refuse(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        """kvm_can_do_async_pf: something else waits to be injected, or an interrupt could not be (x86-apf.md 5, row 3)."""
        if not self._interruptible(vcpu):
            return "interrupts off"
        if self.waiting_broadcast(vcpu) and "kvm-early-token" not in self.bugs:
            return "wake-all waits"  # it would wake this token's sleeper too, and the real ready event find nobody
        return None

    @staticmethod
    def _interruptible(vcpu: CoreVcpu) -> bool:
        return bool(vcpu.get("rflags") & RFLAGS_IF) and not vcpu.get("hflags") & HFLAGS_SHADOW

    def new_token(self, vcpu: CoreVcpu) -> int:
        """The next id that names no outstanding page; 0 is no token, and all ones are the broadcast."""
        while True:
            self.ids[vcpu.id] = (self.ids[vcpu.id] + 1) & TOKEN_MASK >> ID_SHIFT
            token = self.ids[vcpu.id] << ID_SHIFT | vcpu.id
            allowed = self.ids[vcpu.id] or "kvm-token-zero" in self.bugs
            if allowed and token != BROADCAST and (self.tokens.get(token + 1) is None or "kvm-token-reuse" in self.bugs):
                return token

    def _can_deliver(self, vcpu: CoreVcpu) -> bool:
        if not self.on[vcpu.id]:
            return False
        if not self.en[vcpu.id] & En.SEND_ALWAYS and vcpu.get("cs") & 3 == 0 and "kvm-any-cpl" not in self.bugs:
            return False
        return bool(vcpu.get("cr0") & CR0_PG) or "kvm-paging-off" in self.bugs

    def may_tell(self, vcpu: CoreVcpu, work: Work) -> bool:
        return self._can_deliver(vcpu)

    def why_not_told(self, vcpu: CoreVcpu) -> str:
        if not self.on[vcpu.id]:
            return "the guest is not told, for it has not enabled asynchronous page faults here: the vCPU waits"
        if not self.en[vcpu.id] & En.SEND_ALWAYS and vcpu.get("cs") & 3 == 0:
            return "the guest is not told, for its kernel runs (CPL 0) and SEND_ALWAYS is off: the vCPU waits"
        if not vcpu.get("cr0") & CR0_PG:
            return "the guest is not told, for CR0.PG is clear: the vCPU waits"
        return super().why_not_told(vcpu)

    def insight(self) -> Insight:
        from vmemu.protocols.kvm_x86.insight import KvmInsight

        return KvmInsight(self)

    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        if self.machine.memory.injector.check("apf.flag") is not None:
            self.ledger.lost(f"token {work.token:#x}: not-present flag dropped (injected)")
        elif not self._put(vcpu, FLAGS, NOT_PRESENT):
            return False
        vcpu.inject_exception(PF_VECTOR, 0, work.token, 0, True)
        return True

    # ------------------------------------------------------------- page ready
    def wants_kick(self, vcpu: CoreVcpu, actor: str) -> bool:
        return not self.words.read(actor, self.names[vcpu.id].pending)

    def on_exit(self, vcpu: CoreVcpu) -> None:
        if self.legacy:  # no request bit: every turn of the run loop looks
            self._take_request(vcpu)
            if self.done[vcpu.id]:
                self.complete(vcpu)
        else:
            super().on_exit(vcpu)

    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        if not self.on[vcpu.id]:
            return True
        if self.legacy:
            return (not vcpu.event_pending or not self.bugs.isdisjoint(OVER_PENDING)) and self._interruptible(vcpu)
        return (self._apic_on(vcpu.id) or "kvm-lapic-off" in self.bugs) and self._get(vcpu, TOKEN) == 0

    def has_apic(self, vcpu: CoreVcpu) -> bool:
        """Is the local APIC there, however little it does?"""
        return bool(self.apics.bases[vcpu.id] & GLOBAL_ENABLE)

    def _apic_on(self, cpu: int) -> bool:
        return bool(self.apics.bases[cpu] & GLOBAL_ENABLE) and self.apics.lapics[cpu].enabled

    def announces(self, vcpu: CoreVcpu, work: Work) -> bool:
        return self.on[vcpu.id] and (work.wake_all or work.injected or self.legacy or "kvm-ready-untold" in self.bugs)

    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        if not self.announces(vcpu, work):
            return False
        return self._ready_2010(vcpu, work) if self.legacy else self._ready(vcpu, work)

    def _ready(self, vcpu: CoreVcpu, work: Work) -> bool:
        token = work.token
        if self.machine.memory.injector.check("apf.token") is not None:
            token ^= 1 << ID_SHIFT
            self.ledger.lost(f"token {work.token:#x}: announced as {token:#x} (injected)")
        if not self._put(vcpu, TOKEN, token):
            return False
        self.words.write(self.names[vcpu.id].actor, self.names[vcpu.id].pending, 1)
        if self._apic_on(vcpu.id):
            self.mishaps.interrupt(vcpu, work)
        else:  # only when can_dequeue does not look
            self.ledger.lost(f"token {token:#x}: the local APIC is disabled, and its interrupt dropped")
        return True

    def raise_interrupt(self, vcpu: CoreVcpu) -> None:
        if self.on[vcpu.id] and self._apic_on(vcpu.id):
            self.apics.lapics[vcpu.id].request(self.vector[vcpu.id])

    def _ready_2010(self, vcpu: CoreVcpu, work: Work) -> bool:
        if vcpu.event_pending and "kvm-blind-cancel" in self.bugs and self._get(vcpu, FLAGS) == NOT_PRESENT:
            self._put(vcpu, FLAGS, 0)
            vcpu.drop_event()
            return work.wake_all or work.injected
        if not self._put(vcpu, FLAGS, READY_2010):
            return False
        if vcpu.event_pending:  # only when can_dequeue does not look: a contributory exception while delivering another
            vcpu.drop_event()
            vcpu.inject_exception(DF_VECTOR, 0, 0, 0, True)
        else:
            vcpu.inject_exception(PF_VECTOR, 0, work.token, 0, True)
        self.machine.wake(vcpu.id)
        return work.wake_all or work.injected

    # ----------------------------------------------------------- shared area
    def _put(self, vcpu: CoreVcpu, offset: int, value: int) -> bool:
        """False when the area's page is lost."""
        try:
            self.machine.write_guest((self.en[vcpu.id] & AREA) + offset, value.to_bytes(4, "little"))
        except StoreError as error:
            self.ledger.note(f"vCPU {vcpu.id}: the shared area cannot be written: {error}")
            return False
        return True

    def _get(self, vcpu: CoreVcpu, offset: int) -> int | None:
        try:
            return int.from_bytes(self.machine.read_guest((self.en[vcpu.id] & AREA) + offset, 4), "little")
        except StoreError:
            return None

    # ----------------------------------------------------------------- state
    def save(self) -> State:
        own: dict[str, Any] = {"en": list(self.en), "on": list(self.on), "vector": list(self.vector), "ids": list(self.ids)}
        return super().save() | {"kvm": own}

    def load(self, state: State) -> None:
        super().load(state)
        own = state["kvm"]
        self.en, self.on, self.vector, self.ids = list(own["en"]), list(own["on"]), list(own["vector"]), list(own["ids"])
