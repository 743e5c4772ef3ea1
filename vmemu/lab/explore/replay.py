# SPDX-License-Identifier: GPL-2.0-or-later
"""A schedule run again to be looked at: its story in words, its recording, a trace of it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from vmemu.clock.inject import Action
from vmemu.core.observe import What
from vmemu.errors import ConfigError
from vmemu.lab.explore.execution import FAR_ENOUGH, Execution, Explorer
from vmemu.lab.explore.failures import alternatives
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.explore.schedule import Deviation, Schedule, parse_schedule
from vmemu.lab.models.watch import Moment
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder
from vmemu.machine.result import make_result
from vmemu.protocols.async_page.pager import SPREAD

#: Observations that come in hundreds when a guest prints.
_CHATTER = frozenset((What.MMIO_WRITE, What.HCALL, What.HCALL_DONE))
#: Observations kept for a story, and lines of it that are shown unless asked otherwise.
KEPT, SHOWN = 100_000, 60


@dataclass(frozen=True, slots=True)
class Turn:
    """A deviation as it was made: virtual ns, instruction index, which, what it means."""

    ns: int
    insns: int
    deviation: Deviation
    words: str

    def __str__(self) -> str:
        return f"{self.ns / 1e9:.9f} {self.insns:>10} {'*':>7}  {self.deviation}: {self.words}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """An execution and what was seen on the way, in order: observations and deviations."""

    execution: Execution
    story: tuple[Moment | Turn, ...]

    def lines(self, most: int = SHOWN) -> list[str]:
        """For people: all deviations, and of the rest the last `most` lines. What repeats itself is shown once."""
        lines = _brief(self.story)
        skipped = max(len(lines) - most, 0)
        head = [text for text, deviates in lines[:skipped] if deviates]
        cut = [f"... {skipped - len(head)} lines before"] if skipped > len(head) else []
        return [*head, *cut, *(text for text, _ in lines[skipped:])]


def _brief(story: Iterable[Moment | Turn]) -> list[tuple[str, bool]]:
    """Lines, and whether each is a deviation. One that is like one of the two before it (a console's bytes) is only counted."""
    lines: list[tuple[str, bool]] = []
    before: deque[tuple[int, int, int]] = deque(maxlen=2)
    more = 0
    for entry in story:
        if isinstance(entry, Moment):
            key = int(entry.seen.what), entry.seen.vcpu, entry.seen.a
            if key in before and entry.seen.what in _CHATTER:
                more += 1
                before.append(key)
                continue
            before.append(key)
        if more:
            lines.append((f"{'':>30}  ... and {more} more of these", False))
            more = 0
        lines.append((str(entry), isinstance(entry, Turn)))
    return [*lines, (f"{'':>30}  ... and {more} more of these", False)] if more else lines


class _Words:
    """What deviations mean."""

    def __init__(self, scenario: Scenario) -> None:
        self._events: dict[str, tuple[Action, ...]] = dict(alternatives(text) for text in scenario.events)
        self._actions = scenario.actions

    def say(self, deviation: Deviation, options: int, keys: Sequence[int]) -> str:
        kind, _, option = deviation
        if kind in self._events:
            return f"{kind} goes wrong: {self._events[kind][option - 1]}"
        if kind == "act":
            return f"the environment acts: {self._actions[option - 1]}"
        if kind == "vcpu":
            return f"vCPU {keys[option]} has the next turn, not vCPU {keys[0]}" if keys else "another vCPU has the next turn"
        if kind == "quantum":
            return f"a turn of a {4**option}th of its length"
        if kind == "step":
            return "the host thread is interrupted here: others come in between"
        if kind == "latency":
            return f"the page-in takes {SPREAD[option] * 25} % of its time"
        if kind == "drain":
            return "a store of a host thread stays in its buffer"
        if kind == "completion":
            return "another one of several events at one instant comes first"
        if kind == "reclaim":
            return f"the search for victims moves on by {option} eighths of memory"
        return f"option {option} of 0 to {options - 1}"


def replay(scenario: Scenario, schedule: str | Schedule, *, bugs: Iterable[str] = (), record: str | None = None,
           tracing: Callable[[Machine], AbstractContextManager[Any]] | None = None) -> Replayed:
    """Run one schedule on a fresh machine. Raises ConfigError.

    record: write a recording there, for `vmemu replay` and `vmemu debug --replay`. tracing(machine) is entered before the machine
    has run, and left when the execution is over.
    """
    plan = parse_schedule(schedule) if isinstance(schedule, str) else schedule
    story: list[Moment | Turn] = []
    words = _Words(scenario)
    recorders: list[Recorder] = []
    traced: list[AbstractContextManager[Any]] = []

    def booted(machine: Machine) -> None:
        if record is not None:
            if scenario.rig is not None:
                raise ConfigError(f"scenario {scenario.name}: a machine made by hand cannot be recorded")
            recorders.append(Recorder(machine))
        traced.append(nullcontext() if tracing is None else tracing(machine))
        traced[0].__enter__()

    explorer = Explorer(scenario, tuple(bugs), keep=KEPT, logged=record is not None, on_boot=booted)
    try:
        machine, timeline = explorer.machine, explorer.watch.timeline
        timeline.clear()

        def deviates(made: Deviation, options: int, keys: Sequence[int]) -> None:
            story.extend(timeline)
            timeline.clear()
            story.append(Turn(machine.now(), machine.insns, made, words.say(made, options, keys)))

        explorer.source.on_deviation = deviates
        execution = explorer.go_on(plan)
        story.extend(timeline)
        traced[0].__exit__(None, None, None)
        if record is not None:
            _write(record, recorders[0], execution)
    finally:
        explorer.close()
    return Replayed(execution, tuple(story))


def _write(path: str, recorder: Recorder, execution: Execution) -> None:
    """The failures that the explorer injected become rules: a replay has no explorer to ask."""
    machine = recorder.machine
    assert machine.options is not None
    machine.options = replace(
        machine.options, inject=(*machine.memory.injector.fired, *machine.options.inject), max_cycles=machine.max_cycles
    )
    result = None
    if execution.status is not None and execution.reason != FAR_ENOUGH:
        result = make_result(machine, execution.status, execution.reason, machine.guest_status, 0.0)
    recorder.write(path, result)
