# SPDX-License-Identifier: GPL-2.0-or-later
"""Kinds of events in the ring, and what a, b, c of each mean.

Kinds below PROTOCOL are recorded by the C unit (core.h, enum ev_kind: a test compares the two). Those from PROTOCOL on are put
there by protocols, in Python, with `CoreMachine.put_event`. Times and durations are in CYC units.

Every event has the vCPU's time, instruction index, PC, mode and task at the instant at which it happens; a handler's entry those
of the interrupted code.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class EventFlag(IntFlag):
    """Event.flags."""

    USER = 1


class EventKind(IntEnum):
    """What happened."""

    NONE = 0
    GUEST_FAULT = 1
    STAGE2 = 2
    ZERO = 3
    SWAP_IN = 4
    SWAP_OUT = 5
    CLEAN_DROP = 6
    ZERO_DROP = 7
    EXCEPTION = 8
    IRQ = 9
    HALT = 10
    MEM_ERROR = 11
    WAKE = 12
    SYSCALL = 13
    RETURN = 14
    IO = 15
    HCALL = 16

    # The life of one page-in of which the guest is told. A token names it from NOT_PRESENT to READY; then it may be used again.
    TOKEN_TRY = 64
    TOKEN_NOT_PRESENT = 65
    TOKEN_COMPLETED = 66
    TOKEN_READY = 67
    TOKEN_REPEATED = 68
    TOKEN_REFUSED = 69
    TOKEN_WAKE_ALL = 70

    # Firmware calls a handler of the guest's, and the guest gives back (SDEI).
    FIRMWARE_EVENT = 72
    FIRMWARE_RETURN = 73

    # A request to an accelerator, by a number of its own: accepted, begun, and ended in one of two ways.
    JOB_PASTED = 80
    JOB_BEGUN = 81
    JOB_DONE = 82
    JOB_FAULTED = 83

    PROTOCOL = 64  # the first that is a protocol's


#: kind -> (meaning of a, b, c); an empty text: not used.
ARGUMENTS: dict[EventKind, tuple[str, str, str]] = {
    EventKind.GUEST_FAULT: ("address", "architecture's fault code", "access: 0 read, 1 write, 2 fetch"),
    EventKind.STAGE2: ("guest-physical address", "guest-virtual address", "access"),
    EventKind.ZERO: ("page", "frame", ""),
    EventKind.SWAP_IN: ("page", "time until it is there", "slot << 32 | server of the store"),
    EventKind.SWAP_OUT: ("page", "time until it is written", "slot << 32 | server of the store"),
    EventKind.CLEAN_DROP: ("page", "frame", ""),
    EventKind.ZERO_DROP: ("page", "frame", ""),
    EventKind.EXCEPTION: ("vector", "fault address", "x86 error code, arm64 ESR, ppc64 further SRR1 bits"),
    EventKind.IRQ: ("vector", "", ""),
    EventKind.HALT: ("interrupt lines", "", ""),
    EventKind.MEM_ERROR: ("guest-physical address", "guest-virtual address", "access"),
    EventKind.WAKE: ("interrupt lines", "", ""),
    EventKind.SYSCALL: ("number", "", ""),  # x86 SYSCALL and SYSENTER; elsewhere system calls are exceptions
    EventKind.RETURN: ("", "", ""),
    EventKind.IO: ("address", "value", "size << 8 | IoKind"),
    EventKind.HCALL: ("selector", "1: answered without an exit", ""),
    EventKind.TOKEN_TRY: ("guest-virtual address", "guest-physical address", ""),
    EventKind.TOKEN_NOT_PRESENT: ("token", "guest-virtual address", "guest-physical address"),
    EventKind.TOKEN_COMPLETED: ("token", "guest-virtual address", "guest-physical address"),
    EventKind.TOKEN_READY: ("token", "guest-virtual address", "guest-physical address"),
    EventKind.TOKEN_REPEATED: ("guest-virtual address", "guest-physical address", "token that is under way"),
    EventKind.TOKEN_REFUSED: ("guest-virtual address", "guest-physical address", "reason"),
    EventKind.TOKEN_WAKE_ALL: ("tokens that end", "", ""),
    EventKind.JOB_PASTED: ("job", "window", "CRBs that wait"),
    EventKind.JOB_BEGUN: ("job", "window", "function code"),
    EventKind.JOB_DONE: ("job", "window", "completion code << 8 | completion extension"),
    EventKind.JOB_FAULTED: ("job", "window", "address that is missing"),
    EventKind.FIRMWARE_EVENT: ("event", "handler", "handlers that run with it"),
    EventKind.FIRMWARE_RETURN: ("event", "interrupted PC", "where EL1 goes on instead, or 0"),
}


def name(kind: int) -> str:
    """The kind's name in lower case; a protocol's own kinds are numbered."""
    try:
        return EventKind(kind).name.lower()
    except ValueError:
        return f"event_{kind}"
