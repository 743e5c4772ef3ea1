# SPDX-License-Identifier: GPL-2.0-or-later
"""TCEs and the four calls as they cross the border (LoPAR 2.9, 5.4.2 and "TCE definition"). Bit 0 of LoPAR is the most significant."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from vmemu.devices.papr import H_FUNCTION, H_HARDWARE, H_P4, H_PARAMETER, H_SUCCESS, MASK64

H_NOT_ENOUGH_RESOURCES = -44
H_LONG_BUSY_1MS = 9900  # H_LongBusyOrder1msec
#: Everything a guest can get (shared between profiles).
CODES = frozenset({H_SUCCESS, H_HARDWARE, H_FUNCTION, H_PARAMETER, H_P4, H_NOT_ENOUGH_RESOURCES, H_LONG_BUSY_1MS})

READ, WRITE = 1, 2  # what the device may do: bits 63 and 62
PERMS = READ | WRITE
RESERVED = 0xFFC  # bits 52 to 61
PAGE = MASK64 & ~0xFFF
PAGE_SHIFT = 12
MOST = 512  # entries in one call: what a list page holds


class Token(IntEnum):
    GET, PUT, STUFF, INDIRECT = 0x1C, 0x20, 0x138, 0x13C


#: Functions of ibm,hypertas-functions.
HYPERTAS = ("hcall-tce", "hcall-multi-tce")


class Level(IntEnum):
    """Who finished a call."""

    REAL, VIRTUAL, USER = range(3)


class Marker(IntEnum):
    """What real mode left for virtual mode (tce.h, enum marker)."""

    NONE, GET_PAGE, PUT_TCE, DROP_OLD, PUT_LIST = range(5)


class Refusal(IntEnum):
    """Why real mode left a call to virtual mode (tce.h, enum refusal)."""

    NONE, NO_MEMORY_SLOT, NOT_PRESENT, LARGE_MAPPING, NOT_DIRTY, NOT_YOUNG, NO_PAGE_STRUCT, COMPOUND, COUNT_ZERO = range(9)
    CHANGED, OFF, ARGUMENTS, NO_TABLE_PAGE, LAST_REFERENCE, LOCKED, PAGE_SIZE, LIMIT = range(9, 17)


class Later(Enum):
    """H_TOO_HARD: the level above must finish the call. No number, so that no guest can ever see one."""

    TOO_HARD = "too hard"


TOO_HARD = Later.TOO_HARD
#: What a level answers: (code, result in r4) or TOO_HARD.
Answer = tuple[int, int | None] | Later


@dataclass(frozen=True, slots=True)
class Call:
    """One call; arguments as 64-bit registers hold them. `value`: TCE, or address of the list. `count` of GET and PUT is 1."""

    token: Token
    liobn: int
    ioba: int
    value: int = 0
    count: int = 1

    @classmethod
    def of(cls, token: Token, r4: int, r5: int, r6: int, r7: int) -> Call:
        if token is Token.GET:
            return cls(token, r4, r5)
        return cls(token, r4, r5, r6, r7 if token in (Token.STUFF, Token.INDIRECT) else 1)
