# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI on the wire: function ids, return codes, fields of arguments.

Numbers as in Linux's include/uapi/linux/arm_sdei.h; version 1.1 with the vendor word of KVM's v7 series. Every argument counts
in full: a value that does not fit its field is invalid, never truncated.
"""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Call(IntEnum):
    """SMCCC function ids: fast, 64-bit, standard secure service."""

    VERSION = 0xC4000020
    EVENT_REGISTER = 0xC4000021
    EVENT_ENABLE = 0xC4000022
    EVENT_DISABLE = 0xC4000023
    EVENT_CONTEXT = 0xC4000024
    EVENT_COMPLETE = 0xC4000025
    EVENT_COMPLETE_AND_RESUME = 0xC4000026
    EVENT_UNREGISTER = 0xC4000027
    EVENT_STATUS = 0xC4000028
    EVENT_GET_INFO = 0xC4000029
    EVENT_ROUTING_SET = 0xC400002A
    PE_MASK = 0xC400002B
    PE_UNMASK = 0xC400002C
    INTERRUPT_BIND = 0xC400002D
    INTERRUPT_RELEASE = 0xC400002E
    EVENT_SIGNAL = 0xC400002F
    FEATURES = 0xC4000030
    PRIVATE_RESET = 0xC4000031
    SHARED_RESET = 0xC4000032


class Code(IntEnum):
    """Results; SMCCC's own -2 and -3 mean other things."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    DENIED = -3
    PENDING = -5
    OUT_OF_RESOURCE = -10


#: Events cannot be bound to interrupts, as in KVM.
UNSUPPORTED = frozenset({Call.INTERRUPT_BIND, Call.INTERRUPT_RELEASE})

MAJOR, MINOR, VENDOR = 1, 1, 0x564BCAA9
VERSION = MAJOR << 48 | MINOR << 32 | VENDOR

#: x0 to x17 of the interrupted code can be asked for (EVENT_CONTEXT), and are what COMPLETE restores.
CONTEXT_REGISTERS = 18


class Status(IntFlag):
    """EVENT_STATUS."""

    REGISTERED = 1
    ENABLED = 2
    RUNNING = 4


class Info(IntEnum):
    """x2 of EVENT_GET_INFO."""

    TYPE = 0  # 0 private, 1 shared
    SIGNALED = 1  # 1: software can signal it. TF-A answers the opposite; nobody uses it
    PRIORITY = 2  # 0 normal, 1 critical
    ROUTING_MODE = 3  # shared events only, these two
    ROUTING_AFFINITY = 4


class Routing(IntEnum):
    """x2 of EVENT_ROUTING_SET, and bit 0 of EVENT_REGISTER's flags."""

    ANY = 0
    PE = 1


class Feature(IntEnum):
    """x1 of FEATURES. Both answers are zero: no bind slots, no relative entry points."""

    BIND_SLOTS = 0
    RELATIVE_MODE = 1


#: The standard event that EVENT_SIGNAL sends.
SIGNALLED_EVENT = 0
