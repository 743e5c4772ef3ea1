# SPDX-License-Identifier: GPL-2.0-or-later
"""What Expropriation/Subvention Notification tells people: VPA fields, the SNS ring, and where a wake-up is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core.observe import What
from vmemu.devices.vpa import DISPATCH_COUNT, FAULT_COUNT, FAULT_WAIT, INTERRUPTS
from vmemu.isa.base import Format, bit
from vmemu.machine.boards.pseries import MSR_EE, MSR_PR
from vmemu.machine.insight import Area, Rule
from vmemu.protocols.async_page.insight import PagerInsight
from vmemu.protocols.async_page.work import Work
from vmemu.protocols.esn_pseries.wire import (
    CONTROL,
    ENTRY,
    H_REG_SNS,
    H_REG_SNS_RFC,
    ISI,
    RING,
    SOURCE,
    STATE,
    UNIT,
    VPA_FLAGS,
    Defect,
)

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.esn_pseries.pager import Esn

WANTED = Format("interrupts", (bit("EXPROPRIATION", 1), bit("DONATE", 0)), "ppc-esn.md 2, byte b9")
FAULTS, POSTS = "ppc-esn.md 4", "ppc-esn.md 5"
REASONS = {
    "no SNS area": Rule("no SNS area is registered", f"{FAULTS}, 1"),
    "no VPA": Rule("the CPU has no VPA", f"{FAULTS}, 1"),
    "not enabled": Rule("bit 6 of byte 0xb9 of the CPU's VPA is off", f"{FAULTS}, 1"),
    "bolted": Rule("the page is bolted: it holds a VPA or the SNS area", f"{FAULTS}, 1"),
    "kernel": Rule("the CPU was in its kernel, and the RFC tells of user mode's faults only", "ppc-esn.md 8, A9"),
    "ring full": Rule("entries in use and events under way would be more than the ring holds", f"{FAULTS}, 2"),
    "number taken": Rule("another CPU's setup of the same page rests midway", f"{FAULTS}, 6"),
    "no number": Rule("all numbers are outstanding, or not cleared in the ring", f"{FAULTS}, 5"),
    "SNS area lost": Rule("the page of the SNS area is lost"),
    "not told": Rule("the page is under way, and its first toucher was not told either", f"{FAULTS}, 6"),
}  # fmt: skip


class EsnInsight(PagerInsight):
    """Profiles papr and rfc."""

    def __init__(self, pager: Esn) -> None:
        super().__init__(pager)
        self.esn = pager

    def reason(self, name: str) -> Rule:
        return REASONS.get(name) or super().reason(name)

    # --------------------------------------------------------------------- areas
    def areas(self, vcpu: int) -> list[Area]:
        return self._ring() if vcpu < 0 else self._vpa(vcpu)

    def _vpa(self, cpu: int) -> list[Area]:
        areas, rules = self.esn.board.vpa.areas[cpu], self.esn.rules
        area = Area(f"vCPU {cpu}: virtual processor area", section="ppc-esn.md 2")
        data = None if areas.vpa is None else self.peek(*areas.vpa)
        if areas.vpa is None or data is None:
            area.add(
                "VPA", "-" if areas.vpa is None else f"{areas.vpa[0]:#x}", "not registered" if areas.vpa is None else "its page is lost"
            )
            return [area]

        def number(offset: int, size: int) -> int:
            return int.from_bytes(data[offset : offset + size], "big")

        area.add("VPA", areas.vpa[0], f"guest-physical address, {areas.vpa[1]} bytes")
        area.bits(WANTED, number(INTERRUPTS, 1), "interrupts (b9)")
        area.add(
            "correlation number", number(rules.number_offset, 2), f"at {rules.number_offset:#x}: of the page that this CPU was told of last"
        )
        if not rules.has(Defect.A4):
            area.add(
                "expropriation flags", number(VPA_FLAGS, 1), "its data will be restored" if data[VPA_FLAGS] & 1 else "its data is zero"
            )
        area.add("dispatch count", number(DISPATCH_COUNT, 4), "odd: not dispatched" if data[DISPATCH_COUNT + 3] & 1 else "even: it runs")
        area.add("waited for pages", str(number(FAULT_COUNT, 8)), f"times, {number(FAULT_WAIT, 8)} ticks of the time base")
        return [area]

    def _ring(self) -> list[Area]:
        sns, rules = self.esn.sns, self.esn.rules
        area = Area(f"subvention notification structure ({rules.name})", section="ppc-esn.md 3")
        data = None if sns.area is None else self.peek(sns.area.base, sns.area.size)
        if sns.area is None or data is None:
            area.add(
                "SNS area", "-" if sns.area is None else f"{sns.area.base:#x}", "not registered" if sns.area is None else "its page is lost"
            )
            return [area]
        a = sns.area
        area.add("SNS area", a.base, f"guest-physical address, {a.size} bytes: {a.entries} entries")
        area.add("trigger (byte 0)", data[CONTROL], self._armed(data[CONTROL]).text)
        area.add("state (byte 1)", data[STATE], "overflow" if data[STATE] & rules.mask else "operational")
        area.add("next entry", str(a.fill), "where the platform posts next")
        order = "little" if rules.entry(1) == b"\1\0" else "big"
        for i in range(a.entries):
            at = RING + ENTRY * i
            value = int.from_bytes(data[at : at + ENTRY], "little" if order == "little" else "big")
            if value:
                area.add(f"entry {i}", value, "posted by the platform, not cleared" if a.held.get(i) == value else "not cleared")
        area.add("outstanding", str(len(self.esn.numbers)), " ".join(f"{n:#x}" for n in sorted(self.esn.numbers.page_of)[:12]))
        interrupt = self._interrupt()
        area.add(f"interrupt {SOURCE:#x}", "on" if self._switched_on() else "off", interrupt.text)
        return [area]

    def _switched_on(self) -> bool:
        return self.esn.rules.has(Defect.A1) or self.esn.board.vio.enabled(UNIT)

    def _armed(self, control: int) -> Rule:
        sns = self.esn.sns
        assert sns.area is not None
        if self.esn.rules.has(Defect.A3):
            on = control == self.esn.rules.mask
            return Rule("each event interrupts" if on else "not 0x01: each event is dropped", "ppc-esn.md 8, A3 and A7")
        if sns.area.overflow:
            return Rule("the ring has overflowed: events are dropped until it is registered anew", f"{POSTS}, 2")
        if sns.area.toggle != int(bool(control & self.esn.rules.mask)):
            return Rule("armed: the next event interrupts", f"{POSTS}, 5")
        return Rule("not armed: the guest has not moved the trigger since the last interrupt, so events do not interrupt", f"{POSTS}, 5")

    def _interrupt(self) -> Rule:
        """Where the subvention interrupt is."""
        xics = self.esn.board.xics
        source = xics.sources[SOURCE]
        cpu = self.machine.vcpus[source.server]
        if self.esn.signal.requests:
            return Rule(f"due when vCPU {self.esn.signal.requests[0]} leaves its guest by itself", "ppc-esn.md 8, A23")
        if not self._switched_on():
            return Rule("switched off by H_VIO_SIGNAL", "ppc-esn.md 11, O-6")
        if source.in_service:
            again = ", and pending once more" if source.pending else ""
            return Rule(f"in service on vCPU {source.server}: the guest has not ended it (H_EOI){again}", "ppc-esn.md 6, XICS facts")
        if not source.pending:
            return Rule("neither pending nor in service", "ppc-esn.md 6, XICS facts")
        if source.priority >= xics.presenters[source.server].cppr:
            return Rule(f"pending, and masked by priority: {source.priority:#x}, CPPR of vCPU {source.server} is "
                        f"{xics.presenters[source.server].cppr:#x}", "ppc-esn.md 6, XICS facts")  # fmt: skip
        if not cpu.get("msr") & MSR_EE and not cpu.halted:
            return Rule(f"pending: vCPU {source.server} has interrupts masked (MSR[EE])", "ppc-esn.md 6, XICS facts")
        return Rule(f"pending: vCPU {source.server} takes it before its next instruction", "ppc-esn.md 6, XICS facts")

    # ----------------------------------------------------------------------- why
    def away(self, work: Work) -> list[Rule]:
        vcpu = self.machine.vcpus[work.vcpu]
        if vcpu.event_pending:
            return [Rule(f"vCPU {vcpu.id} is told before its next instruction: number {work.token:#x} is in its VPA", f"{FAULTS}, 7 and 8")]
        return [Rule("the partition was told: whoever touched the page sleeps on its number, or is on the way there", "ppc-esn.md 6")]

    def entry(self, number: int) -> int | None:
        """Which entry of the ring shows this number."""
        area = self.esn.sns.area
        data = None if area is None or not number else self.peek(area.base, area.size)
        if area is None or data is None:
            return None
        wanted = self.esn.rules.entry(number)
        return next((i for i in range(area.entries) if data[RING + ENTRY * i :][:ENTRY] == wanted), None)

    def announced(self, number: int) -> bool:
        return self.entry(number) is not None

    def gone(self, number: int) -> list[Rule]:
        sns, rules, place = self.esn.sns, [], self.entry(number)
        data = None if sns.area is None else self.peek(sns.area.base, RING)
        if place is not None and data is not None:
            interrupt = self._interrupt()
            rules.append(Rule(f"posted: entry {place} of the ring, which the guest has not cleared", f"{POSTS}, 3"))
            rules += [self._armed(data[CONTROL]), Rule(f"the subvention interrupt is {interrupt.text}", interrupt.section)]
        return rules + super().gone(number)

    # -------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        sns = self.esn.sns
        if seen.what is What.HOST_WRITE:
            for cpu, areas in enumerate(self.esn.board.vpa.areas):
                if areas.vpa is not None and seen.a in (areas.vpa[0] + VPA_FLAGS, areas.vpa[0] + self.esn.rules.number_offset):
                    number = int.from_bytes(seen.data[-2:], "big")
                    return Rule(f"the platform writes correlation number {number:#x} to the VPA of vCPU {cpu}", "ppc-esn.md 2")
            if sns.area is not None and sns.area.base <= seen.a < sns.area.base + sns.area.size:
                at = seen.a - sns.area.base
                if at >= RING:
                    number = int.from_bytes(seen.data, "big")
                    return Rule(f"the platform posts number {number:#x} to entry {(at - RING) // ENTRY} of the ring", f"{POSTS}, 3")
                return Rule("the platform says that the ring has overflowed", f"{POSTS}, 3")
        if seen.what is What.EXCEPTION and seen.a in (0x300, ISI):
            name = "instruction" if seen.a == ISI else "data"
            return Rule(
                f"the platform injects an expropriation notification: {name} storage interrupt {seen.a:#x}, SRR1 bit 46",
                f"{FAULTS}, 7 and 8",
            )
        if seen.what is What.HCALL:
            token = moment.arguments[0]
            if token in (H_REG_SNS, H_REG_SNS_RFC):
                return Rule(f"the guest calls H_REG_SNS ({token:#x})", "ppc-esn.md 3")
        return super().tell(moment)

    def next(self, vcpu: int) -> list[Rule]:
        target = self.machine.vcpus[vcpu]
        if target.event_pending and target.get("msr") & MSR_PR:
            return [Rule("the guest's handler sees SRR1 bit 46, reads the number from its VPA, and puts the task to sleep on it",
                         "ppc-esn.md 6")]  # fmt: skip
        source = self.esn.board.xics.sources[SOURCE]
        if source.server == vcpu and (source.pending or source.in_service):
            interrupt = self._interrupt()
            return [Rule(f"the subvention interrupt is {interrupt.text}", interrupt.section),
                    Rule("its handler takes numbers from the ring, wakes their sleepers, moves the trigger and looks again",
                         "ppc-esn.md 6, subvention interrupt")]  # fmt: skip
        return super().next(vcpu)
