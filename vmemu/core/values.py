# SPDX-License-Identifier: GPL-2.0-or-later
"""What the C unit's numbers mean: constants, kinds, and the records that it fills."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import NamedTuple

PAGE_SIZE = 4096
CYC = 64
NO_LIMIT = (1 << 64) - 1
NO_SLOT = 0xFFFFFFFF
NO_VCPU = 0xFFFF
NO_TASK = (1 << 64) - 1
#: Fields of Event as they lie in the ring (core.h, struct event).
EVENT_LAYOUT = struct.Struct("=4QI2H3Q")


class ExitKind(IntEnum):
    """Why `CoreVcpu.run` returned (core.h, enum exit_kind)."""

    NONE, LIMIT, STAGE2, HALT, HCALL, IRQ_WINDOW, MEM_ERROR, FATAL, STOP, ERROR, DEBUG = range(11)


class IoKind(IntEnum):
    """Synchronous accesses served in Python (core.h, enum io_kind)."""

    MMIO_READ, MMIO_WRITE, PORT_IN, PORT_OUT, REG_READ, REG_WRITE, CPUID, RECLAIM, PASTE = range(9)


class IoResult(IntEnum):
    """Answer to a synchronous access (core.h, enum io_result)."""

    OK, FAULT, STOP = range(3)


class Access(IntEnum):
    READ, WRITE, FETCH = range(3)


class PageState(IntEnum):
    """Stage-2 state of a guest page (core.h, enum s2_state)."""

    NONE, ZERO, RESIDENT, SWAPPED, BAD = range(5)


class Stage2(IntFlag):
    """`Exit.nr` of a STAGE2 exit (core.h, enum stage2)."""

    ENTERING, REPEATED = 1, 2


class Cycles(IntEnum):
    """What a vCPU spent time on that was no instruction (api.h)."""

    WORK, IDLE, BLOCKED = range(3)


class PageFlag(IntEnum):
    ACCESSED, DIRTY, PINNED = 1, 2, 4


class S2Result(IntEnum):
    OK, NOT_RAM, MISS, ERROR = range(4)


class Pending(IntEnum):
    """Kinds of events that the engine enters before the next instruction."""

    NONE, PAGE_FAULT, EXCEPTION, IRQ, MEM_ERROR = range(5)


class TrapKind(IntEnum):
    """Why a run stopped with a DEBUG exit (core.h, enum trap_kind)."""

    NONE, BREAK, WATCH, ASKED = range(4)


class CoreTrap(NamedTuple):
    """core.h, struct trap. access: 1 read, 2 write. vcpu: NO_VCPU for the host's own doing."""

    kind: TrapKind
    vcpu: int
    pc: int
    va: int
    gpa: int
    size: int
    access: int
    by_host: bool


#: Names of `vcpu.count` (core.h, enum counter).
COUNTERS = (
    "exit_limit", "exit_stage2", "exit_halt", "exit_hcall", "exit_irq", "exit_io", "exit_error",
    "fault_guest", "fault_zero", "fault_swap", "fault_mem_error", "syscall", "exception", "irq",
)  # fmt: skip


class Exit(NamedTuple):
    """One exit of a vCPU. `pc` and `insns` are exact, `cycles` is in CYC units."""

    kind: ExitKind
    access: int
    nr: int
    gpa: int
    gva: int
    pc: int
    insns: int
    cycles: int
    why: str


@dataclass(frozen=True, slots=True)
class Walk:
    """Outcome of the C stage-1 walker: status 0 ok, 1 guest fault, 2 a table page is not resident."""

    status: int
    gpa: int
    prot: int
    fault: int
    table_error: bool


class DmaEnd(IntEnum):
    """How a device's access to a process's memory ended (api.h, enum dma_end)."""

    DONE = 0
    TABLE = 1  # a page of the translation tables is away
    ZERO = 2  # mapped, and known to hold zeros: it only needs a frame
    AWAY = 3  # mapped, and the host's store has it
    LOST = 4  # the store lost it
    NOT_RAM = 5
    UNMAPPED = 6  # no translation
    RIGHTS = 7


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the event ring (core.h, struct event); the meaning of a, b, c depends on `kind` (vmemu.core.events).

    cycles: CYC units of the vCPU's clock. task: number of the guest task that ran, NO_TASK when the guest does not say.
    vcpu: NO_VCPU for what the host did by itself. flags: EventFlag.
    """

    cycles: int
    insns: int
    pc: int
    task: int
    kind: int
    vcpu: int
    flags: int
    a: int
    b: int
    c: int
