# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults of arm64 on the wire: service calls, control word, shared buffer, event and interrupt numbers.

Version 4 of the series (15 Aug 2021), the last one posted.
"""

from __future__ import annotations

from enum import IntEnum

#: Function 2 of the vendor-specific hypervisor service; mainline later gave that number to pKVM.
FUNCTION = 2


class Sub(IntEnum):
    """x1 of the call. x0 is the result, x1 what is asked for."""

    VERSION = 0
    SLOTS = 1
    SDEI = 2  # the event's number, 0: none, both notifications come by interrupt
    IRQ = 3
    ENABLE = 4  # x2, x3: low and high half of the control word
    IRQ_ACK = 5


VERSION = 1 << 16  # major, minor, revision: a byte each
SLOTS = 64

#: Private, between SGIs and the timers; none of the virt board's other PPIs (25 to 30).
IRQ = 22
#: Private event of the hypervisor's own range.
EVENT = 0x40400001

ENABLED, SEND_ALWAYS = 1, 2
ADDRESS = ~63 & (1 << 64) - 1  # bits 63:6 of the control word

#: Shared buffer, little-endian words: reason, token. The guest's own bookkeeping follows at 64.
REASON_OFFSET, TOKEN_OFFSET, HOST_BYTES = 0, 4, 8


class Reason(IntEnum):
    """What the shared buffer says; the host sets it and the guest clears it."""

    NONE = 0
    PAGE_NOT_PRESENT = 1
    PAGE_READY = 2


#: READY of everybody who waits on this vCPU: the first one after each ENABLE.
WAKE_ALL = 0xFFFFFFFF

#: token = id << 12 | vCPU
ID_SHIFT, ID_MASK = 12, 0xFFFF

SUCCESS, NOT_SUPPORTED, NOT_REQUIRED, INVALID_PARAMETER = 0, -1, -2, -3
