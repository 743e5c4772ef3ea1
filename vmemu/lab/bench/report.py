# SPDX-License-Identifier: GPL-2.0-or-later
"""What a benchmark says: figures with their goal, verdict and the reference measured beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. `goal` is an upper bound for times and a lower bound for ratios; None = for information."""

    group: str
    name: str
    figure: float
    unit: str
    goal: float | None = None
    at_least: bool = False
    reference: str = ""

    @property
    def held(self) -> bool | None:
        if self.goal is None:
            return None
        return self.figure >= self.goal if self.at_least else self.figure <= self.goal

    @property
    def verdict(self) -> str:
        return {None: "", True: "held", False: "missed"}[self.held]

    @property
    def goal_text(self) -> str:
        if self.goal is None:
            return ""
        return f"{'>=' if self.at_least else '<='} {self.goal:g}"

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group, "name": self.name, "figure": self.figure, "unit": self.unit, "goal": self.goal,
            "at_least": self.at_least, "verdict": self.verdict, "reference": self.reference,
        }  # fmt: skip


def number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


@dataclass
class Report:
    """All figures of one run, and free-form facts about it (rates per kernel, versions)."""

    lines: list[Line] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        self.lines.append(line)

    @property
    def ok(self) -> bool:
        """No goal is missed."""
        return all(line.held is not False for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "lines": [line.to_json() for line in self.lines], "details": self.details}

    def print(self, echo: Callable[[str], None]) -> None:
        """A table on a terminal, tab-separated lines when piped."""
        rows = [
            (x.group, x.name, f"{number(x.figure)} {x.unit}".strip(), x.goal_text, x.verdict, x.reference) for x in self.lines
        ]
        console = Console()
        if not console.is_terminal:
            for row in rows:
                echo("\t".join(row))
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("", "what", "figure", "goal", "verdict", "reference"):
            table.add_column(column, justify="right" if column == "figure" else "left", overflow="fold")
        style = {"held": "green", "missed": "red"}
        last = ""
        for group, name, figure, goal, verdict, reference in rows:
            table.add_row("" if group == last else group, name, figure, goal, verdict, reference, style=style.get(verdict))
            last = group
        console.print(table)
