# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs no model of a protocol: what the host says of its own state, how the guest ends, and what is left then.

GUEST: the guest panicked or ended with a bad status, its programs' own verdict on their memory included. LIVE: nothing happens
any more, or it does not end in its time. HOST: the host failed. RES: the guest's wait table is not empty though nothing is under way.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Literal

from vmemu.lab.models.base import End, Model, peek, profile
from vmemu.lab.models.registry import Entry, register
from vmemu.lab.models.waits import WaitGraph
from vmemu.machine.elf import SLEEPER_WORDS
from vmemu.machine.result import FAILED, HOST, LIMIT, OK, STALLED

if TYPE_CHECKING:
    from vmemu.machine.machine import Machine

#: The host's own invariants are looked at after so many turns: often enough to see when, seldom enough to cost little.
EVERY = 64
#: Here legacy announcements leave markers, by the protocol: pages that the guest was never told of are announced, too.
LEAVES_MARKERS = ("kvm-2010",)
_NAMED = re.compile(r"([A-Z][A-Z0-9]*(?:-\d+)?): (.*)", re.DOTALL)
_PANIC = re.compile(rb"panic: [^\n]*")


class CheckerModel(Model):
    """Knows no protocol."""

    name = "machine"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._turns = 0

    def check(self) -> None:
        self._turns += 1
        if self._turns % EVERY == 0:
            self.host()

    # ------------------------------------------------------------------- host
    def host(self) -> None:
        """The facilities' own invariants."""
        for facility in self.machine.facilities.values():
            for text in facility.invariants():
                named = _NAMED.fullmatch(text)
                self.wrong(named[1] if named else "HOST", named[2] if named else text)

    # ------------------------------------------------------------------ guest
    def counters(self) -> dict[str, int]:
        """What the guest counts in its wait table (elf.py, SLEEPER_WORDS); empty when it does not say."""
        if self.machine.sleepers is None:
            return {}
        gpa, words = self.machine.sleepers
        data = peek(self.machine, gpa, 8 * min(words, len(SLEEPER_WORDS))) or b""
        order: Literal["big", "little"] = "big" if self.machine.core.isa.big_endian else "little"
        return {name: int.from_bytes(data[8 * i :][:8], order) for i, name in enumerate(SLEEPER_WORDS) if len(data) >= 8 * i + 8}

    def residue(self) -> None:
        """Nothing is in flight: nobody sleeps on a token, and no wake waits for its sleeper."""
        left = self.counters()
        if left.get("sleeping"):
            self.wrong("RES", f"{left['sleeping']} tasks of the guest still sleep on tokens")
        if left.get("markers") and profile(self.machine) not in LEAVES_MARKERS:
            self.wrong("RES", f"{left['markers']} wakes that nobody has come for are left in the guest's wait table")

    def at_rest(self) -> None:
        self.host()
        self.residue()

    def at_end(self, end: End) -> None:
        self.host()
        if end.status == OK:
            self.residue()
        elif end.status == FAILED:
            panic = _PANIC.search(bytes(self.machine.console.output))
            self.wrong("GUEST", panic[0].decode(errors="replace") if panic else end.reason)
        elif end.status in (STALLED, LIMIT):
            chains = WaitGraph.of(self.machine, self.peers).lines()
            self.wrong("LIVE", ". ".join([end.reason.partition(";")[0], *chains]))
        elif end.status == HOST:
            self.wrong("HOST", end.reason)

    # ------------------------------------------------------------------ state
    def state(self) -> Hashable:
        return None

    def save(self) -> Any:
        return self._turns

    def load(self, state: Any) -> None:
        self._turns = state


register(Entry(CheckerModel.name, lambda machine: True, CheckerModel))
