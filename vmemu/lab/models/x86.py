# SPDX-License-Identifier: GPL-2.0-or-later
"""What both protocols of KVM on x86 have in common for a model: registers at the border, the shared area, whom one may interrupt.

Numbers: Linux Documentation/virt/kvm/x86/msr.rst and cpuid.rst; Intel SDM volume 3 for the processor's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu, Stage2
from vmemu.core.observe import Fate, Seen, What
from vmemu.lab.models.base import End, Model, Wait, peek
from vmemu.lab.models.ledger import SOON_NS, Ledger
from vmemu.machine.boards.pc import Pc
from vmemu.machine.boards.pc_apic import CR0_PAGING
from vmemu.machine.result import STALLED

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

MSR_EN, MSR_INT, MSR_ACK = 0x4B564D02, 0x4B564D06, 0x4B564D07
LEAF_FEATURES = 0x40000001
ENABLED, SEND_ALWAYS, AS_VMEXIT, AS_INT = 1, 2, 4, 8
ALL = 0xFFFFFFFF  # the token of a wake-all
PER_VCPU = 64  # ASYNC_PF_PER_VCPU
PAGE_FAULT, DOUBLE_FAULT = 14, 8
NOT_PRESENT = 1

RFLAGS_IF, HFLAGS_SHADOW, CR0_PG = 1 << 9, 1 << 3, 1 << 31


class X86Model(Model):
    """`en`, `vector`: as accepted, by vCPU. Subclasses say which writes are accepted, and what "here" looks like."""

    #: EAX of the features leaf that the profile must show, and bits of EN that are reserved.
    features = 0
    reserved = 0
    msrs: tuple[int, ...] = ()

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        assert isinstance(machine.board, Pc)
        self.board = machine.board
        count = len(machine.vcpus)
        self.en = [0] * count
        self.vector = [0] * count
        self.ledger = Ledger(self, PER_VCPU)
        #: by vCPU: page of the fault that is being served or was the last, and whether something was pending when it came
        self.fault: list[tuple[int, bool]] = [(-1, False)] * count
        self.stuck: dict[int, int] = {}  # vCPU -> since when nothing stands in the way of what waits
        self._flagged = -1  # address where the host has just written "not present"
        self._open = 0
        self._written_to = True  # registers may have changed: they are compared
        self.on = {
            What.FAULT: self._fault, What.FAULT_DONE: self._fault_done, What.PAGE_IN: self._page_in, What.ONLINE: self._online,
            What.REG_WRITE_DONE: self._written, What.REG_READ_DONE: self._read, What.HOST_WRITING: self._writing,
            What.HOST_WRITE: self._host_write, What.EXCEPTION: self._exception, What.INTERRUPT: self._interrupt,
        }  # fmt: skip
        found = self.board.cpuid(machine.vcpus[0], LEAF_FEATURES, 0)[0]
        if found & self.features != self.features:
            self.wrong("MSRW", f"CPUID {LEAF_FEATURES:#x} says {found:#x}, the protocol needs {self.features:#x}")

    # ------------------------------------------------------------ subclasses
    @abstractmethod
    def is_on(self, vcpu: int) -> bool:
        """Does the last accepted EN ask for delivery?"""

    @abstractmethod
    def accepts(self, msr: int, value: int) -> bool:
        """Is the write legal? Otherwise it must fault."""

    def accepted(self, vcpu: int, msr: int, value: int) -> None:
        """A legal write of one of the protocol's registers, done."""
        if msr == MSR_EN:
            self._enable(vcpu, value)

    @abstractmethod
    def wrote(self, vcpu: int, offset: int, value: int) -> None:
        """The host has written to the shared area: "not present" flags are dealt with here already."""

    @abstractmethod
    def nothing_in_the_way(self, vcpu: CoreVcpu) -> bool:
        """Could the next completion be announced, for all that the guest has done?"""

    def forget(self, vcpu: int) -> None:
        """Whatever was announced is no longer the host's business."""

    # ------------------------------------------------------------- registers
    def area(self, vcpu: int) -> int:
        return self.en[vcpu] & ~63

    def _enable(self, vcpu: int, value: int) -> None:
        before = self.is_on(vcpu)
        self.en[vcpu] = value
        if not self.is_on(vcpu):
            self._flush(vcpu)
        else:
            self.ledger.ask(vcpu, must=not before)

    def _flush(self, vcpu: int) -> None:
        self.ledger.flush(vcpu)
        self.stuck.pop(vcpu, None)
        self.forget(vcpu)

    def _written(self, seen: Seen) -> None:
        self._written_to = True
        if seen.a == CR0_PAGING:
            self.ledger.flush(seen.vcpu)  # what is under way belongs to another address space
        if seen.a not in (MSR_EN, MSR_INT, MSR_ACK):
            return
        legal = seen.a in self.msrs and self.accepts(seen.a, seen.b)
        if legal == bool(seen.c):
            what = "faults, and is legal" if legal else "is accepted, and must fault"
            self.wrong("MSRW", f"writing {seen.b:#x} to MSR {seen.a:#x} {what}", vcpu=seen.vcpu)
        elif legal:
            self.accepted(seen.vcpu, seen.a, seen.b)

    def _read(self, seen: Seen) -> None:
        if seen.a in self.msrs and (seen.c or seen.b != self.reads(seen.vcpu, seen.a)):
            got = "a fault" if seen.c else f"{seen.b:#x}"
            self.wrong("MSRW", f"reading MSR {seen.a:#x} gives {got}, not {self.reads(seen.vcpu, seen.a):#x}", vcpu=seen.vcpu)

    def reads(self, vcpu: int, msr: int) -> int:
        """What the guest finds in a register of the protocol."""
        return {MSR_EN: self.en, MSR_INT: self.vector}[msr][vcpu] if msr != MSR_ACK else 0

    def _online(self, seen: Seen) -> None:
        self._written_to = True
        if not seen.a:
            self.en[seen.vcpu] = self.vector[seen.vcpu] = 0
            self._flush(seen.vcpu)

    def migrated(self) -> None:
        for vcpu in range(len(self.en)):
            self._flush(vcpu)
            if self.is_on(vcpu):
                self.ledger.ask(vcpu, must=True)

    # ----------------------------------------------------------------- faults
    def _fault(self, seen: Seen) -> None:
        self._open += 1
        pending = self.machine.vcpus[seen.vcpu].event_pending or bool(seen.c >> 8 & Stage2.ENTERING)
        self.fault[seen.vcpu] = seen.a >> 12, pending

    def _fault_done(self, seen: Seen) -> None:
        self._open -= 1
        if seen.c == Fate.NOTIFIED and self.fault[seen.vcpu][0] not in {t.gfn for t in self.ledger.of(seen.vcpu).values()}:
            self.wrong("PAIR", f"the host believes that it has told of gfn {seen.a >> 12:#x}", vcpu=seen.vcpu)

    def _page_in(self, seen: Seen) -> None:
        if not self._open:  # else somebody waits for it who was blocked: the worker comes later
            self.ledger.arrived(seen.a >> 12, self.machine.now())

    # ------------------------------------------------------------ shared area
    def whose(self, gpa: int, data: bytes) -> int | None:
        """The vCPU whose area this is part of; only the first 8 bytes are the host's to write. A guest may register one twice."""
        found = [v for v in range(len(self.en)) if self.is_on(v) and 0 <= gpa - self.area(v) < 8]
        return self.ledger.meant(found, _word(data)) if len(found) > 1 else next(iter(found), None)

    def _writing(self, seen: Seen) -> None:
        vcpu = self.whose(seen.a, seen.data)
        if vcpu is None or seen.a + len(seen.data) > self.area(vcpu) + 8:
            self.wrong("OWN", f"the host writes {len(seen.data)} bytes at {seen.a:#x}, which nobody has registered")
            return
        before = peek(self.machine, seen.a, len(seen.data))
        if before is not None and any(before):
            place = "flags" if seen.a == self.area(vcpu) else "token"
            self.wrong("SLOT", f"the host writes {_word(seen.data):#x} over {place} {_word(before):#x}, which the guest has not taken",
                       token=_word(before), vcpu=vcpu)

    def _host_write(self, seen: Seen) -> None:
        vcpu = self.whose(seen.a, seen.data)
        if vcpu is None:
            return
        offset, value = seen.a - self.area(vcpu), _word(seen.data)
        if offset == 0 and value == NOT_PRESENT:
            self._flagged = seen.a
        else:
            self.wrote(vcpu, offset, value)

    # ---------------------------------------------------------- notifications
    def _exception(self, seen: Seen) -> None:
        if seen.a == DOUBLE_FAULT:
            self.wrong("LEGAL", "the host injects a double fault", vcpu=seen.vcpu)
        if seen.a == PAGE_FAULT:
            self.page_fault(seen)

    def page_fault(self, seen: Seen) -> None:
        """A #PF with a token: legal now, flagged, and about the page that the vCPU has just asked for."""
        number, vcpu, token = seen.vcpu, self.machine.vcpus[seen.vcpu], seen.b
        flags = peek(self.machine, self.area(number), 4)
        if self._flagged != self.area(number) or flags is None or _word(flags) != NOT_PRESENT:
            self.wrong("CLASS", f"a #PF for token {token:#x} without its flag: the guest takes it for a real one", token=token, vcpu=number)
        self._flagged = -1
        if seen.c:
            self.wrong("CLASS", f"the #PF for token {token:#x} has error code {seen.c:#x}", token=token, vcpu=number)
        if token & 0xFFF != number:
            self.wrong("TOK", f"token {token:#x} does not name the vCPU it is told to", token=token, vcpu=number)
        for why in self.why_not_told(vcpu):
            self.wrong("LEGAL", f"token {token:#x} is told {why}", token=token, vcpu=number)
        if self.fault[number][1]:
            self.wrong("LEGAL", f"token {token:#x} is told while another event was about to be entered", token=token, vcpu=number)
        self.ledger.away(token, number, self.fault[number][0], self.machine.now())

    def why_not_told(self, vcpu: CoreVcpu) -> list[str]:
        """What forbids a "not present" at this instruction: by the processor's own registers."""
        flags, hidden = vcpu.get("rflags"), vcpu.get("hflags")
        rules = (
            (self.is_on(vcpu.id), "and the guest has not enabled it"),
            (flags & RFLAGS_IF, "with interrupts off"),
            (not hidden & HFLAGS_SHADOW, "in the shadow of STI or MOV SS"),
            (hidden & 3 or self.en[vcpu.id] & SEND_ALWAYS, "in the kernel, and EN has no SEND_ALWAYS"),
            (vcpu.get("cr0") & CR0_PG, "with paging off"),
        )
        return [text for holds, text in rules if not holds]

    def _interrupt(self, seen: Seen) -> None:
        """Subclasses may care."""

    # ---------------------------------------------------------------- compare
    def check(self) -> None:
        if self.stuck or self.ledger.told or self.ledger.asked:
            now = self.machine.now()
            for vcpu in self.machine.vcpus:
                waiting = self.ledger.waiting(vcpu.id)
                if not waiting or not vcpu.online or not self.nothing_in_the_way(vcpu):
                    self.stuck.pop(vcpu.id, None)
                elif now > self.stuck.setdefault(vcpu.id, now) + SOON_NS:
                    since = self.stuck[vcpu.id]
                    self.wrong("LIVE", f"token {waiting[0]:#x} could be announced since {since} ns, and is not",
                               token=waiting[0], vcpu=vcpu.id)
        if not self._written_to:
            return
        self._written_to = False
        for vcpu in self.machine.vcpus:
            for msr in self.msrs:
                if self.board.read_register(vcpu, msr) != self.reads(vcpu.id, msr):
                    self.wrong("MSRW", f"MSR {msr:#x} is not what the guest was told it is: {self.reads(vcpu.id, msr):#x}", vcpu=vcpu.id)

    def waits(self) -> list[Wait]:
        return self.ledger.waits()

    def at_rest(self) -> None:
        self.ledger.unfinished()

    def at_end(self, end: End) -> None:
        if end.status == STALLED:
            self.ledger.unfinished()

    # ------------------------------------------------------------------ state
    def state(self) -> Hashable:
        tokens = self.ledger.summary(len(self.en))
        return tuple((self.is_on(v), *tokens[v], *self.more_state(v)) for v in range(len(self.en)))

    def more_state(self, vcpu: int) -> tuple[int, ...]:
        return ()

    def save(self) -> Any:
        return [list(self.en), list(self.vector), self.ledger.save(), list(self.fault), dict(self.stuck), self._flagged]

    def load(self, state: Any) -> None:
        en, vector, ledger, fault, stuck, self._flagged = state[:6]
        self.en, self.vector, self.stuck = list(en), list(vector), dict(stuck)
        self.fault = [(f[0], f[1]) for f in fault]
        self.ledger.load(ledger)
        self._open = 0


def _word(data: bytes) -> int:
    return int.from_bytes(data, "little")
