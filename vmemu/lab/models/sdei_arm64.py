# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults of KVM/arm64, version 4 of the series: a buffer for both directions, "away" by an SDEI event or (profile
ppi-only) by the PPI that says "here" as well.

The buffer is the host's when reason and token are 0; what the host has put there is the guest's until it clears it. The PPI is high
from an announcement to its acknowledge. A "not present" that was not delivered yet may be taken back.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from vmemu.core import CoreVcpu
from vmemu.core.observe import Seen, What
from vmemu.lab.models.base import End, Model, Wait, peek, profile, token_node, vcpu_node
from vmemu.lab.models.ledger import SOON_NS, Ledger, announcement
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.sdei_client import SdeiClient
from vmemu.machine.boards.virt import Virt
from vmemu.machine.result import STALLED

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

SERVICE, BITMAP, UID = 0x86000002, 0x86000000, 0x8600FF01
KVM_UID = (0xB66FB428, 0xE911C52E, 0x564BCAA9, 0x743A004D)
VERSION, SLOTS, GET_SDEI, GET_IRQ, ENABLE, ACK = range(6)
SUCCESS, NOT_SUPPORTED, NOT_REQUIRED, INVALID = 0, -1, -2, -3
ENABLED, SEND_ALWAYS = 1, 2
EVENT, PPI = 0x40400001, 22
NOT_PRESENT, READY = 1, 2
ALL = 0xFFFFFFFF
PER_VCPU = 64
PSTATE_MODE, PSTATE_I = 0xF, 1 << 7
ALL_64 = (1 << 64) - 1


class Arm64Model(Model):
    """By vCPU: `control` word, `irq`, `event`; `owed`: the PPI's acknowledge; `unseen`: token of a "not present" in the buffer that
    was not delivered, -1: none; `half`: the token that the host has written, its reason still to come."""

    name = "arm64-apf"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        assert isinstance(machine.board, Virt)
        self.gic = machine.board.gic
        count = len(machine.vcpus)
        with_sdei = profile(machine) == "sdei"
        self.control = [0] * count
        self.irq = [PPI] * count
        self.event = [EVENT if with_sdei else 0] * count
        self.owed = [False] * count
        self.unseen = [-1] * count
        self.half = [-1] * count
        self.stuck: dict[int, int] = {}  # vCPU -> since when the host could announce, and does not
        self.late: dict[int, int] = {}  # vCPU -> since when the guest has cleared the buffer, and writes no acknowledge
        self.skew: dict[int, int] = {}  # vCPU -> since when the line is not what it must be
        self.gfn = [-1] * count
        self.ledger = Ledger(self, PER_VCPU, "I-7")
        self.client = SdeiClient(self, {0: False, EVENT: False}) if with_sdei else None
        self._open = 0
        self._gone: list[int] = []
        self._calls: dict[int, tuple[int, tuple[int, ...]]] = {}  # vCPU -> sub-function, the answer that must come
        self.on = {
            What.FAULT: self._fault, What.FAULT_DONE: self._fault_done, What.PAGE_IN: self._page_in, What.ONLINE: self._online,
            What.HCALL: self._hcall, What.HCALL_DONE: self._hcall_done, What.HOST_WRITING: self._writing,
            What.HOST_WRITE: self._host_write, What.COMMAND: self._command,
        }  # fmt: skip
        if self.client is not None:
            self.on[What.GO_TO] = self.client.go_to
            self.client.on_delivered = self._delivered
            self.client.on_completing = self._completing

    # ----------------------------------------------------------------- service
    def enabled(self, vcpu: int) -> bool:
        return bool(self.control[vcpu] & ENABLED)

    def buffer(self, vcpu: int) -> int:
        return self.control[vcpu] & ~63

    def words(self, vcpu: int) -> tuple[int, int] | None:
        """Reason and token in the guest's memory; None: lost."""
        data = peek(self.machine, self.buffer(vcpu), 8)
        return None if data is None else struct.unpack("<II", data)

    def _hcall(self, seen: Seen) -> None:
        self._see_them_gone()
        vcpu = self.machine.vcpus[seen.vcpu]
        function = vcpu.get("x0") & 0xFFFFFFFF
        if seen.a >> 16:
            self._calls[vcpu.id] = -1, (NOT_SUPPORTED,)
        elif function == SERVICE:
            sub, low, high = (vcpu.get(f"x{i}") & 0xFFFFFFFF for i in (1, 2, 3))
            self._calls[vcpu.id] = sub, self._service(vcpu.id, sub, high << 32 | low)
        elif function == UID:
            self._calls[vcpu.id] = -1, KVM_UID
        elif self.client is not None and self.client.begins(vcpu, function):
            return
        elif self.client is None and 0xC4000020 <= function <= 0xC400003F:
            self._calls[vcpu.id] = -1, (NOT_SUPPORTED,)

    def _service(self, vcpu: int, sub: int, value: int) -> tuple[int, int]:
        """x0 and x1 that must come. What an ACK or an enabling allows, the host may do before it answers."""
        answers = {VERSION: 1 << 16, SLOTS: 64, GET_SDEI: self.event[vcpu], GET_IRQ: self.irq[vcpu]}
        if sub in answers:
            return SUCCESS, answers[sub]
        if sub == ENABLE:
            return self.enable(vcpu, value), 0
        if sub == ACK:
            self.owed[vcpu] = False
            self.late.pop(vcpu, None)
            return SUCCESS, 0
        return NOT_SUPPORTED, 0

    def enable(self, vcpu: int, value: int) -> int:
        """A new control word: the answer that must come. What is switched off is so when the call is over."""
        if bool(value & ENABLED) == self.enabled(vcpu):
            return NOT_REQUIRED
        if not value & ENABLED:
            self._gone.append(vcpu)
            return SUCCESS
        if not self.irq[vcpu] or (self.client is not None and not self.event[vcpu]):
            return INVALID
        if self.client is not None and self.event[vcpu] not in self.client.calls.events:
            return NOT_SUPPORTED
        if not self.machine.is_ram(value & ~63, 8):
            return NOT_SUPPORTED
        self.control[vcpu] = value
        self.ledger.ask(vcpu, must=True)
        return SUCCESS

    def _hcall_done(self, seen: Seen) -> None:
        vcpu = self.machine.vcpus[seen.vcpu]
        if self.client is not None and self.client.ends(vcpu):
            return
        sub, answer = self._calls.pop(seen.vcpu, (-1, ()))
        for i, value in enumerate(answer):
            if vcpu.get(f"x{i}") != value & ALL_64:
                self.wrong("CALL", f"sub-function {sub} answers x{i} = {vcpu.get(f'x{i}'):#x}, and must answer {value}", vcpu=seen.vcpu)
        if sub == ENABLE and seen.vcpu in self._gone:
            self._see_them_gone()
            self.control[seen.vcpu] = self._word(vcpu)

    @staticmethod
    def _word(vcpu: CoreVcpu) -> int:
        return (vcpu.get("x3") & 0xFFFFFFFF) << 32 | vcpu.get("x2") & 0xFFFFFFFF

    def _command(self, seen: Seen) -> None:
        """The VMM's set-control, set-irq, set-sdei: the host does it after this."""
        words = seen.data.decode(errors="replace").split()
        if len(words) != 4 or words[0] != "apf":
            return
        try:
            vcpu, value = int(words[2], 0), int(words[3], 0)
        except ValueError:
            return
        if not 0 <= vcpu < len(self.control):
            return
        if words[1] == "set-control" and value != self.control[vcpu]:
            if self.enable(vcpu, value) == SUCCESS and not value & ENABLED:
                self._see_them_gone(taken_back=False)
                self.control[vcpu] = value
        elif words[1] in ("set-irq", "set-sdei") and not self.enabled(vcpu):
            (self.irq if words[1] == "set-irq" else self.event)[vcpu] = value

    def _online(self, seen: Seen) -> None:
        self._see_them_gone()
        if not seen.a:
            self._gone.append(seen.vcpu)  # the host is about to take back what was not delivered

    def _see_them_gone(self, taken_back: bool = True) -> None:
        """vCPUs that were switched off or went away: nothing is owed to them."""
        for vcpu in self._gone:
            self.ledger.flush(vcpu)
            self.owed[vcpu] = False
            self.half[vcpu] = -1
            if taken_back:
                self.unseen[vcpu] = -1
                self.control[vcpu] = 0
            for since in (self.stuck, self.late):
                since.pop(vcpu, None)
            if self.client is not None and not self.machine.vcpus[vcpu].online:
                self.client.calls.reset(vcpu)
        self._gone.clear()

    # ------------------------------------------------------------------- faults
    def _fault(self, seen: Seen) -> None:
        self._open += 1
        self.gfn[seen.vcpu] = seen.a >> 12

    def _fault_done(self, seen: Seen) -> None:
        self._open -= 1

    def _page_in(self, seen: Seen) -> None:
        if not self._open:
            self.ledger.arrived(seen.a >> 12, self.machine.now())

    # ------------------------------------------------------------------- buffer
    def whose(self, gpa: int, data: bytes) -> int | None:
        """The vCPU whose buffer this is part of. A guest may register one twice."""
        known = [v for v in range(len(self.control)) if self.enabled(v) or self.unseen[v] >= 0]
        found = [v for v in known if 0 <= gpa - self.buffer(v) < 8]
        if len(found) < 2:
            return next(iter(found), None)
        if gpa == self.buffer(found[0]):  # the reason, after the token
            return next((v for v in found if self.half[v] >= 0), found[0])
        token = int.from_bytes(data, "little")
        return self.ledger.meant([v for v in found if token or self.unseen[v] >= 0] or found, token)

    def _writing(self, seen: Seen) -> None:
        vcpu = self.whose(seen.a, seen.data)
        if vcpu is None:
            self.wrong("OWN", f"the host writes {len(seen.data)} bytes at {seen.a:#x}, which nobody has registered")
            return
        words, offset, value = self.words(vcpu), seen.a - self.buffer(vcpu), int.from_bytes(seen.data, "little")
        expected = (0, 0) if offset == 4 else (0, self.half[vcpu])
        back = value == 0 and self.unseen[vcpu] >= 0 and words in ((NOT_PRESENT, self.unseen[vcpu]), (NOT_PRESENT, 0))
        if words is not None and words != expected and not back:
            self.wrong("SLOT", f"the host writes {value:#x} at {offset} of a buffer that holds reason {words[0]}, token {words[1]:#x}",
                       token=words[1], vcpu=vcpu)

    def _host_write(self, seen: Seen) -> None:
        vcpu = self.whose(seen.a, seen.data)
        if vcpu is None:
            return
        offset, value = seen.a - self.buffer(vcpu), int.from_bytes(seen.data, "little")
        if offset == 4:
            self.half[vcpu] = value
            return
        token, self.half[vcpu] = self.half[vcpu], -1
        if offset or token < 0:
            self.wrong("SLOT", f"the host writes {value:#x} at {offset} of the buffer, and no token before it", vcpu=vcpu)
        elif value == NOT_PRESENT:
            self._not_present(self.machine.vcpus[vcpu], token)
        elif value == READY:
            self._ready(vcpu, token)
        elif self.unseen[vcpu] >= 0:
            self.ledger.take_back(self.unseen[vcpu])
            self.unseen[vcpu] = -1
            if self.client is not None:
                self.client.calls.handlers[vcpu][self.event[vcpu]].since = -1
        else:
            self.wrong("SLOT", f"the host writes reason {value}", vcpu=vcpu)

    # ------------------------------------------------------------ notifications
    def _not_present(self, vcpu: CoreVcpu, token: int) -> None:
        number, pstate = vcpu.id, vcpu.get("pstate")
        if token & 0xFFF != number:
            self.wrong("TOK", f"token {token:#x} does not name the vCPU it is told to", token=token, vcpu=number)
        rules = [
            (not pstate & PSTATE_MODE or self.control[number] & SEND_ALWAYS, "in the kernel, and the service has no SEND_ALWAYS"),
        ]
        if self.client is None:
            rules += [(not pstate & PSTATE_I, "with interrupts masked"), (not self.owed[number], "while its interrupt is high")]
            rules.append((self.gic.would_signal(number, self.irq[number]), "behind other interrupts"))
        else:
            rules.append((self.client.calls.could_deliver(self.event[number], number), "and its event cannot be delivered"))
        for holds, text in rules:
            if not holds:
                self.wrong("LEGAL", f"token {token:#x} is told {text}", token=token, vcpu=number)
        self.ledger.away(token, number, self.gfn[number], self.machine.now())
        if self.client is None:
            self.owed[number] = True
        else:
            self.unseen[number] = token
            self.client.calls.signal(self.event[number], number, self.machine.now())

    def _delivered(self, event: int, vcpu: int) -> None:
        if event != self.event[vcpu]:
            return
        if self.unseen[vcpu] < 0:
            self.wrong("PAIR", "the event of a page that is away comes, and no page is", vcpu=vcpu)
        self.unseen[vcpu] = -1

    def _completing(self, event: int, vcpu: int) -> None:
        """The guest's handler is over, and must have taken the token."""
        words = self.words(vcpu) if event == self.event[vcpu] and self.enabled(vcpu) else None
        if words is not None and words[0] == NOT_PRESENT:
            self.wrong("LIVE", f"the handler of token {words[1]:#x} leaves the buffer full: no page is announced any more",
                       token=words[1], vcpu=vcpu)

    def _ready(self, vcpu: int, token: int) -> None:
        if self.owed[vcpu]:
            self.wrong("I-6", f"token {token:#x} is announced before the last one was acknowledged", token=token, vcpu=vcpu)
        if token == ALL:
            self.ledger.broadcast(vcpu)
        else:
            if token == self.unseen[vcpu]:
                self.wrong("PAIR", f"token {token:#x} is announced, and the guest was never shown that it was away", token=token, vcpu=vcpu)
            self.ledger.here(token, vcpu)
        self.owed[vcpu] = True

    # ------------------------------------------------------------------ compare
    def check(self) -> None:
        self._see_them_gone()
        now = self.machine.now()
        if self.client is not None:
            self.client.check(now)
        patience = 0 if self.machine.memory.injector.idle else SOON_NS
        for vcpu in self.machine.vcpus:
            number = vcpu.id
            if not vcpu.online:
                continue
            high = bool(self.gic.cpus[number].level >> self.irq[number] & 1)
            if high == self.owed[number] or vcpu.held:
                self.skew.pop(number, None)
            elif now >= self.skew.setdefault(number, now) + patience:
                self.wrong("I-6", f"the PPI is {'high' if high else 'low'}, its acknowledge is {'' if self.owed[number] else 'not '}owed",
                           vcpu=number)
            self._host_soon(number, now)
            self._guest_soon(number, now)

    def _host_soon(self, vcpu: int, now: int) -> None:
        waiting = self.ledger.waiting(vcpu)
        if not waiting or not self.enabled(vcpu) or self.owed[vcpu] or self.unseen[vcpu] >= 0 or self.words(vcpu) != (0, 0):
            self.stuck.pop(vcpu, None)
        elif now > self.stuck.setdefault(vcpu, now) + SOON_NS:
            self.wrong("LIVE", f"token {waiting[0]:#x} could be announced since {self.stuck[vcpu]} ns, and is not",
                       token=waiting[0], vcpu=vcpu)

    def _guest_soon(self, vcpu: int, now: int) -> None:
        if not self.owed[vcpu] or not self.enabled(vcpu) or self.words(vcpu) != (0, 0):
            self.late.pop(vcpu, None)
        elif now > self.late.setdefault(vcpu, now) + SOON_NS:
            self.wrong("LIVE", "the guest has cleared the buffer and does not acknowledge the interrupt", vcpu=vcpu)

    def at_rest(self) -> None:
        self.ledger.unfinished()

    def at_end(self, end: End) -> None:
        if end.status == STALLED:
            self.ledger.unfinished()

    def waits(self) -> list[Wait]:
        found = self.ledger.waits()
        for vcpu in range(len(self.control)):
            words = self.words(vcpu) if self.enabled(vcpu) else None
            if words is None:
                continue
            what = "not present" if words[0] == NOT_PRESENT else "ready"
            if words != (0, 0):
                found.append(Wait(announcement(vcpu), vcpu_node(vcpu), f"its buffer still says {what}, {token_node(words[1])}"))
            elif self.owed[vcpu]:
                found.append(Wait(announcement(vcpu), vcpu_node(vcpu), "it has not acknowledged the interrupt"))
        return found

    # -------------------------------------------------------------------- state
    def state(self) -> Hashable:
        tokens = self.ledger.summary(len(self.control))
        return tuple(
            (self.enabled(v), *tokens[v], self.owed[v], self.unseen[v] >= 0, () if self.client is None else self.client.state(v))
            for v in range(len(self.control))
        )  # fmt: skip

    def save(self) -> Any:
        return {
            "lists": [list(part) for part in (self.control, self.irq, self.event, self.owed, self.unseen, self.half, self.gfn)],
            "since": [dict(part) for part in (self.stuck, self.late, self.skew)], "ledger": self.ledger.save(),
            "client": None if self.client is None else self.client.save(),
        }  # fmt: skip

    def load(self, state: Any) -> None:
        self.control, self.irq, self.event, self.owed, self.unseen, self.half, self.gfn = (list(part) for part in state["lists"])
        self.stuck, self.late, self.skew = (dict(part) for part in state["since"])
        self.ledger.load(state["ledger"])
        self._open = 0
        self._gone.clear()
        self._calls.clear()
        if self.client is not None:
            self.client.load(state["client"])

    def migrated(self) -> None:
        """Works stay behind; SET_CONTROL wakes all sleepers. A line that is high is still to be acknowledged."""
        for vcpu in range(len(self.control)):
            self.ledger.flush(vcpu)
            self.unseen[vcpu] = -1
            if self.enabled(vcpu):
                self.ledger.ask(vcpu, must=True)


register(Entry(Arm64Model.name, lambda machine: profile(machine) in ("sdei", "ppi-only"), Arm64Model))
