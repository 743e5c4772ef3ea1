# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI on a machine, compared: answers of calls, where handlers begin and with what, what COMPLETE brings back (CALL, I-10, I-11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vmemu.core import CoreVcpu
from vmemu.core.observe import Seen
from vmemu.lab.models.base import Model
from vmemu.lab.models.ledger import SOON_NS
from vmemu.lab.models.sdei_calls import BASE, COMPLETE, KEPT, LAST, RESUME, SdeiCalls

REGISTERS = tuple(f"x{i}" for i in range(KEPT))
#: PSTATE at EL1 with SP_EL1, D, A, I and F set; bits 9:0.
EL1H_MASKED, LOW_BITS = 0x3C5, 0x3FF
NZCV = 15 << 28
ALL_64 = (1 << 64) - 1


class SdeiClient:
    """Part of a model, whose violations these are."""

    def __init__(self, model: Model, events: dict[int, bool]) -> None:
        self._model = model
        self._vcpus = model.machine.vcpus
        self.calls = SdeiCalls(len(self._vcpus), events)
        #: Told (event, PE) when a handler begins, and before one completes.
        self.on_delivered: Callable[[int, int], None] = lambda event, pe: None
        self.on_completing: Callable[[int, int], None] = lambda event, pe: None
        self._asked: dict[int, tuple[int, list[int], int | None]] = {}  # vCPU -> call, registers before, x0 that must come
        self._gone_to: dict[int, tuple[int, int]] = {}  # vCPU -> PC and PSTATE that a call has ended in
        self._before: dict[int, tuple[int, ...]] = {}  # vCPU -> registers when an event began to wait

    def _wrong(self, invariant: str, text: str, vcpu: int) -> None:
        self._model.wrong(invariant, text, vcpu=vcpu)

    # -------------------------------------------------------------------- calls
    def begins(self, vcpu: CoreVcpu, function: int) -> bool:
        """A call comes; False: it is not SDEI's."""
        if not BASE <= function <= LAST:
            return False
        before = [vcpu.get(name) for name in REGISTERS]
        contexts = self.calls.pes[vcpu.id].contexts
        if function in (COMPLETE, RESUME) and contexts:
            self.on_completing(contexts[-1][0], vcpu.id)
        expected = self.calls.call(vcpu.id, function, before[1:8], self._model.machine.now())
        self._asked[vcpu.id] = function, before, expected
        return True

    def ends(self, vcpu: CoreVcpu) -> bool:
        """A call is over; False: it was not SDEI's."""
        asked = self._asked.pop(vcpu.id, None)
        if asked is None:
            return False
        function, before, expected = asked
        after = [vcpu.get(name) for name in REGISTERS]
        if function in (COMPLETE, RESUME) and self.calls.pes[vcpu.id].contexts and expected is None:
            self._completed(vcpu, after, None if function == COMPLETE else before[1])
            return True
        if expected is not None and after[0] != expected & ALL_64:
            self._wrong("CALL", f"SDEI call {function:#x} answers {after[0]:#x}, and must answer {expected}", vcpu.id)
        if after[4:] != before[4:]:
            self._wrong("I-13", f"SDEI call {function:#x} changes registers above x3", vcpu.id)
        return True

    def _completed(self, vcpu: CoreVcpu, after: list[int], resume: int | None) -> None:
        event, context = self.calls.completed(vcpu.id)
        gone_to = self._gone_to.pop(vcpu.id, None)
        if gone_to is None:
            self._wrong("I-10", f"the handler of event {event:#x} completes, and the vCPU stays where it is", vcpu.id)
            return
        wrong = [name for name, was, now in zip(REGISTERS, context, after) if was is not None and was != now]
        if wrong:
            self._wrong("I-10", f"the handler of event {event:#x} completes, and {' '.join(wrong)} are not what they were", vcpu.id)
        pc, pstate = context[KEPT:]
        if resume is None:
            if gone_to != (pc, pstate):
                self._wrong("I-10", f"event {event:#x} returns to {gone_to[0]:#x}, and had interrupted {pc:#x}", vcpu.id)
        elif gone_to[0] != resume or gone_to[1] & LOW_BITS != EL1H_MASKED:
            self._wrong("I-10", f"event {event:#x} resumes at {gone_to[0]:#x} in state {gone_to[1]:#x}, not at {resume:#x}", vcpu.id)
        elif (vcpu.get("elr_el1"), vcpu.get("spsr_el1")) != (pc, pstate):
            self._wrong("I-10", f"event {event:#x} resumes, and ELR_EL1 or SPSR_EL1 do not lead back", vcpu.id)

    # ----------------------------------------------------------------- delivery
    def go_to(self, seen: Seen) -> None:
        """Firmware sends the vCPU elsewhere: back, at the end of a call; or to a handler."""
        if seen.vcpu in self._asked:
            self._gone_to[seen.vcpu] = seen.a, seen.b
            return
        vcpu, pe = self._vcpus[seen.vcpu], self.calls.pes[seen.vcpu]
        now = [vcpu.get(name) for name in REGISTERS]
        event, due = now[0], self.calls.due(seen.vcpu)
        if event not in self.calls.events:
            self._wrong("I-11", f"a handler begins with x0 = {event:#x}, which is no event", seen.vcpu)
            return
        handler = self.calls.handlers[seen.vcpu][event]
        if event not in due[:1]:
            why = "masked" if pe.masked else f"in state {handler.state}, {len(pe.contexts)} running, signalled: {handler.since >= 0}"
            self._wrong("I-11", f"the handler of event {event:#x} begins, and the PE is {why}", seen.vcpu)
        if (seen.a, now[1]) != (handler.entry, handler.arg) or seen.b & LOW_BITS != EL1H_MASKED:
            self._wrong("I-10", f"event {event:#x} begins at {seen.a:#x} with {now[1]:#x} in state {seen.b:#x}", seen.vcpu)
        before = self._before.pop(seen.vcpu, None)
        context: tuple[int | None, ...] = (None,) * 4 + tuple(now[4:]) + (now[2], now[3])
        if before is not None:
            if now[4:] != list(before[4:KEPT]):
                self._wrong("I-10", f"event {event:#x} begins with other values in x4 to x17 than it has interrupted", seen.vcpu)
            if (now[2], now[3]) != before[KEPT:]:
                self._wrong("I-10", f"event {event:#x} says that it interrupts {now[2]:#x}, which is {before[KEPT]:#x}", seen.vcpu)
            context = before
        self.calls.delivered(event, seen.vcpu, context)
        self.on_delivered(event, seen.vcpu)

    def check(self, now: int) -> None:
        """Look at what the next delivery will interrupt, and whether one is late."""
        for vcpu in self._vcpus:
            pe = vcpu.id
            if not self.calls.waits(pe):
                self._before.pop(pe, None)
                continue
            due = self.calls.due(pe)
            if not due or vcpu.event_pending or not vcpu.settled:
                self._before.pop(pe, None)
            else:
                self._before[pe] = (*(vcpu.get(name) for name in REGISTERS), vcpu.pc, vcpu.get("pstate"))
            if due and vcpu.online and not vcpu.held and now > self.calls.handlers[pe][due[0]].since + SOON_NS:
                self._wrong("LIVE", f"event {due[0]:#x} could be delivered, and is not", pe)

    # -------------------------------------------------------------------- state
    def state(self, vcpu: int) -> tuple[int, ...]:
        """For coverage: mask, depth, and each handler's state with whether a signal waits."""
        pe = self.calls.pes[vcpu]
        return (int(pe.masked), len(pe.contexts), *(h.state | (h.since >= 0) << 3 for h in self.calls.handlers[vcpu].values()))

    def save(self) -> Any:
        return self.calls.save(), dict(self._before)

    def load(self, state: Any) -> None:
        self.calls.load(state[0])
        self._before = dict(state[1])
        self._asked.clear()
        self._gone_to.clear()
