# SPDX-License-Identifier: GPL-2.0-or-later
"""One page-in under way (struct kvm_async_pf in KVM's virt/kvm/async_pf.c)."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from enum import StrEnum
from typing import Any

#: ASYNC_PF_PER_VCPU: works of one vCPU at once, done ones and wake-alls included (x86-apf.md 1).
LIMIT = 64
#: Token of the event that wakes every sleeper of a vCPU (x86-apf.md 1).
BROADCAST = 0xFFFFFFFF


class Mishap(StrEnum):
    """What the injector has for a work's announcement."""

    NONE = ""
    LATE = "late"  # it waits for its time
    PAST = "past"  # it has waited: nothing more goes wrong
    DROPPED = "dropped"  # the guest never hears of it
    TWICE = "twice"  # it hears of it once more
    AGAIN = "again"  # this work is the second announcement of one that is over


@dataclass(slots=True)
class Work:
    """`id`: serial number in this machine, from 1. vcpu: who faulted. token: as the guest knows it, 0 when it has none.

    gpa, gva: bytes of the access; access 0 read, 1 write, 2 fetch; index: page index of the memory room.
    born, deadline: virtual ns of the fault and of the I/O's end. injected: the guest was told that the page is away.
    fetched: the page is there (or lost for good). broken: the store could not give it back. detail: the protocol's own.
    mishap: a Mishap.
    """

    id: int
    vcpu: int
    token: int
    gpa: int
    gva: int
    access: int
    index: int
    born: int
    wake_all: bool = False
    injected: bool = False
    scheduled: bool = False
    deadline: int = 0
    fetched: bool = False
    broken: bool = False
    done: bool = False
    detail: int = 0
    mishap: str = Mishap.NONE

    @property
    def gfn(self) -> int:
        return self.gpa >> 12

    def save(self) -> list[Any]:
        return list(astuple(self))

    def __str__(self) -> str:
        if self.wake_all:
            return f"wake-all of vCPU {self.vcpu}"
        if self.mishap == Mishap.AGAIN:
            return f"token {self.token:#x} of vCPU {self.vcpu} once more"
        states = ((self.broken, "lost"), (self.done, "done"), (self.fetched, "fetched"), (self.scheduled, "in flight"), (True, "queued"))
        where = next(text for holds, text in states if holds)
        told = "told" if self.injected else "not told"
        return f"token {self.token:#x} of vCPU {self.vcpu} (gva {self.gva:#x}, gpa {self.gpa:#x}, {where}, {told})"
