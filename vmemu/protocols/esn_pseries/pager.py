# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation/Subvention Notification on the generic layer: who is told what, and when (LoPAR 2.9, "Expropriation Notification").

A page is under way for the partition, not for a CPU: whoever touches it is told the same number, and one event says that it is
back. The worker posts as soon as the page is there. What is refused here is served while the CPU waits.
"""

from __future__ import annotations

from typing import Any, ClassVar

from vmemu.core import CoreVcpu, Exit, Stage2
from vmemu.devices.base import State
from vmemu.devices.cas import CMO
from vmemu.devices.papr import H_FUNCTION, Refused
from vmemu.devices.vpa import INTERRUPTS
from vmemu.errors import StoreError
from vmemu.machine.boards.pseries import MSR_PR, Pseries
from vmemu.machine.facility import Resolution
from vmemu.machine.insight import Insight
from vmemu.machine.machine import Machine
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.work import Work
from vmemu.protocols.esn_pseries import switches
from vmemu.protocols.esn_pseries.events import INJECTED, Events
from vmemu.protocols.esn_pseries.numbers import Numbers
from vmemu.protocols.esn_pseries.signal import Signal
from vmemu.protocols.esn_pseries.sns import Post, Sns
from vmemu.protocols.esn_pseries.wire import (
    EXPROPRIATION_ENABLE,
    H_REG_SNS,
    H_REG_SNS_RFC,
    NONE,
    PROFILES,
    SOURCE,
    UNIT,
    Defect,
    Profile,
    interrupt,
)

#: Work.detail: its event has been posted, or lost; what is left is the generic layer's own.
PRESENTED = 1


class Esn(AsyncPager):
    """One partition's option. Tokens of the generic layer are correlation numbers."""

    announces_early = True
    notifications: ClassVar[dict[str, str]] = {"irq": "esn.irq", "post": "esn.post"}

    def __init__(self, machine: Machine, profile: str) -> None:
        bugs = frozenset(machine.options.bugs) if machine.options is not None else frozenset()
        known = PROFILES[profile]
        alone = {Defect[name] for switch, name in switches.ALONE.items() if switch in bugs}
        self.rules = Profile(known.name, known.defects | alone, little=switches.LITTLE_HOST in bugs)
        self.shared_gfns = not self.rules.has(Defect.B48)
        super().__init__(machine, profile)
        board = machine.board
        assert isinstance(board, Pseries)
        self.board = board
        self.bolting = machine.options is None or machine.options.bolt != "none"
        self.sns = Sns(self.rules, machine.is_ram, machine.read_guest, machine.write_guest, replace=switches.REPLACE in bugs)
        first = 0xFFFE if switches.WRAPS in bugs else 0xFFF0 if switches.LATE_NUMBERS in bugs else 1
        self.numbers = Numbers(self.rules, first=first)
        self.events = Events(self.rules)
        both = switches.ANY_OPCODE in bugs
        self._tells_unit = both or not self.rules.has(Defect.A1)
        self.signal = Signal(
            machine, board, self.rules, self.events, kicks=switches.NO_KICK not in bugs, unit=self._tells_unit
        )  # fmt: skip
        self._asked = 0  # page index that `refuse` has let pass
        self._ghost = switches.DEREGISTER_LIVE in bugs
        for token in (H_REG_SNS, H_REG_SNS_RFC):
            speaks = both or token == self.rules.token
            board.add_hcall(token, 2, self._register if speaks else self._wrong_token)
        if self._tells_unit:
            board.hypertas.append("hcall-esn")

    # ----------------------------------------------------------------- H_REG_SNS
    def _register(self, cpu: int, address: int, size: int) -> tuple[int, int]:
        """H_REG_SNS. Raises Refused; the answer is the unit address and the interrupt source."""
        if not self.rules.has(Defect.A1) and not self.board.cas.has(CMO):
            raise Refused(H_FUNCTION)
        if address == NONE:
            self._deregister()
        else:
            replaced = self.sns.replace and self.sns.area is not None
            self.sns.register(address, size)
            self.events.count["registered"] += 1
            if replaced:
                self._forget()
        return (UNIT if self._tells_unit else address), SOURCE

    def _wrong_token(self, cpu: int, address: int, size: int) -> None:
        self.events.count["wrong_token"] += 1
        raise Refused(H_FUNCTION)

    def _deregister(self) -> None:
        """What is under way ends without an event; whoever sleeps on a number is the partition's to wake."""
        if self.sns.area is None:
            return
        self.events.count["deregistered"] += 1
        if self._ghost:
            self.ledger.lost("the SNS area was taken back, and its ring's pointer kept")
            return
        self.sns.deregister()
        self._forget()

    def _forget(self) -> None:
        for work in self.works.values():
            vcpu = self.machine.vcpus[work.vcpu]
            self.forget_gfn(vcpu, work)
            if work.injected and not work.detail:
                self.ledger.took_back(vcpu, work)
                work.injected = False
        self.numbers.clear()

    # -------------------------------------------------------------------- faults
    def on_fault(self, vcpu: CoreVcpu, ex: Exit) -> Resolution:
        if self.rules.has(Defect.B48):
            ex = ex._replace(nr=ex.nr & ~Stage2.REPEATED)  # nobody looks whether the page is under way
        elif not ex.nr & Stage2.REPEATED and self.board.page_usage.discardable(ex.gpa >> 12) and self._listens(vcpu, ex) is None:
            return self._discarded(vcpu, ex)
        return super().on_fault(vcpu, ex)

    def _discarded(self, vcpu: CoreVcpu, ex: Exit) -> Resolution:
        """A page that was not worth keeping: it comes back as zeros, and the partition is told so (R1-3, R1-4)."""
        self.ledger.count["faults"] += 1
        self.machine.memory.discard(self.core.index(ex.gpa))
        if not self.machine.memory.serve(vcpu, ex.gpa):
            return Resolution.FATAL
        return Resolution.NOTIFIED if self._notify(vcpu, ex.gva, ex.access, 0, restored=False) else Resolution.RETRY

    def _listens(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        """Why this CPU must not be told of this page (R1-1); None: it may be."""
        if self.sns.area is None:
            return "no SNS area"
        if ex.nr & Stage2.ENTERING:
            return "exception entry"
        wanted = self._vpa(vcpu.id, INTERRUPTS)
        if wanted is None:
            return "no VPA"
        if not wanted & EXPROPRIATION_ENABLE:
            return "not enabled"
        if self.bolting and ex.gpa >> 12 in self._bolted():
            return "bolted"
        if self.rules.has(Defect.A9) and not vcpu.get("msr") & MSR_PR:
            return "kernel"
        return None

    def _bolted(self) -> set[int]:
        """Pages that the notification itself needs: VPAs and the SNS area. The kernel's own are pinned, and never away."""
        pages = {a.vpa[0] >> 12 for a in self.board.vpa.areas if a.vpa is not None}
        if self.sns.area is not None:
            pages.add(self.sns.area.base >> 12)
        return pages

    def _vpa(self, cpu: int, offset: int) -> int | None:
        """A byte of a CPU's VPA; None where there is none, or its page is lost."""
        try:
            found = self.board.vpa.peek(cpu, offset, 1)
        except StoreError:
            return None
        return None if found is None else found[0]

    def refuse(self, vcpu: CoreVcpu, ex: Exit) -> str | None:
        reason = self._listens(vcpu, ex)
        if reason is not None:
            return reason
        self._asked = self.core.index(ex.gpa)
        try:
            if not self.sns.room(len(self.numbers)):
                return "ring full"
            if self.numbers.of(self._asked) is not None and not self.rules.has(Defect.B48):
                return "number taken"  # another CPU's setup of the same page rests midway
            if not self.numbers.any_free(self.sns.uncleared):
                return "no number"
        except StoreError:
            return "SNS area lost"
        return None

    def _reason(self, vcpu: CoreVcpu, ex: Exit, index: int) -> str | None:
        reason = super()._reason(vcpu, ex, index)
        if reason == "queue full" and self.rules.has(Defect.B48) and self.refuse(vcpu, ex) is None:
            number = self.new_token(vcpu)  # named before it is known to be under way
            self._write_fields(vcpu, number, restored=True)
            self.numbers.give_back(number)
        return reason

    def new_token(self, vcpu: CoreVcpu) -> int:
        return self.numbers.take(self._asked, self.sns.uncleared)

    def may_tell(self, vcpu: CoreVcpu, work: Work) -> bool:
        return self.sns.area is not None and self.numbers.page_of.get(work.token) == work.index  # else taken back while the setup rested

    def not_told(self, vcpu: CoreVcpu, work: Work) -> None:
        self.numbers.give_back(work.token)

    def not_present(self, vcpu: CoreVcpu, work: Work) -> bool:
        return self._notify(vcpu, work.gva, work.access, work.token, restored=True)

    def _notify(self, vcpu: CoreVcpu, address: int, access: int, number: int, *, restored: bool) -> bool:
        """VPA first, then the interrupt. False: the VPA cannot be written."""
        if not self._write_fields(vcpu, number, restored=restored):
            return False
        image = interrupt(self.rules, address, access, vcpu.get("dar"))
        vcpu.inject_exception(image.vector, image.dsisr or 0, image.dar or 0, image.srr1, image.dsisr is not None)
        count = self.events.count
        count["notified"] += 1
        count["fetches"] += access == 2
        count["stores"] += access == 1
        count["zeros"] += number == 0
        return True

    def _write_fields(self, vcpu: CoreVcpu, number: int, *, restored: bool) -> bool:
        try:
            return self.board.vpa.poke(vcpu.id, *self.rules.vpa_fields(number, restored))
        except StoreError:
            return False

    def on_repeated(self, vcpu: CoreVcpu, ex: Exit, work: Work) -> Resolution:
        """The page is under way and has its number: this CPU is told the same one (R1-6), or it waits."""
        self.ledger.count["repeated"] += 1
        reason = self._listens(vcpu, ex)
        if reason is None and work.injected and self._notify(vcpu, ex.gva, ex.access, work.token, restored=True):
            self.events.count["again"] += 1
            return Resolution.NOTIFIED
        return self._synchronous(vcpu, ex, work.index, reason or "not told")

    def _synchronous(self, vcpu: CoreVcpu, ex: Exit, index: int, reason: str) -> Resolution:
        before = vcpu.blocked_cycles
        resolution = super()._synchronous(vcpu, ex, index, reason)
        try:
            self.board.vpa.waited(vcpu.id, self.board.ticks(vcpu.blocked_cycles) - self.board.ticks(before))
        except StoreError:
            pass  # nowhere to count it: the VPA's page is lost
        zero = switches.NUMBER_ZERO in self.bugs and resolution is Resolution.RETRY and self._listens(vcpu, ex) is None
        if zero and self._notify(vcpu, ex.gva, ex.access, 0, restored=True):
            return Resolution.NOTIFIED
        return resolution

    # ---------------------------------------------------------------- completion
    def can_dequeue(self, vcpu: CoreVcpu) -> bool:
        return True

    def announces(self, vcpu: CoreVcpu, work: Work) -> bool:
        return work.injected and self.sns.area is not None

    def announced_in_vain(self, vcpu: CoreVcpu, work: Work) -> None:
        self.numbers.give_back(work.token)
        work.detail = PRESENTED
        self.events.lose(INJECTED)

    def present(self, vcpu: CoreVcpu, work: Work) -> bool:
        """The page is back: post its number. False: nobody is to be told any more, or the event is lost."""
        if not self.announces(vcpu, work):
            return False
        self.numbers.give_back(work.token)
        work.detail = PRESENTED
        action = self.machine.memory.injector.check("esn.post", work.token)
        if action is not None and action.do.value == "drop":
            self._lost(work, INJECTED)
            return False
        told = self._post(vcpu, work, work.token)
        if action is not None:  # a duplicate
            self._post(vcpu, work, work.token)
        return told

    def _post(self, vcpu: CoreVcpu, work: Work, number: int) -> bool:
        try:
            outcome = self.sns.post(number)
        except StoreError:
            self._lost(work, "the SNS area's page is lost")
            return False
        if self._ghost and self.events.count["deregistered"]:
            self.ledger.problem(f"OWN: {work}: {outcome.value}, into an area that was taken back")
        self.events.count["posted"] += not outcome.lost
        cause = self.events.cause(number, outcome)
        if cause is not None:
            self._lost(work, cause)
        if outcome is Post.SIGNAL:
            self.signal.due(vcpu)
        return cause is None

    def _lost(self, work: Work, cause: str) -> None:
        self.events.lose(cause)
        self.ledger.lost(f"{work}: wake-up lost by {cause}")

    def wants_kick(self, vcpu: CoreVcpu, actor: str) -> bool:
        return self.signal.kicks

    def on_exit(self, vcpu: CoreVcpu) -> None:
        super().on_exit(vcpu)
        self.signal.left_guest(vcpu)

    def reset_vcpu(self, vcpu: CoreVcpu) -> None:
        """Its works go on: other CPUs may have been told the same numbers, and an event belongs to the partition."""
        while (own := self.sequencer.holder(vcpu.id)) is not None:
            self.sequencer.complete(own)

    # ------------------------------------------------------------------- reports
    def insight(self) -> Insight:
        from vmemu.protocols.esn_pseries.insight import EsnInsight

        return EsnInsight(self)

    def summary(self) -> dict[str, Any]:
        return super().summary() | {"esn": self.events.summary()}

    def _diagnosis(self) -> list[str]:
        cpus = range(len(self.machine.vcpus))
        area = self.sns.area
        page = None if area is None else self.machine.memory.peek(self.core.index(area.base))
        return self.events.diagnosis(self.sns, [self._vpa(cpu, INTERRUPTS) or 0 for cpu in cpus], page)

    def lines(self) -> list[str]:
        c = self.events.count
        first = (
            f"  notified {c['notified']} times ({c['fetches']} fetches, {c['stores']} stores, {c['again']} with a number that was known, "
            f"{c['zeros']} with number 0); posted {c['posted']} numbers with {c['signals']} interrupts"
        )
        return [*super().lines(), first, *(f"  {text}" for text in self._diagnosis())]

    def stalled(self) -> str | None:
        known = super().stalled()
        found = self._diagnosis()
        return "; ".join([known or f"async page faults ({self.profile})", *found]) if known or found else None

    def invariants(self) -> list[str]:
        """Besides the generic ones those of the option, as docs/esn.md names them."""
        wrong = super().invariants()
        if 0 in self.numbers.page_of and not self.rules.has(Defect.A5):
            wrong.append("V4: number 0 is outstanding")
        area = self.sns.area
        if area is not None and not self.rules.has(Defect.A6):
            if len(self.numbers) > area.entries:
                wrong.append(f"V6: {len(self.numbers)} events under way, for {area.entries} entries")
            if area.overflow and not self.events.lost:
                wrong.append("V6: the ring overflowed, and nothing was lost")
        if self.events.count["signals"] > self.events.count["posted"]:
            wrong.append("V8: more interrupts than events")
        return wrong

    # --------------------------------------------------------------------- state
    def save(self) -> State:
        own = {"sns": self.sns.save(), "numbers": self.numbers.save(), "events": self.events.save(), "signal": self.signal.save()}
        return super().save() | own

    def load(self, state: State) -> None:
        super().load(state)
        self.sns.load(state["sns"])
        self.numbers.load(state["numbers"])
        self.events.load(state["events"])
        self.signal.load(state["signal"])
