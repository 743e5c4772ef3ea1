# SPDX-License-Identifier: GPL-2.0-or-later
"""Shrinking against brute force, on toys whose failing schedules are known; schedules as text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from helpers.toy import Program, Toy
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.errors import ConfigError
from vmemu.lab.explore.schedule import Deviation, Schedule, format_schedule, parse_schedule
from vmemu.lab.explore.shrink import Shrinker

Ask = Callable[[str, int], int]
PLACES, OPTIONS = 6, 3
deviations = st.builds(Deviation, st.sampled_from(["a", "b", "store.read"]), st.integers(1, 40), st.integers(1, 5))


def needs(*wanted: tuple[int, int]) -> Program:
    """Fails when place i has at least option o, for all (i, o)."""

    def run(ask: Ask) -> Iterable[str]:
        got = [ask("place", OPTIONS) for _ in range(PLACES)]
        return ("RULE",) if all(got[i] >= o for i, o in wanted) else ()

    return run


def fails_on(failing: frozenset[tuple[int, ...]]) -> Program:
    """Fails on exactly these answers."""

    def run(ask: Ask) -> Iterable[str]:
        return ("RULE",) if tuple(ask("place", OPTIONS) for _ in range(4)) in failing else ()

    return run


def schedule(answers: Iterable[int]) -> Schedule:
    return tuple(Deviation("place", i, o) for i, o in enumerate(answers, 1) if o)


def measure(s: Schedule) -> tuple[int, int, int]:
    return len(s), sum(d.option for d in s), sum(d.number for d in s)


@given(st.lists(st.tuples(st.integers(0, PLACES - 1), st.integers(1, OPTIONS - 1)), unique_by=lambda w: w[0]), st.data())
@settings(max_examples=100, deadline=None)
def test_monotone_failures_shrink_to_the_minimum(wanted: list[tuple[int, int]], data: st.DataObject) -> None:
    program = needs(*wanted)
    least = dict(wanted)
    start = [data.draw(st.integers(least.get(i, 0), OPTIONS - 1)) for i in range(PLACES)]
    toy = Toy(program)
    best = Shrinker(toy.run, "RULE").shrink(schedule(start))
    every = [schedule(a) for a in itertools.product(range(OPTIONS), repeat=PLACES)]
    assert measure(best) == min(measure(s) for s in every if Toy(program).run(s).violations)
    assert toy.runs < 400


@given(st.frozensets(st.tuples(*[st.integers(0, OPTIONS - 1)] * 4), min_size=1, max_size=12), st.data())
@settings(max_examples=100, deadline=None)
def test_any_failure_shrinks_to_one_that_no_move_improves(failing: frozenset[tuple[int, ...]], data: st.DataObject) -> None:
    """One deviation or two left out, one option less, one decision earlier: none of them fails any more."""
    start = data.draw(st.sampled_from(sorted(failing)))
    toy = Toy(fails_on(failing))
    best = Shrinker(toy.run, "RULE").shrink(schedule(start))
    assert toy.run(best).violations and measure(best) <= measure(schedule(start))
    near = [tuple(d for i, d in enumerate(best) if i not in left) for n in (1, 2) for left in itertools.combinations(range(len(best)), n)]
    near += [tuple(e._replace(option=o) if e == d else e for e in best) for d in best for o in range(1, d.option)]
    taken = {d.number for d in best}
    near += [tuple(e._replace(number=d.number - 1) if e == d else e for e in best)
             for d in best if d.number > 1 and d.number - 1 not in taken]
    for other in near:
        assert not toy.run(other).violations, (best, other)


def test_keeps_the_rule_that_was_broken() -> None:
    """Fewer deviations break another rule: not what was asked for."""

    def run(ask: Ask) -> Iterable[str]:
        a, b = ask("a", 2), ask("b", 2)
        return ["BOTH"] if a and b else ["ONE"] if a or b else []

    assert Shrinker(Toy(run).run, "BOTH").shrink(parse_schedule("a#1,b#1")) == parse_schedule("a#1,b#1")
    assert len(Shrinker(Toy(run).run, "ONE").shrink(parse_schedule("b#1"))) == 1
    with pytest.raises(ValueError, match="does not violate ONE"):
        Shrinker(Toy(run).run, "ONE").shrink(parse_schedule("a#1,b#1"))


def test_stays_in_step_when_decisions_vanish() -> None:
    """The noise of the first deviation asks more questions of its own kind: the others keep their names."""

    def run(ask: Ask) -> Iterable[str]:
        if ask("detour", 2):
            for _ in range(20):
                ask("noise", 2)
        return ("RULE",) if [ask("place", 3) for _ in range(5)][3] else ()

    toy = Toy(run)
    best = Shrinker(toy.run, "RULE").shrink(parse_schedule("detour#1,noise#7,noise#9,place#2=2,place#4=2"))
    assert format_schedule(best) == "place#4" and toy.runs < 30


def test_gives_up_at_its_limit() -> None:
    toy = Toy(needs((5, 1)))
    best = Shrinker(toy.run, "RULE", most=3).shrink(schedule([2] * PLACES))
    assert toy.runs == 3 and toy.run(best).violations


@given(st.lists(deviations, unique_by=lambda d: d[:2]))
def test_text_round_trip(made: list[Deviation]) -> None:
    assert parse_schedule(format_schedule(made)) == tuple(made)


@pytest.mark.parametrize("text", ["step", "step#0", "step#x", "step#1=", "#1", "step#1,step#1=2", "a#1;b#2", "step#-1"])
def test_bad_text(text: str) -> None:
    with pytest.raises(ConfigError, match="schedule: "):
        parse_schedule(text)


def test_an_option_that_is_not_there_is_the_default() -> None:
    assert Toy(needs((0, 1))).run(parse_schedule("place#1=9,other#3,place#99")).made == ()
