# SPDX-License-Identifier: GPL-2.0-or-later
"""Rule-based property tests: Hypothesis plays the host's bad days and the environment against a real guest on the engine.

    TestMine = rules_for(find("smallest-x86_64")).TestCase

The rules are what a host or an environment may do: run the guest for a few turns with decisions that are not the default ones,
each action of the scenario (evict a page, end a page-in, take a vCPU away ...), let the next event of a kind go wrong, go back
to where one was. Everything is a decision or a command of the machine's owner, so what Hypothesis shrinks is a schedule. Models
watch after each turn; at the end of an example faults and injection stop, and the guest must come to its end in time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from vmemu.lab.explore import actions
from vmemu.lab.explore.decisions import Plan, PlannedSource
from vmemu.lab.explore.execution import Execution, Explorer
from vmemu.lab.explore.failures import alternatives
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.explore.schedule import Deviation
from vmemu.lab.models import Violation
from vmemu.machine import snapshot
from vmemu.machine.facility import load_rooms

#: "One of those there are", by number: small ones first, so that shrinking finds the most obvious.
_WHICH = st.integers(0, 7)
#: Observations that a failure's story is made of.
_KEPT = 256
#: Most turns of one `run`.
_LONGEST = 6


class Broken(AssertionError):
    """Invariants that do not hold; the text names them, with the command that leads there and the story."""

    def __init__(self, violations: Sequence[Violation], command: str, story: list[str]) -> None:
        self.violations = tuple(violations)
        lines = [*map(str, violations), f"reproduce: {command}", *story]
        super().__init__("\n".join(lines))


class AheadSource(PlannedSource):
    """Default decisions, but for those that a rule has asked for: by how many decisions lie before it, or by kind."""

    def __init__(self, kinds: Any = None) -> None:
        self.ahead: dict[int, int] = {}
        self.next_of: dict[str, list[int]] = {}
        super().__init__(kinds)

    def begin(self, plan: Plan) -> None:
        super().begin(plan)
        self.calm()

    def calm(self) -> None:
        """From now on, defaults."""
        self.ahead, self.next_of = {}, {}

    def _pick(self, kind: str, options: int, keys: Sequence[int]) -> int:
        before = len(self.asked)
        super()._pick(kind, options, keys)
        if len(self.asked) == before:
            return 0  # no decision of this scenario
        asked_for = self.next_of.get(kind)
        wanted = asked_for.pop(0) if asked_for else 0
        if self.ahead:
            wanted = wanted or self.ahead.get(0, 0)
            self.ahead = {place - 1: option for place, option in self.ahead.items() if place}
        index = wanted % options
        if index:
            self._deviated(Deviation(kind, self.count[kind], index), options, keys)
        return index


class GuestRules(RuleBasedStateMachine):
    """Rules over one scenario; `rules_for` makes the subclass that has them all. One machine serves all examples of a subclass."""

    scenario: ClassVar[Scenario]
    bugs: ClassVar[tuple[str, ...]] = ()
    _made: ClassVar[dict[type, Explorer]] = {}

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        if cls not in GuestRules._made:
            GuestRules._made[cls] = Explorer(cls.scenario, cls.bugs, keep=_KEPT, source=AheadSource)
        self.explorer = GuestRules._made[cls]
        source = self.explorer.source
        assert isinstance(source, AheadSource)
        self.source = source
        self._begin()

    @classmethod
    def use(cls, explorer: Explorer) -> None:
        """Run on this explorer, whose source is an `AheadSource`, and not on one of its own."""
        GuestRules._made[cls] = explorer

    def _begin(self) -> None:
        self.explorer.begin()
        self.over = False
        #: A turn is over, and nobody has decided yet about an action after it.
        self._between = False
        self._marks: list[tuple[snapshot.Snapshot, Any, bool]] = []

    @precondition(lambda self: self.over)
    @rule()
    def reset(self) -> None:
        """The guest has come to its end: the next one begins."""
        self._begin()

    def running(self) -> bool:
        return not self.over

    @precondition(running)
    @rule(turns=st.integers(1, _LONGEST), deviations=st.dictionaries(st.integers(0, 15), st.integers(1, 3), max_size=2))
    def run(self, turns: int, deviations: dict[int, int]) -> None:
        """So many turns of the run loop; the n-th decision from now takes another option than its first."""
        self.source.ahead = dict(deviations)
        for _ in range(turns):
            self._turn()
            if self.over:
                return
        self.source.ahead = {}

    @precondition(lambda self: self.running() and len(self._marks) < 2)
    @rule()
    def save(self) -> None:
        """Remember this instant."""
        self._marks.append((snapshot.take(self.explorer.machine), self.explorer.watch.save(), self._between))

    @precondition(lambda self: self.running() and self._marks)
    @rule()
    def restore(self) -> None:
        """Back to the instant remembered last, decisions included: from there the run may go another way."""
        mark, watched, self._between = self._marks.pop()
        snapshot.restore(self.explorer.machine, mark)
        self.explorer.watch.load(watched)
        self.source.calm()

    def _turn(self) -> None:
        explorer = self.explorer
        if self._between:
            explorer.offer()
        turns = explorer.machine.turns
        end = explorer.turn()
        self._between = end is None and explorer.machine.turns != turns
        self.over = end is not None or bool(explorer.watch.violations)
        if self.over:
            self._judge(explorer.finish(end))

    def _judge(self, execution: Execution) -> None:
        if execution.violations:
            story = self.explorer.watch.story(execution.violations[0])
            where = f"{self.scenario.source}:{self.scenario.name}" if self.scenario.source else self.scenario.name
            bugs = "".join(f" --bug {name}" for name in self.bugs)
            raise Broken(execution.violations, f"vmemu explore {where}{bugs} --schedule {execution.schedule}", story)

    def play(self, number: int, which: Sequence[int]) -> None:
        """The environment decides for an action of the scenario; `which` answers what the action asks."""
        if not self._between:
            self._turn()
        if self.over or not self._between:
            return
        self.source.next_of |= {"act": [1 + number], f"act.{self.explorer.actions[number].name}": list(which)}
        self._between = False
        text = self.explorer.offer()
        self.source.next_of.pop(f"act.{self.explorer.actions[number].name}", None)
        note(f"# {text or 'nothing can be done'}")

    def spoil(self, event: str, how: int) -> None:
        """The next such event goes wrong."""
        self.source.next_of[event] = [how]

    def teardown(self) -> None:
        """Faults and injection stop: what sleeps must wake, and the guest come to its end."""
        self.source.calm()
        while not self.over:
            self._turn()


def _action_rule(number: int, action: actions.Action) -> Callable[..., None]:
    def play(self: GuestRules, which: int, more: int) -> None:
        self.play(number, (which, more))

    play.__name__, play.__doc__ = action.name, action.text
    return precondition(GuestRules.running)(rule(which=_WHICH, more=_WHICH)(play))


def _event_rule(name: str, count: int) -> Callable[..., None]:
    def spoil(self: GuestRules, how: int) -> None:
        self.spoil(name, how)

    spoil.__name__ = "spoil_" + name.replace(".", "_")
    return precondition(GuestRules.running)(rule(how=st.integers(1, count))(spoil))


def rules_for(scenario: Scenario, bugs: Sequence[str] = ()) -> type[GuestRules]:
    """A rule-based machine of a scenario: its actions and events are rules. `.TestCase` is what pytest collects.

    Raises ConfigError for an action or event that is not known.
    """
    load_rooms()
    members: dict[str, Any] = {"scenario": scenario, "bugs": tuple(bugs), "__doc__": scenario.text}
    for number, action in enumerate(actions.find(scenario.actions)):
        members[action.name] = _action_rule(number, action)
    for name, failures in map(alternatives, scenario.events):
        members["spoil_" + name.replace(".", "_")] = _event_rule(name, len(failures))
    words = "".join(part.capitalize() for part in scenario.name.replace("_", "-").split("-"))
    return type(f"Rules{words}", (GuestRules,), members)
