# SPDX-License-Identifier: GPL-2.0-or-later
"""What KVM's protocol on x86 tells people: the shared area, its registers, and what keeps a ready event back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core.observe import Seen, What
from vmemu.isa.base import Format, bit
from vmemu.machine.boards.pc_apic import GLOBAL_ENABLE
from vmemu.machine.insight import Area, Rule
from vmemu.protocols.async_page.insight import PagerInsight
from vmemu.protocols.async_page.work import BROADCAST, Work
from vmemu.protocols.kvm_x86.abi import (
    AREA,
    AREA_BYTES,
    FLAGS,
    HFLAGS_SHADOW,
    MSR_ACK,
    MSR_EN,
    MSR_INT,
    NOT_PRESENT,
    PF_VECTOR,
    READY_2010,
    RFLAGS_IF,
    TOKEN,
)

if TYPE_CHECKING:
    from vmemu.machine.history import Moment
    from vmemu.protocols.kvm_x86.host import KvmX86

EN = Format("KVM_ASYNC_PF_EN", (
    bit("ENABLED", 0), bit("SEND_ALWAYS", 1), bit("DELIVERY_AS_PF_VMEXIT", 2), bit("DELIVERY_AS_INT", 3),
), "x86-apf.md 1")  # fmt: skip
REASONS = {
    "interrupts off": Rule("RFLAGS.IF is clear, or STI or MOV SS was the last instruction: an interrupt could not be injected either",
                           "x86-apf.md 5, row 3"),
    "wake-all waits": Rule("a wake-all is not announced yet: it would wake this token's sleeper too",
                           "docs/async-page-faults.md, Where we differ from KVM"),
}  # fmt: skip
READY = "x86-apf.md 6"


class KvmInsight(PagerInsight):
    """Both profiles."""

    def __init__(self, host: KvmX86) -> None:
        super().__init__(host)
        self.host = host

    def reason(self, name: str) -> Rule:
        return REASONS.get(name) or super().reason(name)

    # ---------------------------------------------------------------------- area
    def words(self, cpu: int) -> tuple[int, int] | None:
        """(flags, token) of a vCPU's area; None: it has none, or its page is lost."""
        data = self.peek(self.host.en[cpu] & AREA, AREA_BYTES) if self.host.on[cpu] else None
        if data is None:
            return None
        return int.from_bytes(data[FLAGS : FLAGS + 4], "little"), int.from_bytes(data[TOKEN : TOKEN + 4], "little")

    def areas(self, vcpu: int) -> list[Area]:
        if vcpu < 0:
            return []
        host = self.host
        area = Area(f"vCPU {vcpu}: KVM asynchronous page faults ({host.profile})", section="x86-apf.md 1")
        area.bits(EN, host.en[vcpu])
        words = self.words(vcpu)
        if words is None:
            area.add("area", f"{host.en[vcpu] & AREA:#x}", "off" if not host.on[vcpu] else "its page is lost")
            return [area]
        flags, token = words
        kinds = {0: "nothing told that the guest has not seen", NOT_PRESENT: "not present: the guest has not looked yet"}
        if host.legacy:
            kinds[READY_2010] = "ready: the guest has not looked yet"
        area.add("area", host.en[vcpu] & AREA, "guest-physical address")
        area.add("flags" if not host.legacy else "reason", flags, kinds.get(flags, "no value of the protocol's"))
        if not host.legacy:
            area.add("token", token, self._slot(token))
            pending = self.pending(vcpu)
            area.add(
                "pageready_pending",
                str(int(pending)),
                "the last ready event is not acknowledged" if pending else "no ready event is owed an ACK",
            )
            area.add("KVM_ASYNC_PF_INT", host.vector[vcpu], f"vector; {self._interrupt(vcpu).text}" if pending else "vector")
        area.add("done", str(len(host.done[vcpu])), "completions that wait to be announced")
        return [area]

    def _slot(self, token: int) -> str:
        if not token:
            return "free"
        return "wake-all: every sleeper of this vCPU" if token == BROADCAST else "ready, and not cleared by the guest"

    def pending(self, cpu: int) -> bool:
        return bool(self.host.words.read(self.host.names[cpu].actor, self.host.names[cpu].pending))

    def _interrupt(self, cpu: int) -> Rule:
        """Where the interrupt of a ready event is."""
        host, vcpu, apic = self.host, self.machine.vcpus[cpu], self.host.apics.lapics[cpu]
        vector = host.vector[cpu]
        if not host.apics.bases[cpu] & GLOBAL_ENABLE or not apic.enabled:
            return Rule("the local APIC is off and takes no interrupt", "SDM 3, 10.4.7.2")
        if apic.irr >> vector & 1:
            if vector & 0xF0 <= apic.ppr & 0xF0:
                return Rule(f"its interrupt waits in the IRR behind processor priority {apic.ppr:#x}", "SDM 3, 10.8.3.1")
            if not vcpu.get("rflags") & RFLAGS_IF:
                return Rule("its interrupt waits in the IRR: interrupts are masked (RFLAGS.IF)", "SDM 3, 6.8.1")
            return Rule("its interrupt is delivered before the next instruction", "SDM 3, 10.8")
        if apic.isr >> vector & 1:
            return Rule("its handler runs: the interrupt is in service", "SDM 3, 10.8.4")
        return Rule("its interrupt is neither pending nor in service: the guest has begun to handle it, or it is lost", "SDM 3, 10.8.4")

    # ----------------------------------------------------------------------- why
    def blocked(self, vcpu: int) -> list[Rule]:
        host, target = self.host, self.machine.vcpus[vcpu]
        if not host.on[vcpu]:
            return []
        if host.legacy:
            if target.event_pending:
                return [Rule("a ready event waits: another exception or interrupt is to be entered first", "x86-apf.md 6, legacy")]
            if not target.get("rflags") & RFLAGS_IF or target.get("hflags") & HFLAGS_SHADOW:
                return [Rule("a ready event waits: it is a #PF and needs interrupts enabled, and nobody looks when they become so",
                             "x86-apf.md 6, legacy")]  # fmt: skip
            return []
        if not host.apics.bases[vcpu] & GLOBAL_ENABLE:
            return [Rule(f"ready event waits: the local APIC of vCPU {vcpu} is off (IA32_APIC_BASE bit 11)", f"{READY}, can_dequeue")]
        if not host.apics.lapics[vcpu].enabled:
            return [Rule(f"ready event waits: the local APIC of vCPU {vcpu} is disabled by software (SVR bit 8)", f"{READY}, can_dequeue")]
        words, slot = self.words(vcpu), f"ready event waits: the slot of vCPU {vcpu} holds"
        if words is None:
            return [Rule("ready event waits: the shared area's page is lost")]
        if words[1]:
            also = " and acknowledged (MSR KVM_ASYNC_PF_ACK)" if self.pending(vcpu) else ""
            what = "the wake-all" if words[1] == BROADCAST else f"token {words[1]:#x}"
            return [Rule(f"{slot} {what}, which the guest has not cleared{also}", f"{READY}, can_dequeue"),
                    self._interrupt(vcpu)]  # fmt: skip
        if self.pending(vcpu) and not host.words.read(host.names[vcpu].actor, host.names[vcpu].request):
            return [
                Rule(
                    "ready event waits: the slot is free, and the host looks at the guest's ACK (MSR KVM_ASYNC_PF_ACK)", "x86-apf.md 2, ACK"
                )
            ]
        return []

    def away(self, work: Work) -> list[Rule]:
        vcpu, words = self.machine.vcpus[work.vcpu], self.words(work.vcpu)
        if words is not None and words[0] == NOT_PRESENT and vcpu.event_pending:
            return [Rule(f"the guest is told before its next instruction: #PF with CR2 = {work.token:#x}", "x86-apf.md 5")]
        if words is not None and words[0] == NOT_PRESENT:
            return [Rule("the guest's #PF handler has begun, and has not read the flags yet", "x86-apf.md 3, not-present entry")]
        return [Rule("the guest was told: a task of its sleeps on the token, or is on its way there", "x86-apf.md 3")]

    def gone(self, number: int) -> list[Rule]:
        rules = []
        for cpu in range(len(self.machine.vcpus)):
            words = self.words(cpu)
            if number and words is not None and words[1] == number and not self.host.legacy:
                rules.append(Rule(f"announced: the slot of vCPU {cpu} holds it until the guest clears that", "x86-apf.md 3, ready entry"))
                rules.append(self._interrupt(cpu))
        return rules + super().gone(number)

    def announced(self, number: int) -> bool:
        found = [self.words(cpu) for cpu in range(len(self.machine.vcpus))]
        return not self.host.legacy and any(words is not None and words[1] == number for words in found)

    # ------------------------------------------------------------- observations
    def tell(self, moment: Moment) -> Rule | None:
        seen = moment.seen
        host, cpu = self.host, seen.vcpu
        if seen.what is What.REG_WRITE_DONE and seen.a in (MSR_EN, MSR_INT, MSR_ACK):
            if seen.c:
                return Rule(f"the host refuses the MSR write of {seen.b:#x}: #GP, and nothing has changed", "x86-apf.md 2")
            if seen.a == MSR_EN:
                state = "on: a wake-all is queued" if host.on[cpu] else "off: what was under way is thrown away"
                return Rule(f"the guest writes KVM_ASYNC_PF_EN = {EN.show(seen.b)}: {state}", "x86-apf.md 2, EN")
            if seen.a == MSR_INT:
                return Rule(f"the guest chooses vector {seen.b:#x} for ready events (KVM_ASYNC_PF_INT)", "x86-apf.md 2, INT")
            return Rule(
                "the guest acknowledges a ready event (KVM_ASYNC_PF_ACK): the next completion may be announced", "x86-apf.md 2, ACK"
            )
        if seen.what is What.HOST_WRITE:
            return self._tell_write(seen)
        if seen.what is What.EXCEPTION and seen.a == PF_VECTOR and not seen.c and self.host.on[cpu]:
            return Rule(f"the host injects #PF, error code 0, CR2 = {seen.b:#x}: that is the token", "x86-apf.md 5")
        return super().tell(moment)

    def _tell_write(self, seen: Seen) -> Rule | None:
        value = int.from_bytes(seen.data, "little")
        for cpu, en in enumerate(self.host.en):
            if not self.host.on[cpu] or len(seen.data) != 4:
                continue
            if seen.a == (en & AREA) + FLAGS:
                word, section = ("not present", "5, arch_not_present") if value == NOT_PRESENT else ("ready", "6, legacy")
                return Rule(f"the host writes {value} ({word}) to the flags of vCPU {cpu}'s area, gpa {seen.a:#x}", f"x86-apf.md {section}")
            if seen.a == (en & AREA) + TOKEN:
                what = "the wake-all" if value == BROADCAST else f"token {value:#x}"
                return Rule(f"the host puts {what} into the slot of vCPU {cpu}, gpa {seen.a:#x}; vector {self.host.vector[cpu]:#x} follows",
                            f"{READY}, arch_present")  # fmt: skip
        return None

    def next(self, vcpu: int) -> list[Rule]:
        target, words = self.machine.vcpus[vcpu], self.words(vcpu)
        if words is not None and words[0] == NOT_PRESENT:
            return [Rule("the guest's #PF handler reads flags and CR2, clears flags, and puts the task to sleep on the token",
                         "x86-apf.md 3, not-present entry")]  # fmt: skip
        if words is not None and words[1] and not self.host.legacy and not target.host_halted:
            return [
                self._interrupt(vcpu),
                Rule("its handler wakes the token's sleeper, clears the slot and writes KVM_ASYNC_PF_ACK", "x86-apf.md 3, ready entry"),
            ]
        return super().next(vcpu)
