# SPDX-License-Identifier: GPL-2.0-or-later
"""Page usage states of the cooperative memory over-commitment option (LoPAR 2.9, "CMO Page Usage States").

A partition with a hash table sets them when it enters a translation; one without (radix) sets them by H_PAGE_INIT, whose flags
carry the same four bits 28 to 31 (IBM): change, two bits of state, one modifier.
"""

from __future__ import annotations

from enum import IntEnum

from vmemu.devices.base import Quiet, State
from vmemu.devices.papr import NoWindow

CHANGE = 1 << 63 - 28
_SHIFT = 63 - 31


class Usage(IntEnum):
    """Bits 29 to 31: state << 1 | modifier."""

    ACTIVE, ACTIVE_CRITICAL = 0b000, 0b001
    LATENT, LATENT_CRITICAL = 0b010, 0b011
    EXPENDABLE, EXPENDABLE_CRITICAL = 0b100, 0b101
    UNUSED, LOANED = 0b110, 0b111


#: States in which the platform may throw the content away: a later touch finds zeros.
DISCARDABLE = frozenset((Usage.EXPENDABLE, Usage.EXPENDABLE_CRITICAL, Usage.UNUSED, Usage.LOANED))


class PageUsage(NoWindow, Quiet):
    """The state of every page of a partition; active is what most are and what is not kept."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self._states: dict[int, Usage] = {}

    def set(self, page: int, flags: int) -> None:
        """As the flags of a hypercall say; without CHANGE nothing happens. `page`: guest-physical page number, in RAM."""
        if not flags & CHANGE:
            return
        usage = Usage(flags >> _SHIFT & 7)
        if usage == Usage.ACTIVE:
            self._states.pop(page, None)
        else:
            self._states[page] = usage

    def of(self, page: int) -> Usage:
        return self._states.get(page, Usage.ACTIVE)

    def discardable(self, page: int) -> bool:
        return self._states.get(page) in DISCARDABLE

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "states": [[page, int(usage)] for page, usage in sorted(self._states.items())]}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"page usage: state version {state['version']}")
        self._states = {int(page): Usage(usage) for page, usage in state["states"]}
