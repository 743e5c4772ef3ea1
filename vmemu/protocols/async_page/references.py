# SPDX-License-Identifier: GPL-2.0-or-later
"""Who holds the VM and its address space (mm). A worker holds the mm from the moment its work is set up until it has the page, and
no VM reference (KVM since 3d75b8aa5c29; with one, the last put may destroy the VM from inside the worker: 22583f0d9c85).
"""

from __future__ import annotations

from typing import Any

VM, MM = "vm", "mm"


class References:
    """Counts by holder. `problems` collects what must never happen: a put without a get, a get of what is gone."""

    def __init__(self) -> None:
        self.holders: dict[str, dict[str, int]] = {VM: {"owner": 1}, MM: {"owner": 1}}
        self.gone: list[str] = []
        self.problems: list[str] = []

    def get(self, what: str, holder: str) -> None:
        if what in self.gone:
            self.problems.append(f"{holder} takes a reference to the {what}, which is gone")
            return
        held = self.holders[what]
        held[holder] = held.get(holder, 0) + 1

    def put(self, what: str, holder: str) -> bool:
        """True when it was the last one: the thing is gone then."""
        held = self.holders[what]
        if not held.get(holder):
            self.problems.append(f"{holder} gives back a reference to the {what} that it does not hold")
            return False
        held[holder] -= 1
        if not held[holder]:
            del held[holder]
        if held:
            return False
        self.gone.append(what)
        return True

    def use(self, what: str, user: str) -> None:
        """Somebody relies on it now."""
        if what in self.gone:
            self.problems.append(f"{user} uses the {what}, which is gone")

    def count(self, what: str) -> int:
        return sum(self.holders[what].values())

    def save(self) -> dict[str, Any]:
        return {"holders": {k: dict(v) for k, v in self.holders.items()}, "gone": list(self.gone), "problems": list(self.problems)}

    def load(self, state: dict[str, Any]) -> None:
        self.holders = {k: dict(v) for k, v in state["holders"].items()}
        self.gone, self.problems = list(state["gone"]), list(state["problems"])
