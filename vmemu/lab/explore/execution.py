# SPDX-License-Identifier: GPL-2.0-or-later
"""One execution of a scenario: the machine is put back in place, runs under a plan, and models watch.

What a machine is told between two turns and what it asks by itself come from one `PlannedSource`. Only the latter goes through
`machine.choices`: a recording of an execution then holds exactly what a replay asks for, and the former as commands.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

from vmemu.clock.choices import Choices
from vmemu.core import CYC
from vmemu.errors import ConfigError, EngineError, StoreError, VmemuError
from vmemu.lab.explore import actions
from vmemu.lab.explore.decisions import Plan, PlannedSource, Unlogged
from vmemu.lab.explore.failures import asker, rules_that_never_fire
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.explore.schedule import Met, Schedule, format_schedule
from vmemu.lab.models.base import Violation
from vmemu.lab.models.registry import models_for
from vmemu.lab.models.watch import Watch
from vmemu.machine import snapshot
from vmemu.machine.boot import BootOptions, boot
from vmemu.machine.control import Refused, perform
from vmemu.machine.facility import load_rooms
from vmemu.machine.machine import QUANTUM, Machine
from vmemu.machine.result import FAILED, HOST, LIMIT, OK, STALLED, make_result
from vmemu.machine.target import go_to

#: An execution that ended badly without any model's objection violates one of these.
_VERDICTS = {FAILED: "GUEST", STALLED: "LIVE", LIMIT: "LIVE", HOST: "HOST"}
#: The start is looked for so far: with a known bug on, a guest may never come there.
_START_CYCLES = 200_000_000
#: Why an execution ended whose scenario says when to (`until`).
FAR_ENOUGH = "the scenario needs no more"
_MASK = (1 << 61) - 1


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution's machine ended."""

    status: int
    reason: str
    guest_status: int | None


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of one execution.

    violations: the first ones; the execution ends with the turn that has them. made: its deviations in order; met: its
    decisions. insns, ns: how long it was, of all vCPUs and in virtual time. status,
    reason: of its end, None when a violation ended it. states: of the models, in order of first sight, with
    transitions between them. fingerprint: equal ones went the same way.
    """

    violations: tuple[Violation, ...] = ()
    made: Schedule = ()
    met: Met = field(default_factory=lambda: Met.of((), ()))
    insns: int = 0
    ns: int = 0
    status: int | None = OK
    reason: str = ""
    states: tuple[Hashable, ...] = ()
    transitions: frozenset[tuple[int, int]] = frozenset()
    fired: tuple[str, ...] = ()
    fingerprint: int = 0

    @property
    def schedule(self) -> str:
        """What it did otherwise than the default, as text that replays it."""
        return format_schedule(self.made)

    @property
    def invariants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(v.invariant for v in self.violations))


@dataclass(slots=True)
class _Seen:
    """States of the models along one execution."""

    index: dict[Hashable, int] = field(default_factory=dict)
    transitions: set[tuple[int, int]] = field(default_factory=set)
    last: int = -1

    def add(self, state: Hashable) -> None:
        at = self.index.setdefault(state, len(self.index))
        if at != self.last:
            if self.last >= 0:
                self.transitions.add((self.last, at))
            self.last = at


class Explorer:
    """A scenario's machine, standing at its start. `run` may be called as often as one likes; each call begins there.

    bugs: known bugs to switch on, besides the scenario's own. keep: observations kept for `watch.story`.
    logged: choices are logged, for recordings (slower). on_boot: told of the machine before it has run. source: who decides, of
    the kinds that it is made with.
    """

    def __init__(self, scenario: Scenario, bugs: Sequence[str] = (), *, keep: int = 0, logged: bool = False,
                 on_boot: Callable[[Machine], None] | None = None, source: type[PlannedSource] = PlannedSource) -> None:
        load_rooms()
        self.scenario = scenario
        self.bugs = tuple(dict.fromkeys((*scenario.bugs, *bugs)))
        self.actions = actions.find(scenario.actions)
        self.source = source(None if scenario.kinds is None else {*scenario.kinds, *self._own_kinds()})
        self._logged = logged
        index = self._start_index()
        self.machine = machine = self._make()
        try:
            if on_boot is not None:
                on_boot(machine)
            names = scenario.models if scenario.models == "auto" else tuple(scenario.models)
            self.watch = Watch(machine, models_for(machine, None if names == "auto" else names), keep=keep)
            self._ask = self.source.pick
            machine.memory.injector.ask = asker(scenario.events, self._ask)
            self._go_to_start(index)
        except BaseException:
            machine.close()
            raise
        machine.max_cycles = machine.time_units // CYC + scenario.cycles
        self._seen, self._print = _Seen(), 0
        self.start_insns, self.start_ns = machine.insns, machine.instant()
        self.base = snapshot.take(machine)
        self._watched = self.watch.save()

    # ------------------------------------------------------------- the start
    def _own_kinds(self) -> list[str]:
        events = [text.partition(":")[0] for text in self.scenario.events]
        return ["act", *(f"act.{action.name}" for action in self.actions), *events]

    def _options(self) -> BootOptions:
        s = self.scenario
        inject = (*s.options.get("inject", ()), *rules_that_never_fire(s.events))
        return BootOptions(**{"image": s.image, "isa": s.isa, "slice": QUANTUM, **s.options, "bugs": self.bugs, "inject": inject})

    def _make(self) -> Machine:
        choices = Choices(self.source) if self._logged else Unlogged(self.source)
        s = self.scenario
        machine = boot(self._options(), choices) if s.rig is None else s.rig(self.bugs, choices)
        if machine.choices is not choices:
            machine.close()
            raise ConfigError(f"scenario {s.name}: its rig made a machine that asks others than the choices it was given")
        if not self._logged and s.kinds is not None and "reclaim" not in s.kinds:
            machine.core.ptr.ask_reclaim = False  # the default, without asking
        return machine

    def _start_index(self) -> int:
        """The start as an instruction index. A condition is looked for on a machine of its own: looking for it moves in time."""
        start = self.scenario.start
        if isinstance(start, int) or start == "boot" or start.isdigit():
            return 0 if start == "boot" else int(start)
        scout = self._make()
        scout.max_cycles = scout.max_cycles or _START_CYCLES
        try:
            go_to(scout, start, f"scenario {self.scenario.name}: start")
            return scout.insns
        finally:
            scout.close()

    def _go_to_start(self, index: int) -> None:
        """Run to the start, and set up what is to be set up there."""
        machine = self.machine
        end = machine.run_to(index)
        if end is not None:
            raise ConfigError(f"scenario {self.scenario.name}: the machine ends before its start: {end[1]}")
        for step in self.scenario.setup:
            for text in (step,) if isinstance(step, str) else step(machine):
                self.command(text)
        wrong = self.watch.violations
        if wrong:
            raise ConfigError(f"scenario {self.scenario.name}: something is wrong before its start: {wrong[0]}")

    def command(self, text: str) -> str:
        machine = self.machine
        return perform(machine, text)

    # ---------------------------------------------------------- an execution
    def reset(self) -> None:
        """Back to the start."""
        snapshot.restore(self.machine, self.base)
        self.watch.load(self._watched)

    def run(self, plan: Plan | Schedule) -> Execution:
        """One execution, from the start."""
        self.reset()
        return self.go_on(plan)

    def go_on(self, plan: Plan | Schedule) -> Execution:
        """The same, from where the machine stands, which is its start: for the first execution of a machine that is recorded."""
        self._begin(plan)
        return self.finish(_ending(self._drive if self.scenario.drive is not None else self._loop))

    def _begin(self, plan: Plan | Schedule) -> None:
        self.source.begin(plan if isinstance(plan, Plan) else Plan.of(plan))
        self._seen, self._print = _Seen(), 0

    # --------------------------------------------- an execution, turn by turn
    def begin(self) -> None:
        """Back to the start; `turn`, `offer` and `finish` are the caller's now. They make the decisions that `run` makes."""
        self.reset()
        self._begin(())

    def turn(self) -> tuple[int, str] | None:
        """One turn of the machine; how the execution ended, if it did."""
        turns, until = self.machine.turns, self.scenario.until
        end = _ending(self.machine.turn)
        if end is None and until is not None and self.machine.turns != turns and until(self.machine):
            return OK, FAR_ENOUGH
        return end

    def offer(self) -> str | None:
        """After a turn: the environment decides about an action. The command that was given, whether it could be done or not."""
        index = self._ask("act", 1 + len(self.actions)) if self.actions else 0
        return self._act(index - 1) if index else None

    def _drive(self) -> tuple[int, str] | None:
        assert self.scenario.drive is not None
        self.scenario.drive(self.machine, self._ask)
        for model in self.watch.models:
            model.check()
        self._print = zlib.crc32(repr((self.source.asked, self.source.made)).encode())  # nothing else tells two of them apart
        return None if any(model.violations for model in self.watch.models) else (OK, "the drive is over")

    def _loop(self) -> tuple[int, str] | None:
        """To the end of the machine, or to the first violation (None)."""
        machine, models, ask = self.machine, self.watch.models, self._ask
        seen = self._seen
        options = 1 + len(self.actions)
        turns, asked, until = machine.turns, self.source.asked, self.scenario.until
        mark = 0
        end: tuple[int, str] | None = None
        while end is None:
            end = machine.turn()
            mark = (mark * 1_000_003 + machine.insns * 31 + machine.time_units + (len(asked) << 40)) & _MASK
            if machine.turns != turns:
                turns = machine.turns
                for model in models:
                    if model.violations:
                        return None
                seen.add(self.watch.state())
                if until is not None and end is None and until(machine):
                    end = OK, FAR_ENOUGH
                if options > 1 and end is None and (index := ask("act", options)):  # offer()
                    self._act(index - 1)
        self._print = mark
        return end

    def _act(self, index: int) -> str | None:
        text = self.actions[index].propose(self.machine, self._ask)
        if text is not None:
            try:
                self.command(text)
            except (Refused, ConfigError, EngineError):
                pass  # it cannot be done now: nothing has changed
        return text

    def finish(self, end: tuple[int, str] | None) -> Execution:
        """The verdict. `end`: of the machine; None: a violation ended the execution."""
        machine, watch, source, seen = self.machine, self.watch, self.source, self._seen
        found: list[Violation] = []
        if end is not None:
            if end[1] != FAR_ENOUGH:
                watch.at_end(Ended(*end, machine.guest_status))
            if self.scenario.verify is not None and end[0] in (OK, FAILED):
                result = make_result(machine, *end, machine.guest_status, 0.0)
                found += self.scenario.verify(machine, result)
        found = watch.violations + found
        if end is not None and end[0] != OK and not found:
            found.append(Violation(_VERDICTS.get(end[0], "HOST"), end[1], insns=machine.insns))
        return Execution(
            violations=tuple(found),
            made=tuple(source.made),
            met=Met.of(source.asked, tuple(source.made)),
            insns=machine.insns - self.start_insns,
            ns=machine.instant() - self.start_ns,
            status=None if end is None else end[0],
            reason="" if end is None else end[1],
            states=tuple(seen.index),
            transitions=frozenset(seen.transitions),
            fired=tuple(machine.memory.injector.fired),
            fingerprint=self._print,
        )

    def close(self) -> None:
        """The machine is given up."""
        self.machine.close()


def _ending(run: Callable[[], tuple[int, str] | None]) -> tuple[int, str] | None:
    """What `run` says, or the host's failure."""
    try:
        return run()
    except StoreError as error:
        return HOST, f"store failure: {error}"
    except EngineError as error:
        return HOST, f"engine failure: {error}"
    except VmemuError as error:
        return error.status, str(error)
