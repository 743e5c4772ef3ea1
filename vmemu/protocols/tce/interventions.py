# SPDX-License-Identifier: GPL-2.0-or-later
"""Page-ins that TCE calls wait for, by hand: they end now, later, or without the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.protocols.interventions import Steerable, Target

if TYPE_CHECKING:
    from vmemu.protocols.tce.away import Away


class Arrivals(Steerable):
    """Of one machine's windows. A target's key is its page index."""

    notifications: dict[str, str]

    def __init__(self, away: Away) -> None:
        self._away, self._machine = away, away.machine
        self.notifications = {}

    def targets(self) -> list[Target]:
        core = self._machine.core
        return [Target("page", core.gpa(index), core.gpa(index), index) for index in sorted(self._away.asked)]

    def complete(self, target: Target) -> str:
        self._away.end_io(target.key, self._machine.instant())
        return f"{target}: its I/O ends now"

    def fail(self, target: Target) -> str:
        self._away.lose_page(target.key)
        self._away.end_io(target.key, self._machine.instant())
        return f"{target}: its I/O ends now, and the store cannot give it back: the call ends with H_Hardware"

    def delay(self, target: Target, ns: int) -> str:
        self._away.end_io(target.key, max(self._away.asked[target.key], self._machine.instant()) + ns)
        return f"{target}: its I/O ends {ns // 1000} us later"
