# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults, completions and notifications of arm64's asynchronous page faults, on the generic layer.

Profile `sdei`: "away" is an SDEI event, "ready" a PPI. Profile `ppi-only`: both are the PPI. One buffer serves both directions:
nothing is sent before the guest has cleared what was there. Where version 4 of the series loses or invents notifications, this
does not: all that delivery needs is asked for before a token is made, and disabling leaves nothing behind (quirks.py has the
series' own ways).
"""

from __future__ import annotations

import struct
from typing import Any, ClassVar

from vmemu.core import CoreVcpu, Exit, PageState
from vmemu.devices.base import State
from vmemu.errors import StoreError
from vmemu.machine.boards.virt import Virt
from vmemu.machine.facility import Resolution
from vmemu.machine.fdt import Node
from vmemu.machine.insight import Insight
from vmemu.machine.machine import Machine
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.work import Mishap, Work
from vmemu.protocols.sdei.dispatch import Sdei
from vmemu.protocols.sdei.state import EventInfo
from vmemu.protocols.sdei_arm64 import quirks
from vmemu.protocols.sdei_arm64.abi import EVENT, FUNCTION, IRQ, TOKEN_OFFSET, WAKE_ALL, Reason
from vmemu.protocols.sdei_arm64.control import ControlPath
from vmemu.protocols.sdei_arm64.service import Service
from vmemu.protocols.sdei_arm64.state import VcpuState

PSTATE_EL = 0xF  # mode and stack pointer; 0 is EL0
PSTATE_I = 1 << 7
FREE = (0, 0)  # the buffer's reason and token


class Arm64Pager(AsyncPager):
    """One machine's service, host side. `sdei` is None with the profile ppi-only."""

    notifications: ClassVar[dict[str, str]] = {"event": "sdei.event"}

    def __init__(self, machine: Machine, profile: str) -> None:
        super().__init__(machine, profile)
        assert isinstance(machine.board, Virt)
        self.gic = machine.board.gic
        self.states = [VcpuState(irq=IRQ, id=int(quirks.TOKEN_ZERO not in self.bugs)) for _ in machine.vcpus]
        self.sdei: Sdei | None = None
        if profile == "sdei":
            event = EventInfo(EVENT, critical=quirks.CRITICAL in self.bugs, signalable=True)
            self.sdei = Sdei(machine, (event,), zero_registers=quirks.ZERO_REGISTERS in self.bugs)
            self.sdei.on_delivered = self._delivered
            self.sdei.on_lost = self._event_lost
            for state in self.states:
                state.event = EVENT
        self.service, self.control = Service(self), ControlPath(self)
        machine.commands["apf"] = self.control.command
        machine.board.vendor.add(FUNCTION, self.service.call)
        machine.on_entry = self._enter

    # ------------------------------------------------------------------ buffer
    def buffer(self, vcpu: CoreVcpu) -> tuple[int, int] | None:
        """(reason, token) that the guest has in its buffer; None: the page is lost."""
        try:
            reason, token = struct.unpack("<2I", self.machine.read_guest(self.states[vcpu.id].buffer, 8))
        except StoreError:
            return None
        return reason, token

    def _write(self, vcpu: CoreVcpu, reason: Reason, token: int) -> bool:
        """Token first, then the reason. False: the page is lost."""
        at = self.states[vcpu.id].buffer
        try:
            self.machine.write_guest(at + TOKEN_OFFSET, struct.pack("<I", token))
            self.machine.write_guest(at, struct.pack("<I", reason))
        except StoreError:
            return False
        return True

    # ------------------------------------------------------------------- faults
    def refuse(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        state = self.states[vcpu.id]
        pstate = vcpu.get("pstate")
        if not state.enabled:
            return "off"
        if state.user_only and pstate & PSTATE_EL:
            return "kernel mode"
        if self.sdei is not None and self.sdei.running(vcpu.id):
            return "handler runs"
        if self.done[vcpu.id]:
            self.complete(vcpu)  # first what is owed: after a wake-all, no sleeper of an older token may be left
            if self.sequencer.holder(vcpu.id) is not None or any(self.works[number].wake_all for number in self.done[vcpu.id]):
                return "completions wait"
        buffer = self.buffer(vcpu)
        if buffer is None or self.core.page(self.core.index(ex.gpa)).state == PageState.RESIDENT:
            return "buffer's own page"
        if buffer != FREE:
            return "buffer in use"
        if self.sdei is None:
            next_one = self.gic.would_signal(vcpu.id, state.irq) and not pstate & PSTATE_I
            return None if next_one and not state.line else "interrupt cannot be taken"
        if quirks.FAILED_INJECTION in self.bugs or self.sdei.deliverable(state.event, vcpu.id):
            return None
        return "event cannot be delivered"

    def new_token(self, vcpu: CoreVcpu) -> int:
        state, from_zero = self.states[vcpu.id], quirks.TOKEN_ZERO in self.bugs
        token = state.next_token(vcpu.id, from_zero=from_zero)
        while not from_zero and (self.tokens.get(token + 1) is not None or token in self.ledger.away):
            token = state.next_token(vcpu.id, from_zero=False)
        return token

    def on_repeated(self, vcpu: CoreVcpu, ex: Exit, work: Work) -> Resolution:
        if quirks.REFAULT_SPIN in self.bugs:
            self.ledger.count["repeated"] += 1
            return Resolution.RETRY
        return super().on_repeated(vcpu, ex, work)

    def may_tell(self, vcpu: CoreVcpu, work: Work) -> bool:
        return True  # `refuse` has asked for everything

    def told_in_vain(self, vcpu: CoreVcpu, work: Work) -> None:
        state = self.states[vcpu.id]
        state.slots.add(work.gfn)
        state.seen.append(work.token)

    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        state = self.states[vcpu.id]
        if not self._write(vcpu, Reason.PAGE_NOT_PRESENT, work.token):
            return False
        state.slots.add(work.gfn)
        if self.sdei is None:
            state.seen.append(work.token)
            self._raise(vcpu, state)
            return True
        state.away_pending, state.away_token = True, work.token
        if self.sdei.deliverable(state.event, vcpu.id):  # with the quirk it may not be, and nobody cares
            self.sdei.inject(state.event, vcpu.id)
        return True

    def _delivered(self, event: int, pe: int) -> None:
        """The guest's handler has begun: from now on the token is the guest's."""
        state = self.states[pe]
        if event == state.event and state.away_pending:
            state.away_pending = False
            state.seen.append(state.away_token)

    def _event_lost(self, event: int, pe: int) -> None:
        """Firmware has lost the event (injected): the host takes it for delivered, and the buffer stays as it is."""
        state = self.states[pe]
        if event == state.event and state.away_pending:
            self.ledger.lost(f"token {state.away_token:#x}: its SDEI event dropped (injected)")
            self._delivered(event, pe)

    def insight(self) -> Insight:
        from vmemu.protocols.sdei_arm64.insight import Arm64Insight

        return Arm64Insight(self)

    # --------------------------------------------------------------- completions
    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        state = self.states[vcpu.id]
        if not state.enabled:
            return True
        if state.line:
            return False
        head = self.works[self.done[vcpu.id][0]]
        buffer = self.buffer(vcpu)
        if state.away_pending and not head.wake_all and buffer == (Reason.PAGE_NOT_PRESENT, head.token) and head.token == state.away_token:
            return True
        return buffer == FREE

    def announces(self, vcpu: CoreVcpu, work: Work) -> bool:
        """One whose not-present the guest has not been shown takes that back instead."""
        state = self.states[vcpu.id]
        if not state.enabled or not (work.wake_all or work.injected):
            return False
        unseen = state.away_pending and state.away_token == work.token and not work.wake_all
        return not (unseen and self.sdei is not None and self.sdei.signalled(state.event, vcpu.id))

    def announced_in_vain(self, vcpu: CoreVcpu, work: Work) -> None:
        if work.token in self.states[vcpu.id].seen:
            self.states[vcpu.id].seen.remove(work.token)

    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        state = self.states[vcpu.id]
        if not state.enabled or not (work.wake_all or work.injected):
            return False
        if not work.wake_all and state.away_token == work.token and self._take_back(vcpu, state):
            work.injected = False
            self.ledger.took_back(vcpu, work)
            self.note("cancelled", work, "taken back: its event had not been delivered")
            return False
        if not self._write(vcpu, Reason.PAGE_READY, WAKE_ALL if work.wake_all else work.token):
            return False
        if work.wake_all:
            state.seen.clear()
        elif work.token in state.seen:
            state.seen.remove(work.token)
        elif work.mishap != Mishap.AGAIN:
            self.ledger.problem(f"{work}: ready, and the guest was never shown that it was away")
        state.line = state.muted = True
        self.mishaps.interrupt(vcpu, work)
        return True

    def _take_back(self, vcpu: CoreVcpu, state: VcpuState) -> bool:
        """Cancel the not-present that the guest has not been shown, if there is one. True: it never was."""
        if not state.away_pending or self.sdei is None or not self.sdei.cancel(state.event, vcpu.id):
            return False
        state.away_pending = False
        if self.buffer(vcpu) == (Reason.PAGE_NOT_PRESENT, state.away_token):
            self._write(vcpu, Reason.NONE, 0)
        return True

    def raise_interrupt(self, vcpu: CoreVcpu) -> None:
        if self.states[vcpu.id].enabled:
            self._raise(vcpu, self.states[vcpu.id])

    def _raise(self, vcpu: CoreVcpu, state: VcpuState) -> None:
        state.line, state.muted = True, False
        self.gic.set_ppi(vcpu.id, state.irq, True)

    def _lower(self, vcpu: CoreVcpu, state: VcpuState) -> None:
        state.line = state.muted = False
        self.gic.set_ppi(vcpu.id, state.irq, False)

    def acknowledge(self, vcpu: CoreVcpu) -> None:
        """IRQ_ACK. The line may be high again at once, for the next completion."""
        state = self.states[vcpu.id]
        if state.line:
            self.heard(vcpu, "the guest has taken it, and acknowledges (IRQ_ACK)")
            self._lower(vcpu, state)
            self.complete(vcpu)

    def forget_gfn(self, vcpu: CoreVcpu, work: Work) -> None:
        super().forget_gfn(vcpu, work)
        self.states[vcpu.id].slots.remove(work.gfn)

    def on_exit(self, vcpu: CoreVcpu) -> None:
        """What could not be announced is tried again whenever the vCPU is out of its guest: nobody tells when the buffer is free."""
        super().on_exit(vcpu)
        if self.done[vcpu.id]:
            self.complete(vcpu)

    def _enter(self, vcpu: CoreVcpu) -> None:
        """Completions first: a page that is there already takes its undelivered event back."""
        if self.done[vcpu.id]:
            self.complete(vcpu)
        if self.sdei is not None and vcpu.runnable:
            self.sdei.enter(vcpu)

    # ------------------------------------------------------------ off, and resets
    def disable(self, vcpu: CoreVcpu) -> None:
        """Works are thrown away, and nothing is owed afterwards; the next ENABLE wakes all sleepers."""
        state = self.states[vcpu.id]
        self.clear(vcpu)
        state.slots.clear()
        if quirks.DISABLE_KEEPS_ACK in self.bugs:
            return
        self._take_back(vcpu, state)
        state.away_pending = False
        if state.line:
            self._lower(vcpu, state)

    def interrupted(self, vcpu: int) -> list[dict[str, int]]:
        return [] if self.sdei is None else self.sdei.interrupted(vcpu)

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        self.disable(vcpu)
        state = self.states[vcpu.id]
        state.control = 0
        state.seen.clear()
        if self.sdei is not None:
            self.sdei.reset_vcpu(vcpu)

    def migrated(self) -> None:
        """What a VMM of the series moves: numbers and control words, SDEI's state, the GIC's. Works and token sequences stay behind;
        SET_CONTROL wakes all sleepers. Unlike there, an interrupt that is high still knows that it waits for its acknowledge."""
        for vcpu, state in zip(self.machine.vcpus, self.states, strict=True):
            self.clear(vcpu)
            fresh = VcpuState(event=state.event, irq=state.irq, id=int(quirks.TOKEN_ZERO not in self.bugs))
            fresh.line = bool(self.gic.cpus[vcpu.id].level >> state.irq & 1)
            self.states[vcpu.id] = fresh
            if state.enabled:
                self.control.set_control(vcpu.id, state.control)
            else:
                fresh.control = state.control

    # ----------------------------------------------------------------- facility
    def describe(self, root: Node) -> None:
        if self.sdei is not None:
            self.sdei.describe(root)

    def summary(self) -> dict[str, Any]:
        return super().summary() | ({} if self.sdei is None else self.sdei.summary())

    def invariants(self) -> list[str]:
        wrong = super().invariants() + ([] if self.sdei is None else self.sdei.invariants())
        for vcpu, state in zip(self.machine.vcpus, self.states, strict=True):
            if self.sequencer.holder(vcpu.id) is not None:
                continue
            high = bool(self.gic.cpus[vcpu.id].level >> state.irq & 1)
            if high != (state.line and not state.muted):
                wrong.append(f"I-6: vCPU {vcpu.id}: the PPI is {'high' if high else 'low'}, its acknowledge is owed: {state.line}")
            works = [w for w in self.works.values() if w.vcpu == vcpu.id and not w.wake_all and w.mishap != Mishap.AGAIN]
            gfns = sorted(w.gfn for w in works if w.injected)
            if state.slots.gfns() != gfns:
                wrong.append(f"I-8: vCPU {vcpu.id} has gfns {state.slots.gfns()} in its slots, {gfns} under way")
            live = [w.token for w in works]
            if 0 in live or WAKE_ALL in live:
                wrong.append(f"I-3: vCPU {vcpu.id} has tokens {[hex(t) for t in live]} outstanding")
        return wrong

    def save(self) -> State:
        return super().save() | {
            "vcpus": [state.save() for state in self.states], "sdei": None if self.sdei is None else self.sdei.save(),
        }  # fmt: skip

    def load(self, state: State) -> None:
        super().load(state)
        self.states = [VcpuState.saved(saved) for saved in state["vcpus"]]
        if self.sdei is not None:
            self.sdei.load(state["sdei"])
