# SPDX-License-Identifier: GPL-2.0-or-later
"""Which executions the strategies try, on toys whose decisions can be enumerated by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import pytest
from helpers.toy import Program, Toy
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.lab.explore.coverage import Coverage
from vmemu.lab.explore.runners import Pool, Runner, runner_for
from vmemu.lab.explore.schedule import Deviation, Schedule
from vmemu.lab.explore.search import Budget, Report, search
from vmemu.lab.explore.strategies import STRATEGIES, Exhaustive, Random, Strategy

Ask = Callable[[str, int], int]
#: A program as data: at each place (kind, options, place to go to for each option); a place beyond the end ends it.
Tree = list[tuple[str, int, list[int]]]


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    size = draw(st.integers(1, 7))
    out: Tree = []
    for place in range(size):
        options = draw(st.integers(1, 3))
        goes = st.integers(place + 1, size)
        out.append((draw(st.sampled_from("ab")), options, [draw(goes) for _ in range(options)]))
    return out


def program(tree: Tree) -> Program:
    def run(ask: Ask) -> Iterable[str]:
        place = 0
        while place < len(tree):
            kind, options, goes = tree[place]
            place = goes[ask(kind, options)]
        return ()

    return run


def all_schedules(tree: Tree, most: int) -> set[Schedule]:
    """Every execution with at most so many deviations, by walking the tree."""
    found: set[Schedule] = set()

    def walk(place: int, count: dict[str, int], made: Schedule) -> None:
        if place >= len(tree):
            found.add(made)
            return
        kind, options, goes = tree[place]
        if options > 1:
            count = count | {kind: count.get(kind, 0) + 1}
        for option in range(options):
            longer = (*made, Deviation(kind, count[kind], option)) if option else made
            if len(longer) <= most:
                walk(goes[option], count, longer)

    walk(0, {}, ())
    return found


def run_all(executor: Toy, strategy: Strategy, budget: int = 100_000) -> Report:
    return search(runner_for(lambda: executor, 1), strategy, Budget(executions=budget), Report("toy", (), strategy.name))


class NoPrint(Toy):
    """Executions that never look the same: nothing may be pruned."""

    def run(self, plan: object) -> object:  # type: ignore[override]
        execution = super().run(plan)  # type: ignore[arg-type]
        object.__setattr__(execution, "fingerprint", self.runs)
        return execution


@given(trees(), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_exhaustive_tries_every_schedule_once(tree: Tree, depth: int) -> None:
    toy = NoPrint(program(tree))
    report = run_all(toy, Exhaustive(depth=depth))
    assert sorted(toy.seen) == sorted(all_schedules(tree, depth))
    assert [len(s) for s in toy.seen] == sorted(len(s) for s in toy.seen)
    assert report.ended == "exhausted"


@given(trees())
@settings(max_examples=60, deadline=None)
def test_what_is_pruned_had_no_effect(tree: Tree) -> None:
    """Decisions whose options all lead to the same place: every sequence of places is met all the same."""

    def places(chosen: list[list[int]]) -> Program:
        def run(ask: Ask) -> Iterable[str]:
            place, path = 0, []
            while place < len(tree):
                path.append(place)
                kind, options, goes = tree[place]
                place = goes[ask(kind, options)]
            chosen.append(path)
            return ()

        return run

    class ByPlaces(Toy):
        def __init__(self) -> None:
            self.paths: list[list[int]] = []
            super().__init__(places(self.paths))

        def run(self, plan: object) -> object:  # type: ignore[override]
            execution = super().run(plan)  # type: ignore[arg-type]
            object.__setattr__(execution, "fingerprint", hash(tuple(self.paths[-1])))
            return execution

    pruned, whole = ByPlaces(), NoPrint(places(kept := []))
    run_all(pruned, Exhaustive())
    run_all(whole, Exhaustive())
    assert {tuple(p) for p in pruned.paths} == {tuple(p) for p in kept}
    assert pruned.runs <= whole.runs


def test_the_kth_event_for_every_k() -> None:
    """The rare kind comes first, and the execution that finds it is the one that deviates there."""

    def run(ask: Ask) -> Iterable[str]:
        fails = [i for i in range(1, 31) if ask("frequent", 2) + (ask("rare", 4) == 3 if i % 10 == 0 else 0) and i == 20]
        return ("RULE",) if fails else ()

    toy = Toy(run)
    report = run_all(toy, Exhaustive())
    assert report.found is not None and report.found.schedule == "rare#2=3" and report.number == 1 + 6


def bug(ask: Ask) -> Iterable[str]:
    """Needs three deviations, one of a kind that comes up only after the first."""
    early = ask("early", 4) == 2
    for _ in range(50):
        ask("noise", 2)
    late = early and ask("late", 2)
    return ("DEEP",) if late and [ask("last", 3) for _ in range(4)][2] else ()


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_same_seed_same_executions(name: str) -> None:
    first, second = Toy(bug), Toy(bug)
    one = run_all(first, STRATEGIES[name](7), 700)
    two = run_all(second, STRATEGIES[name](7), 700)
    assert first.seen == second.seen and first.runs > 1
    one.seconds = two.seconds = 0
    assert one == two


@pytest.mark.parametrize("name", ["random", "portfolio"])
def test_finds_a_deep_bug(name: str) -> None:
    report = run_all(Toy(bug), STRATEGIES[name](1), 20_000)
    assert report.found is not None and report.found.invariants == ("DEEP",)


def test_seeds_differ() -> None:
    seen = []
    for seed in (1, 2):
        toy = Toy(bug)
        run_all(toy, Random(seed), 50)
        seen.append(toy.seen)
    assert seen[0] != seen[1]


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_any_number_of_processes(name: str) -> None:
    """The very same report, violation, coverage and counts, for one process and for three."""

    def explored(jobs: int) -> Report:
        runner: Runner = runner_for(lambda: Toy(bug), jobs)
        try:
            report = Report("toy", (), name, coverage=Coverage())
            search(runner, STRATEGIES[name](3), Budget(executions=3000), report)
        finally:
            runner.close()
        report.seconds = 0
        return report

    assert explored(1) == explored(3)


def test_a_worker_that_breaks_is_heard_of() -> None:
    def breaks(ask: Ask) -> Iterable[str]:
        raise ZeroDivisionError("in the scenario")

    pool = Pool(lambda: Toy(breaks), 2)
    with pytest.raises(RuntimeError, match="in the scenario"):
        search(pool, Random(1), Budget(executions=10), Report("toy", (), "random"))
    pool.close()


def test_asked_to_stop() -> None:
    toy = Toy(lambda ask: itertools.repeat("", ask("x", 2) * 0))
    runner = runner_for(lambda: toy, 1)
    report = search(runner, Random(1), Budget(), Report("toy", (), "random"), asked_to_stop=lambda: toy.runs >= 37)
    assert report.ended == "interrupted" and report.executions == 37


def test_budgets() -> None:
    assert Budget.parse("10000") == Budget(executions=10_000)
    assert Budget.parse("30s") == Budget(seconds=30.0) and Budget.parse("5m") == Budget(seconds=300.0)
    report = run_all(Toy(lambda ask: itertools.repeat("", ask("x", 2) * 0)), Random(1), 10)
    assert report.ended == "budget" and report.executions == 10
