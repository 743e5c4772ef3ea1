# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's own invariants after each turn, and nothing about its guest: for guests that do not end by themselves, or break rules."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from vmemu.lab.models.base import End, Model
from vmemu.lab.models.registry import Entry, register


class HostModel(Model):
    """What the facilities say of themselves ("COUNT: ..."), as violations."""

    name = "host"

    def check(self) -> None:
        for facility in self.machine.facilities.values():
            for text in facility.invariants():
                name, _, rest = text.partition(": ")
                self.wrong(name, rest)

    def at_end(self, end: End) -> None:
        self.check()

    def state(self) -> Hashable:
        return ()

    def save(self) -> Any:
        return ()

    def load(self, state: Any) -> None:
        return None


register(Entry(HostModel.name, lambda machine: False, HostModel))  # only where a scenario names it
