# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions that vmemu executes itself, because the engine would crash, read the host's clock or leave stale state.

The C unit's classifier (sense_ppc64.c) must trap exactly these; tests/core/test_sense_ppc64.py compares them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pattern:
    """Words with ``word & mask == value`` are trapped."""

    name: str
    mask: int
    value: int
    why: str

    def matches(self, word: int) -> bool:
        return word & self.mask == self.value


def _x(xo: int) -> int:
    return 31 << 26 | xo << 1


_X_MASK = 0xFC0007FE
_SPR_MASK = 0xFC1FFFFE


def _spr(xo: int, number: int) -> int:
    return _x(xo) | (number & 31) << 16 | number >> 5 << 11


#: Time base, timers and their relatives: SPR numbers.
TIME_SPRS = (268, 269, 284, 285, 286, 308, 309, 310, 849)
DEC = 22
#: Writing these changes what addresses mean: PIDR, UAMR, AMR, IAMR.
CONTEXT_SPRS = (48, 13, 29, 61)
MFSPR, MTSPR, MFTB = 339, 467, 371

PATTERNS: tuple[Pattern, ...] = (
    *(Pattern(f"mfspr {n}", _SPR_MASK, _spr(MFSPR, n), "virtual time") for n in (*TIME_SPRS, DEC)),
    *(Pattern(f"mftb {n}", _SPR_MASK, _spr(MFTB, n), "virtual time") for n in (*TIME_SPRS, DEC)),
    *(Pattern(f"mtspr {n}", _SPR_MASK, _spr(MTSPR, n), "virtual time") for n in (*TIME_SPRS, DEC)),
    *(Pattern(f"mtspr {n}", _SPR_MASK, _spr(MTSPR, n), "address context") for n in CONTEXT_SPRS),
    Pattern("tlbiel", _X_MASK, _x(274), "block tags follow the TLB"),
    Pattern("tlbie", _X_MASK, _x(306), "broadcast to the other vCPUs"),
    Pattern("slbia", _X_MASK, _x(498), "block tags follow the TLB"),
    Pattern("cpabort", _X_MASK, _x(838), "the copy buffer is the C unit's"),
    Pattern("darn", _X_MASK, _x(755), "host randomness"),
    Pattern("wait", _X_MASK, _x(30), "with interrupts off nothing would end it"),
)


def is_sensitive(word: int) -> bool:
    """Must the instruction `word` be trapped?"""
    return any(p.matches(word) for p in PATTERNS)
