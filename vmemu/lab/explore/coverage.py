# SPDX-License-Identifier: GPL-2.0-or-later
"""What executions have reached: states of the models and transitions between them, decisions by kind, failures by event."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from vmemu.lab.explore.execution import Execution


@dataclass
class Coverage:
    """Sums over executions; merging is independent of who ran them.

    decisions: kind -> [met, deviated]. events: event -> [met, gone wrong], for each that may go wrong, met or not.
    """

    states: dict[Hashable, int] = field(default_factory=dict)
    transitions: set[tuple[int, int]] = field(default_factory=set)
    decisions: dict[str, list[int]] = field(default_factory=dict)
    events: dict[str, list[int]] = field(default_factory=dict)
    insns: int = 0
    #: Number of the execution that last reached something new.
    latest: int = 0

    @classmethod
    def of(cls, events: Iterable[str]) -> Coverage:
        return cls(events={text.partition(":")[0]: [0, 0] for text in events})

    def add(self, execution: Execution, number: int) -> None:
        known = len(self.states) + len(self.transitions)
        at = [self.states.setdefault(state, len(self.states)) for state in execution.states]
        self.transitions.update((at[a], at[b]) for a, b in execution.transitions)
        if len(self.states) + len(self.transitions) > known:
            self.latest = number
        for kind, n in execution.met.counts.items():
            self.decisions.setdefault(kind, [0, 0])[0] += n
        for deviation in execution.made:
            self.decisions.setdefault(deviation.kind, [0, 0])[1] += 1
        for event, counts in self.events.items():
            counts[:] = self.decisions.get(event, counts)
        self.insns += execution.insns

    def lines(self) -> list[str]:
        """For people."""
        out = [
            f"models: {len(self.states)} states, {len(self.transitions)} transitions; the last new one in execution {self.latest}",
            "decisions (deviations): " + (", ".join(f"{k} {n} ({d})" for k, (n, d) in sorted(self.decisions.items())) or "none"),
        ]
        if self.events:
            never = [event for event, (met, _) in self.events.items() if not met]
            out.append("events: " + ", ".join(f"{e} met {m}, failed {f}" for e, (m, f) in self.events.items() if m))
            if never:
                out.append(f"events never met: {', '.join(never)}")
        return out

    def to_json(self) -> dict[str, Any]:
        return {
            "states": len(self.states), "transitions": len(self.transitions), "last_new": self.latest, "instructions": self.insns,
            "decisions": {k: {"met": n, "deviated": d} for k, (n, d) in sorted(self.decisions.items())},
            "events": {e: {"met": m, "failed": f} for e, (m, f) in sorted(self.events.items())},
        }  # fmt: skip
