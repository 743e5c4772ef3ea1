# SPDX-License-Identifier: GPL-2.0-or-later
"""What arm64's protocol tells people: buffer, control word, slots, SDEI events of each PE, and what keeps a notification back."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vmemu.core.observe import What
from vmemu.isa.base import Format, bit
from vmemu.machine.insight import Area, Rule
from vmemu.protocols.async_page.insight import PagerInsight
from vmemu.protocols.async_page.work import Work
from vmemu.protocols.sdei.calls import Call, Status
from vmemu.protocols.sdei_arm64.abi import HOST_BYTES, TOKEN_OFFSET, WAKE_ALL, Reason, Sub

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.sdei_arm64.pager import Arm64Pager

CONTROL = Format("control", (bit("ENABLED", 0), bit("SEND_ALWAYS", 1)), "arm64-sdei.md 1")
STATUS = Format("handler", (bit("REGISTERED", 0), bit("ENABLED", 1), bit("RUNNING", 2)), "arm64-sdei.md 7")
DELIVERY, READY = "arm64-sdei.md 5, not_present_allowed", "arm64-sdei.md 5, can_dequeue"
PSTATE_I = 1 << 7
#: x0 of the vendor's hypercall (docs/sdei.md): function 2 of its service.
SERVICE = 0x86000002

REASONS = {
    "off": Rule("the service is not enabled on this vCPU", f"{DELIVERY}, 1"),
    "kernel mode": Rule("the vCPU was at EL1, and SEND_ALWAYS is off", f"{DELIVERY}, 2"),
    "handler runs": Rule("an SDEI handler runs on this vCPU", f"{DELIVERY}, 4"),
    "buffer in use": Rule("the guest has not cleared the buffer of the notification before", f"{DELIVERY}, 5"),
    "buffer's own page": Rule("the page that is away is the buffer's, or came with it", "arm64-sdei.md 11, B-15"),
    "completions wait": Rule("a wake-all is owed first: it would wake this token's sleeper too", "docs/sdei.md"),
    "event cannot be delivered": Rule("the event is not registered, not enabled, masked, or not the next one", "arm64-sdei.md 14, D-4"),
    "interrupt cannot be taken": Rule("the PPI would not be the next interrupt that the vCPU takes", "arm64-sdei.md 14, O-10"),
}  # fmt: skip
SUBS = {
    Sub.VERSION: "VERSION", Sub.SLOTS: "SLOTS", Sub.SDEI: "SDEI: which event", Sub.IRQ: "IRQ: which interrupt",
    Sub.ENABLE: "ENABLE: a new control word", Sub.IRQ_ACK: "IRQ_ACK: it has taken what the PPI announced",
}  # fmt: skip


class Arm64Insight(PagerInsight):
    """Profiles sdei and ppi-only."""

    def __init__(self, pager: Arm64Pager) -> None:
        super().__init__(pager)
        self.pager = pager

    def reason(self, name: str) -> Rule:
        return REASONS.get(name) or super().reason(name)

    # ---------------------------------------------------------------------- area
    def buffer(self, cpu: int) -> tuple[int, int] | None:
        """(reason, token); None: there is none, or its page is lost."""
        state = self.pager.states[cpu]
        data = self.peek(state.buffer, HOST_BYTES) if state.enabled else None
        if data is None:
            return None
        reason, token = struct.unpack("<2I", data)
        return reason, token

    @staticmethod
    def _says(reason: int, token: int) -> str:
        if reason == Reason.NONE:
            return "nothing" if not token else f"no reason, token {token:#x}"
        what = "the wake-all" if token == WAKE_ALL else f"token {token:#x}"
        words = {Reason.PAGE_NOT_PRESENT: "not present", Reason.PAGE_READY: "ready"}
        return f"{words.get(reason, f'reason {reason}')}, {what}"  # type: ignore[call-overload]

    def areas(self, vcpu: int) -> list[Area]:
        if vcpu < 0:
            return []
        state = self.pager.states[vcpu]
        area = Area(f"vCPU {vcpu}: asynchronous page faults ({self.pager.profile})", section="arm64-sdei.md 2")
        area.bits(CONTROL, state.control)
        buffer = self.buffer(vcpu)
        if buffer is None:
            area.add("buffer", state.buffer, "its page is lost" if state.enabled else "off")
        else:
            names = {0: "free", 1: "PAGE_NOT_PRESENT", 2: "PAGE_READY"}
            area.add("buffer", state.buffer, "guest-physical address")
            area.add("reason", buffer[0], names.get(buffer[0], "no value of the protocol's"))
            area.add("token", buffer[1], "wake-all" if buffer[1] == WAKE_ALL else "")
        area.add("PPI", str(state.irq), self._interrupt(vcpu).text)
        if self.pager.sdei is not None:
            area.add(
                "not present", state.away_token if state.away_pending else "-", "its event is not delivered" if state.away_pending else ""
            )
        area.add("shown", " ".join(f"{t:#x}" for t in state.seen) or "-", "tokens that the guest was shown, and that are not ready")
        area.add("slots", f"{len(state.slots)} of 64", " ".join(f"{g:#x}" for g in state.slots.gfns()[:8]))
        return [area, *self._events(vcpu)]

    def _events(self, pe: int) -> list[Area]:
        """SDEI, as one PE sees it."""
        if self.pager.sdei is None:
            return []
        dispatcher = self.pager.sdei.state
        area = Area(f"vCPU {pe}: SDEI", section="arm64-sdei.md 7")
        area.add("PE", "masked" if dispatcher.pes[pe].masked else "unmasked", "PE_MASK, PE_UNMASK")
        for number, info in sorted(dispatcher.events.items()):
            handler = dispatcher.handler(number, pe)
            assert handler is not None
            kind = f"{'shared' if info.shared else 'private'}, {'critical' if info.critical else 'normal'}"
            waits = ", pending" if handler.pending else ""
            area.add(
                f"event {number:#x}",
                STATUS.show(int(handler.state)),
                f"{kind}{waits}; handler at {handler.entry:#x}, argument {handler.arg:#x}",
            )
        for context in dispatcher.pes[pe].contexts:
            area.add("interrupted", context.pc, f"by event {context.event:#x}; PSTATE {context.pstate:#x}")
        return [area]

    # ----------------------------------------------------------------------- why
    def _interrupt(self, cpu: int) -> Rule:
        """Where the PPI is."""
        state, gic = self.pager.states[cpu], self.pager.gic.cpus[cpu]
        one = 1 << state.irq
        if state.muted:
            return Rule("its line was kept low by hand: the guest hears nothing", "docs/debugger-sessions.md, Interventions")
        if not state.line:
            return Rule("low: no acknowledge is owed", READY)
        if gic.active & one:
            return Rule("high, and its handler runs: it is active", "arm64-sdei.md 9")
        if not gic.enabled & one or not gic.group1 & one:
            return Rule("high, and not enabled in the redistributor", "arm64-sdei.md 9")
        if gic.priority[state.irq] >= gic.pmr:
            return Rule(f"high, and masked by priority: {gic.priority[state.irq]:#x}, ICC_PMR_EL1 is {gic.pmr:#x}", "arm64-sdei.md 9")
        if gic.running:
            return Rule(f"high, behind an interrupt of priority {gic.running[-1]:#x} whose handler runs", "arm64-sdei.md 9")
        if self.machine.vcpus[cpu].get("pstate") & PSTATE_I:
            return Rule("high; the PE has interrupts masked (PSTATE.I)", "arm64-sdei.md 9")
        return Rule("high: taken before the next instruction", "arm64-sdei.md 9")

    def blocked(self, vcpu: int) -> list[Rule]:
        state, buffer = self.pager.states[vcpu], self.buffer(vcpu)
        if not state.enabled:
            return []
        if state.line:
            return [
                Rule(f"ready waits: the guest owes an acknowledge (IRQ_ACK) of PPI {state.irq} on vCPU {vcpu}", READY),
                self._interrupt(vcpu),
            ]
        if buffer is None:
            return [Rule("ready waits: the buffer's page is lost")]
        if buffer != (0, 0) and not (state.away_pending and buffer == (Reason.PAGE_NOT_PRESENT, state.away_token)):
            return [Rule(f"ready waits: the buffer of vCPU {vcpu} says {self._says(*buffer)}, which the guest has not cleared", READY)]
        return []

    def away(self, work: Work) -> list[Rule]:
        state = self.pager.states[work.vcpu]
        if state.away_pending and state.away_token == work.token:
            return self._undelivered(work.vcpu)
        if self.buffer(work.vcpu) == (Reason.PAGE_NOT_PRESENT, work.token):
            return [
                Rule("the guest was signalled, and its handler has not cleared the buffer yet", "arm64-sdei.md 6"),
                *self.losses(work.token),
            ]
        return [Rule("the guest was told: a task of its sleeps on the token, or is on its way there", "arm64-sdei.md 6")]

    def _undelivered(self, pe: int) -> list[Rule]:
        """Why an event that was signalled has not begun."""
        sdei, event = self.pager.sdei, self.pager.states[pe].event
        handler = None if sdei is None else sdei.state.handler(event, pe)
        if sdei is None or handler is None:
            return []
        where = f"event {event:#x} on vCPU {pe}"
        if sdei.state.pes[pe].masked:
            return [Rule(f"not present waits: SDEI is masked on vCPU {pe} (PE_MASK)", "arm64-sdei.md 7")]
        if sdei.state.pes[pe].contexts:
            return [
                Rule(
                    f"not present waits: the handler of event {sdei.state.pes[pe].contexts[-1].event:#x} runs on vCPU {pe}",
                    "arm64-sdei.md 7",
                )
            ]
        if not handler.state & Status.ENABLED:
            return [Rule(f"not present waits: {where} is {STATUS.show(int(handler.state))}", "arm64-sdei.md 7")]
        if not handler.pending:
            return [Rule(f"{where} was signalled, and is not pending: it was delayed, or lost", "docs/debugger-sessions.md, Interventions")]
        return [Rule(f"{where} is delivered before the vCPU's next instruction", "arm64-sdei.md 5")]

    def gone(self, number: int) -> list[Rule]:
        rules = []
        for cpu in range(len(self.machine.vcpus)):
            if number and self.buffer(cpu) == (Reason.PAGE_READY, number):
                rules.append(
                    Rule(f"announced: the buffer of vCPU {cpu} holds it until the guest clears that", "arm64-sdei.md 6, PPI handler")
                )
                interrupt = self._interrupt(cpu)
                rules.append(Rule(f"PPI {self.pager.states[cpu].irq} is {interrupt.text}", interrupt.section))
        return rules + super().gone(number)

    def announced(self, number: int) -> bool:
        return any(self.buffer(cpu) == (Reason.PAGE_READY, number) for cpu in range(len(self.machine.vcpus)))

    # -------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        if seen.what is What.HOST_WRITE and len(seen.data) == 4:
            for cpu, state in enumerate(self.pager.states):
                value = int.from_bytes(seen.data, "little")
                if state.enabled and seen.a == state.buffer + TOKEN_OFFSET:
                    what = "the wake-all" if value == WAKE_ALL else f"token {value:#x}"
                    return Rule(f"the host writes {what} to the buffer of vCPU {cpu}, gpa {seen.a:#x}", "arm64-sdei.md 2")
                if state.enabled and seen.a == state.buffer:
                    return Rule(f"then the reason: {Reason(value).name}", "arm64-sdei.md 2")
        if seen.what is What.HCALL:
            function = moment.arguments[0] & 0xFFFFFFFF
            if function == SERVICE:
                name = SUBS.get(moment.arguments[1], "a function that there is not")  # type: ignore[call-overload]
                return Rule(f"the guest calls the paging service: {name}", "arm64-sdei.md 1")
            if function in list(Call):
                return Rule(f"the guest calls SDEI: {Call(function).name}", "arm64-sdei.md 7")
        if seen.what is What.GO_TO:
            return Rule(f"firmware sends the vCPU to {seen.a:#x}", "arm64-sdei.md 7")
        if seen.what is What.LINE and seen.b:
            return Rule(f"an interrupt is signalled to vCPU {seen.vcpu}", "arm64-sdei.md 9")
        return super().tell(moment)

    def next(self, vcpu: int) -> list[Rule]:
        state, buffer = self.pager.states[vcpu], self.buffer(vcpu)
        if buffer is not None and buffer[0] == Reason.PAGE_NOT_PRESENT:
            if self.pager.sdei is None:
                return [
                    self._interrupt(vcpu),
                    Rule("its handler tags the task with the token, clears the buffer and acknowledges", "arm64-sdei.md 14, O-10"),
                ]
            begin = self._undelivered(vcpu) if state.away_pending else []
            return [*begin, Rule("its handler tags the task with the token and clears the buffer; on its way to user mode the task sleeps",
                                 "arm64-sdei.md 6, SDEI handler")]  # fmt: skip
        if state.line:
            return [self._interrupt(vcpu), Rule("its handler clears the buffer, wakes the token's sleeper and acknowledges (IRQ_ACK)",
                                                "arm64-sdei.md 6, PPI handler")]  # fmt: skip
        return super().next(vcpu)
