# SPDX-License-Identifier: GPL-2.0-or-later
"""What the generic layer of asynchronous page faults tells people: page-ins under way, and what each of them waits for.

A protocol adds a subclass: what keeps a completion from being announced (`blocked`), what a told guest does (`away`), where an
announcement is that the guest has not taken yet (`gone`), and its areas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core.observe import Fate, What
from vmemu.machine.insight import ACCESSES, Flight, Insight, Rule
from vmemu.protocols.async_page.mishaps import READY_LATE
from vmemu.protocols.async_page.work import BROADCAST, Mishap, Work

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.async_page.pager import AsyncPager

STEPS = "docs/async-page-faults.md, Choices between the steps"
LAYER = "x86-apf.md 4"

#: Reasons of the generic layer for serving a fault synchronously.
REASONS = {
    "failed before": Rule("the store could not give this page back; the next touch ends in the architecture's memory error",
                          "docs/async-page-faults.md, When the host does not try"),
    "exception entry": Rule("the page is needed to enter an exception: the guest cannot be told in the middle of that", "x86-apf.md 8"),
    "repeated": Rule("the page came, and was evicted again before the guest heard of it; or its gfn is in the table and no work is", LAYER),
    "queue full": Rule("64 works of this vCPU are under way or done (ASYNC_PF_PER_VCPU)", "x86-apf.md 1"),
}  # fmt: skip


class PagerInsight(Insight):
    """Of an AsyncPager."""

    def __init__(self, pager: AsyncPager) -> None:
        super().__init__(pager.machine)
        self.base = pager

    # ------------------------------------------------------------------- flights
    def flights(self) -> list[Flight]:
        return [self.flight(work) for work in sorted(self.base.works.values(), key=lambda w: (w.born, w.id))]

    def flight(self, work: Work) -> Flight:
        name = "wake-all" if work.wake_all else f"token {work.token:#x}" + " once more" * (work.mishap == Mishap.AGAIN)
        told = "-" if work.wake_all else "told" if work.injected else "not told"
        gva, gpa = (None, None) if work.wake_all else (work.gva, work.gpa)
        access = "" if work.wake_all else ACCESSES[work.access]
        return Flight(f"w{work.id}", name, work.token, work.vcpu, gva, gpa, access, work.born, work.deadline, self._state(work), told)

    def _state(self, work: Work) -> str:
        if work.mishap == Mishap.LATE:
            return "announcement late"
        if work.done:
            return (
                f"done, place {self.base.done[work.vcpu].index(work.id) + 1}" if work.id in self.base.done[work.vcpu] else "being announced"
            )
        if work.fetched:
            return "lost" if work.broken else "page there"
        return "I/O" if work.scheduled else "being set up"

    def refused(self) -> dict[str, int]:
        return dict(sorted(self.base.ledger.sync.items()))

    def reason(self, name: str) -> Rule:
        return REASONS.get(name, Rule(name))

    # ----------------------------------------------------------------------- why
    def why(self, flight: Flight) -> list[Rule]:
        work = self.base.works.get(int(flight.subject[1:]))
        if work is None:
            return []
        rules = self._interrupted(work)
        if work.mishap == Mishap.LATE:
            rules.append(self._late(work))
        elif not work.fetched and work.scheduled:
            rules.append(Rule(f"the store's I/O ends {self.later(work.deadline)}", f"{LAYER}, worker"))
        elif work.done and work.id in self.base.done[work.vcpu]:
            rules += self._waiting(work)
        if not work.done and not work.wake_all:
            rules += self.away(work) if work.injected else self.halted(work)
        return rules

    def _late(self, work: Work) -> Rule:
        event = self.machine.queue.find(READY_LATE, work.id)
        when = "" if event is None else f" {self.later(event.deadline)}"
        return Rule(f"its announcement was delayed by hand, and goes on{when}", "docs/debugger-sessions.md, Interventions")

    def _interrupted(self, work: Work) -> list[Rule]:
        """Sequences of steps that rest midway."""
        found = []
        for s in self.base.sequencer.resting.values():
            if s.work == work.id:
                whose = f"vCPU {s.vcpu}'s own thread" if s.holds >= 0 else "its worker"
                found.append(Rule(f"{whose} is interrupted before the step {s.left[0]!r} of {s.kind}: others run meanwhile", STEPS))
            elif s.holds == work.vcpu and work.done:
                found.append(Rule(f"vCPU {s.vcpu}'s own thread is amid {s.kind} of work {s.work}, and looks at the list after that", STEPS))
        return found

    def _waiting(self, work: Work) -> list[Rule]:
        """It is in the list of completions."""
        pager, vcpu = self.base, self.machine.vcpus[work.vcpu]
        place = pager.done[work.vcpu].index(work.id)
        first = pager.works[pager.done[work.vcpu][0]]
        rules = self.blocked(work.vcpu)
        if place and first.mishap == Mishap.LATE:
            rules.append(
                Rule(f"first in the list is {self.flight(first).name}, whose announcement was delayed by hand", "docs/debugger-sessions.md")
            )
        if place:
            rules.append(Rule(f"{place} completions of vCPU {vcpu.id} are before it: they are announced in the order of completion", LAYER))
        if not rules:
            asked = pager.words.read(pager.names[vcpu.id].actor, pager.names[vcpu.id].request)
            text = (
                "its attention was asked for"
                if asked
                else "nobody has asked for its attention: the kick is lost, or comes with the next exit"
            )
            rules.append(Rule(f"vCPU {vcpu.id} announces it when it leaves its guest next; {text}", f"{LAYER}, completion loop"))
            if not vcpu.online:
                rules.append(Rule(f"vCPU {vcpu.id} is offline"))
        return rules

    def halted(self, work: Work) -> list[Rule]:
        """A guest that was not told."""
        vcpu = self.machine.vcpus[work.vcpu]
        if vcpu.host_halted:
            return [Rule(f"the guest was not told: vCPU {vcpu.id} waits in the host until anything of its is done, or an interrupt comes",
                         "x86-apf.md 5, APF_HALT")]  # fmt: skip
        return [Rule(f"the guest was not told, and vCPU {vcpu.id} runs since an interrupt came: it halts when it touches the page again",
                     "x86-apf.md 5, APF_HALT")]  # fmt: skip

    # ------------------------------------------------------- what a protocol adds
    def blocked(self, vcpu: int) -> list[Rule]:
        """Why the next completion of a vCPU cannot be announced; empty when it can."""
        return []

    def away(self, work: Work) -> list[Rule]:
        """Where the notification is of a page whose guest was told."""
        return []

    def next(self, vcpu: int) -> list[Rule]:
        target = self.machine.vcpus[vcpu]
        if not target.online:
            return [Rule(f"vCPU {vcpu} is offline")]
        if target.host_halted:
            return [Rule(f"vCPU {vcpu} waits in the host: for a page of its, or an interrupt", "x86-apf.md 5, APF_HALT")]
        if target.halted:
            return [Rule(f"vCPU {vcpu} has nothing to do and waits for an interrupt")]
        return []

    # ---------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        if seen.what is What.FAULT_DONE:
            name = self._named(moment)
            return {
                Fate.RETRY: Rule("the host has made the page present while the vCPU waited: the instruction runs again", LAYER),
                Fate.NOTIFIED: Rule(f"the host fetches the page{name} in the background, and has told the guest", f"{LAYER}, setup"),
                Fate.HALT: Rule(
                    f"the host fetches the page{name} in the background; the guest is not told, and its vCPU waits", f"{LAYER}, setup"
                ),
                Fate.FATAL: Rule("the store cannot give the page back: the guest gets its architecture's memory error"),
            }[Fate(seen.c)]
        return None

    def _named(self, moment: Moment) -> str:
        """What the page of a fault was called when it was served."""
        for note in reversed(self.machine.history.notes if self.machine.history is not None else ()):
            if note[:2] < moment[:2]:
                break
            if note[:2] == moment[:2] and note.vcpu == moment.seen.vcpu and note.kind in ("begun", "repeated") and note.number:
                return f" as token {note.number:#x}"
        return ""

    def losses(self, number: int) -> list[Rule]:
        """What an injection or a known bug has taken away of that number."""
        what = "wake-all" if number == BROADCAST else f"token {number:#x}"
        return [Rule(text) for text in self.base.ledger.losses if text.startswith((what + " ", what + ":"))]

    def gone(self, number: int) -> list[Rule]:
        rules = self.losses(number)
        if number in self.base.ledger.away:
            rules.append(Rule(f"token {number:#x} was told away and never announced as back: whoever sleeps on it sleeps for ever"))
        return rules
