# SPDX-License-Identifier: GPL-2.0-or-later
"""A hypervisor that announces pages which never were away: the guest kernel's side of async page faults, seen from outside.

It speaks the wire format of the arm64 series (v4) on its own, shares no code with the real service, and pages nothing: at random
times it tells a vCPU in user mode that a page is missing, and later that it is there. On request it also does what a hypervisor
must not do.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field

from vmemu.core import CoreVcpu
from vmemu.machine.elf import SLEEPER_WORDS
from vmemu.machine.machine import Machine
from vmemu.protocols.sdei.dispatch import Sdei
from vmemu.protocols.sdei.state import EventInfo

EVENT, IRQ = 0x40400001, 22
NOT_PRESENT, READY, WAKE_ALL = 1, 2, 0xFFFFFFFF
VERSION, SLOTS, GET_SDEI, GET_IRQ, ENABLE, ACK = range(6)
STEP_NS, LATENCY_NS = (1_000, 12_000), (1_000, 100_000)


@dataclass
class Vcpu:
    """What it has told one vCPU."""

    control: int = 0
    outstanding: set[int] = field(default_factory=set)  # tokens that the guest may wait for
    ready: list[tuple[int, int]] = field(default_factory=list)  # (reason, token) to come by interrupt
    line: bool = False
    calls: list[int] = field(default_factory=list)
    acks: int = 0


class Hypervisor:
    """Attach to a machine before it runs. `mischief`: share of what it does that no hypervisor may do."""

    def __init__(self, machine: Machine, *, sdei: bool = True, seed: int = 0, mischief: float = 0.0) -> None:
        self.machine, self.rng, self.mischief = machine, random.Random(seed), mischief
        self.vcpus = [Vcpu() for _ in machine.vcpus]
        self.event = EVENT if sdei else 0
        self.enabled: dict[int, int] = {}  # vCPU -> control word of its first ENABLE
        self.next_token, self.told, self.announced, self.pranks = 1, 0, 0, 0
        self.sdei = Sdei(machine, [EventInfo(EVENT)])
        machine.facilities["sdei"] = self.sdei
        machine.on_entry = self.sdei.enter
        machine.board.vendor.add(2, self._serve)  # type: ignore[attr-defined]
        self._again(0)

    # ---------------------------------------------------------------- service
    def _serve(self, vcpu: CoreVcpu) -> bool:
        me, call, low, high = self.vcpus[vcpu.id], *(vcpu.get(f"x{i}") & 0xFFFFFFFF for i in (1, 2, 3))
        me.calls.append(call)
        value = {VERSION: 1 << 16, SLOTS: 64, GET_SDEI: self.event, GET_IRQ: IRQ}.get(call, 0)
        vcpu.set("x0", 0)
        vcpu.set("x1", value)
        if call == ENABLE:
            me.control = low | high << 32
            self.enabled.setdefault(vcpu.id, me.control)
            me.outstanding.clear()
            me.ready = [(READY, WAKE_ALL)] if me.control & 1 else []
            self._lower(vcpu.id)
        elif call == ACK:
            me.acks += 1
            self._lower(vcpu.id)
        self._deliver(vcpu.id)
        return False

    def _lower(self, cpu: int) -> None:
        self.vcpus[cpu].line = False
        self.machine.board.gic.set_ppi(cpu, IRQ, False)  # type: ignore[attr-defined]

    # --------------------------------------------------------- shared buffer
    def words(self, cpu: int) -> tuple[int, int]:
        """Reason and token."""
        data = self.machine.read_guest(self.vcpus[cpu].control & ~63, 8)
        return struct.unpack("<II", data)  # type: ignore[return-value]

    def _free(self, cpu: int) -> bool:
        me = self.vcpus[cpu]
        return bool(me.control & 1) and not me.line and self.words(cpu) == (0, 0)

    def _write(self, cpu: int, reason: int, token: int) -> None:
        self.machine.write_guest(self.vcpus[cpu].control & ~63, struct.pack("<II", reason, token))

    def _raise(self, cpu: int) -> None:
        self.vcpus[cpu].line = True
        self.machine.board.gic.set_ppi(cpu, IRQ, True)  # type: ignore[attr-defined]

    def _deliver(self, cpu: int) -> None:
        """The next "ready", if there is room."""
        me = self.vcpus[cpu]
        if not me.ready or not self._free(cpu):
            return
        reason, token = me.ready.pop(0)
        self._write(cpu, reason, token)
        self.announced += 1
        self._raise(cpu)

    # ------------------------------------------------------------------ course
    def _again(self, now: int) -> None:
        self.machine.queue.at(now + self.rng.randrange(*STEP_NS), self._step)

    def _step(self, now: int) -> None:
        cpu = self.rng.randrange(len(self.vcpus))
        self._deliver(cpu)
        if self.vcpus[cpu].control & 1 and self.rng.random() < self.mischief:
            self._prank(cpu)
        elif self._free(cpu):
            self._tell(cpu, now)
        self._again(now)

    def _in_user_mode(self, cpu: int) -> bool:
        vcpu = self.machine.vcpus[cpu]
        return vcpu.runnable and not vcpu.halted and vcpu.settle() and vcpu.get("pstate") & 0xF == 0

    def _tell(self, cpu: int, now: int, *, always: bool = False) -> None:
        """A page is missing."""
        if not always and not self._in_user_mode(cpu):
            return
        if self.event and not self.sdei.deliverable(self.event, cpu):
            return
        token, self.next_token = self.next_token, self.next_token + 1
        self._write(cpu, NOT_PRESENT, token)
        self.told += 1
        if self.event:
            self.sdei.inject(self.event, cpu)
        else:
            self._raise(cpu)
        self.vcpus[cpu].outstanding.add(token)
        self.machine.queue.at(now + self.rng.randrange(*LATENCY_NS), lambda then: self._page_in(cpu, token))

    def _page_in(self, cpu: int, token: int) -> None:
        me = self.vcpus[cpu]
        if token in me.outstanding:
            me.outstanding.remove(token)
            me.ready.append((READY, token))
            self._deliver(cpu)

    def _prank(self, cpu: int) -> None:
        """What the guest must survive."""
        me, token = self.vcpus[cpu], self.rng.randrange(1 << 20, 1 << 28)
        self.pranks += 1
        kind = self.rng.randrange(6)
        if kind == 0:  # "ready" for a token that nobody was told
            me.ready.append((READY, token))
        elif kind == 1:  # wake-all out of the blue; what is under way is still announced
            me.ready.append((READY, WAKE_ALL))
        elif kind == 2:  # a reason that is none
            me.ready.append((self.rng.randrange(3, 1 << 32), token))
        elif kind == 3 and not me.line:  # an interrupt about nothing
            self._raise(cpu)
        elif kind == 4 and self._free(cpu):  # "not present" in the kernel, or while idle
            self._tell(cpu, self.machine.now(), always=True)
        elif kind == 5 and self.event and self._free(cpu) and self.sdei.deliverable(self.event, cpu):
            self._write(cpu, self.rng.choice((0, 3, 77)), token)  # an event about nothing
            self.sdei.inject(self.event, cpu)

    def counters(self) -> dict[str, int]:
        """What the guest counts (its note of sleepers)."""
        assert self.machine.sleepers is not None
        gpa, _ = self.machine.sleepers
        words = struct.unpack(f"<{len(SLEEPER_WORDS)}Q", self.machine.read_guest(gpa, 8 * len(SLEEPER_WORDS)))
        return dict(zip(SLEEPER_WORDS, words, strict=True))
