# SPDX-License-Identifier: GPL-2.0-or-later
"""What crosses the border between guest and host, told as it happens: the raw material of models, checkers and debuggers.

`CoreMachine.observe` is called with a `Seen` in the middle of what it tells of: it may read the machine and changes nothing.
Only what Python serves is told: a fault that the C unit serves by itself never reaches the host's protocols.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import NamedTuple


class What(IntEnum):
    """Kinds of `Seen`. Those that end in _DONE come when the host has answered; the host's own moves lie between the two."""

    FAULT = 1  # a stage-2 fault that needs the store: gpa, gva, access | Stage2 bits << 8
    FAULT_DONE = 2  # gpa, gva, outcome: a `Fate`
    REG_READ = 3  # system register (MSR, ...): number
    REG_READ_DONE = 4  # number, value, 1 if the access faulted
    REG_WRITE = 5  # number, value
    REG_WRITE_DONE = 6  # number, value, 1 if the access faulted
    HCALL = 7  # immediate or level of the instruction; arguments are in the vCPU's registers
    HCALL_DONE = 8  # the same; results are in the vCPU's registers
    MMIO_WRITE = 9  # address, value, bytes
    PASTE = 10  # address; data: 128 bytes
    PASTE_DONE = 11  # address, 1 if they were taken
    HOST_WRITE = 12  # gpa; data: what the host has written to guest memory
    EXCEPTION = 13  # pending: vector, fault address, error code; entered before the next instruction
    INTERRUPT = 14  # pending: vector
    LINE = 15  # an interrupt line changed: line, level
    GO_TO = 16  # firmware sent the vCPU to: pc, program status
    MEM_ERROR = 17  # the guest is told that a page is lost: gva, gpa, access
    PAGE_IN = 18  # a page came from the store: gpa, 1 if it is there, 0 if it is lost
    ONLINE = 19  # started or taken away: 1, 0
    COMMAND = 20  # the machine's owner gave a command; data: its text
    TURN = 21  # the end of a turn of the run loop: number of turns
    DMA_WRITE = 22  # a device stored through a translation: address, whose (PID or LIOBN), error (0: none); data: what it stored
    DMA_READ = 23  # a device loaded through one: the same; data: what it got
    HOST_WRITING = 24  # gpa; data: what the host is about to write to guest memory; HOST_WRITE follows unless the page is lost
    NOTE = 25  # for people, where a history is kept (machine/history.py): a token or job's number; data: the note's kind


class Fate(IntEnum):
    """What became of a stage-2 fault (`Seen.c` of FAULT_DONE)."""

    RETRY = 0  # the page is there
    NOTIFIED = 1  # the guest was told
    HALT = 2  # the vCPU waits
    FATAL = 3  # the page is lost


class Seen(NamedTuple):
    """One event. vcpu: whom it concerns, -1 for nobody in particular; a, b, c, data: see `What`."""

    what: What
    vcpu: int
    a: int = 0
    b: int = 0
    c: int = 0
    data: bytes = b""


Observer = Callable[[Seen], None]
