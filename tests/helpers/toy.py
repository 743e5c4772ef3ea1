# SPDX-License-Identifier: GPL-2.0-or-later
"""Something to explore that is no machine: a function that asks for decisions, and says which rules they break."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vmemu.lab.explore.decisions import Plan, PlannedSource
from vmemu.lab.explore.execution import Execution
from vmemu.lab.explore.schedule import Met, Schedule
from vmemu.lab.models.base import Violation

#: program(ask) -> the rules that are broken.
Program = Callable[[Callable[[str, int], int]], Iterable[str]]


class Toy:
    """Runs a program under plans; `runs` counts, `seen` is what was executed, in order."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.seen: list[Schedule] = []

    @property
    def runs(self) -> int:
        return len(self.seen)

    def run(self, plan: Plan | Schedule) -> Execution:
        source = PlannedSource()
        source.begin(plan if isinstance(plan, Plan) else Plan.of(plan))
        trace: list[tuple[str, int]] = []

        def ask(kind: str, options: int) -> int:
            answer = source.pick(kind, options) if options > 1 else 0
            trace.append((kind, answer))
            return answer

        broken = tuple(self.program(ask))
        made = tuple(source.made)
        self.seen.append(made)
        print_ = hash(tuple((len(kind), ord(kind[0]), answer) for kind, answer in trace))
        return Execution(tuple(Violation(rule, "broken") for rule in broken), made, Met.of(source.asked, made), fingerprint=print_)

    def close(self) -> None:
        return None
