# SPDX-License-Identifier: GPL-2.0-or-later
"""A case of the zoo: one known bug, the scenario that brings it out, and what then does not hold."""

from __future__ import annotations

from dataclasses import dataclass

from vmemu.lab.explore.scenario import Scenario


@dataclass(frozen=True)
class Case:
    """bug: id of the switch. scenario: what is explored with the switch on, and off. Cases may share one.

    invariants: names of those whose violation is the bug; what else is found first counts as an escape. strategy: as --strategy.
    also: other switches that are on in both passes: a bug that needs a guest of another kind.
    """

    bug: str
    scenario: Scenario
    invariants: tuple[str, ...]
    strategy: str = "portfolio"
    also: tuple[str, ...] = ()
