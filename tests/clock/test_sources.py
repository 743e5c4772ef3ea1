# SPDX-License-Identifier: GPL-2.0-or-later
"""PCT, forced and drawn choices."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.clock.choices import Choices, parse_runs
from vmemu.clock.sources import DrawnSource, ForcedSource, PctSource, choices_from, parse_pct, source_of
from vmemu.errors import ConfigError


def schedule(source: PctSource, steps: int, vcpus: int = 4) -> list[int]:
    choices = Choices(source)
    return [list(range(vcpus))[choices.choose("vcpu", vcpus, range(vcpus))] for _ in range(steps)]


def test_pct_of_depth_one_never_changes_its_mind() -> None:
    assert len(set(schedule(PctSource(1, 7), 500))) == 1
    assert {schedule(PctSource(1, seed), 1)[0] for seed in range(1, 60)} == {0, 1, 2, 3}


@given(st.integers(2, 6), st.integers(1, 1 << 30))
def test_pct_switches_at_most_depth_minus_one_times(depth: int, seed: int) -> None:
    ran = schedule(PctSource(depth, seed, 200), 200)
    assert sum(a != b for a, b in pairwise(ran)) <= depth - 1


def test_pct_finds_an_ordering_bug_as_often_as_promised() -> None:
    # two vCPUs with 20 steps each; the bug: vCPU 1's first step comes between steps 9 and 10 of vCPU 0. Depth 2.
    found = 0
    for seed in range(1, 1001):
        choices, done = Choices(PctSource(2, seed, 40)), [0, 0]
        hit = False
        while ready := [i for i in (0, 1) if done[i] < 20]:
            who = ready[choices.choose("vcpu", len(ready), ready)]
            hit |= who == 1 and done == [9, 0]
            done[who] += 1
        found += hit
    assert found / 1000 >= 1 / (2 * 40)


def test_pct_priorities_do_not_depend_on_the_order_of_the_options() -> None:
    one, two = Choices(PctSource(3, 5, 50)), Choices(PctSource(3, 5, 50))
    rnd = random.Random(1)
    for _ in range(100):
        keys = rnd.sample(range(8), 5)
        other = rnd.sample(keys, 5)
        assert keys[one.choose("vcpu", 5, keys)] == other[two.choose("vcpu", 5, other)]


@given(st.integers(1, 99), st.lists(st.integers(2, 9), max_size=400))
def test_what_a_run_prints_reproduces_it(seed: int, options: list[int]) -> None:
    first = Choices.seeded(seed)
    indexes = [first.choose("vcpu", n) for n in options]
    again = choices_from(text=first.text())
    assert [again.choose("vcpu", n) for n in options] == indexes
    assert again.text() == first.text()


def test_long_lists_are_packed() -> None:
    choices = Choices.seeded(3)
    for _ in range(10_000):
        choices.choose("vcpu", 4)
    text = choices.text()
    assert text.startswith("z:") and len(text) < 10_000
    assert sum(n for _, n in parse_runs(text)) <= 10_000
    for cut in (2, 3, 50, len(text) - 1):
        with pytest.raises(ConfigError):
            parse_runs(text[:cut])


def test_a_list_of_another_run_is_refused_where_it_stops_to_fit() -> None:
    choices = choices_from(text="1:0x3.5")
    assert [choices.choose("vcpu", 4) for _ in range(3)] == [0, 0, 0]
    with pytest.raises(ConfigError, match=r"decision 4 \(vcpu\) has 4 options, the list says 5"):
        choices.choose("vcpu", 4)


def test_past_its_end_a_list_goes_on_with_the_default() -> None:
    choices = choices_from(text="1:2")
    assert [choices.choose("vcpu", 4) for _ in range(3)] == [2, 0, 0]


@given(st.sampled_from(["seed", "pct", "forced"]), st.integers(0, 50))
def test_saved_and_loaded_sources_go_on_alike(which: str, warm: int) -> None:
    source = {"seed": lambda: choices_from(9), "pct": lambda: choices_from(pct="4:9:60"),
              "forced": lambda: choices_from(text="1:1x9.0x5.2.3x40")}[which]()  # fmt: skip
    for _ in range(warm):
        source.choose("vcpu", 4, range(4))
    state = source.save()
    other = Choices(source_of(state["source"]))
    other.load(state)
    futures = [[c.choose("vcpu", 4, range(4)) for _ in range(60)] for c in (source, other)]
    assert futures[0] == futures[1]
    assert source.text() == other.text()


@given(st.data())
def test_a_property_test_may_draw_them(data: st.DataObject) -> None:
    choices = Choices(DrawnSource(lambda kind, n: data.draw(st.integers(0, n - 1), label=kind)))
    drawn = [choices.choose("quantum", 5) for _ in range(5)]
    forced = ForcedSource.parse(choices.text())
    assert drawn == [forced.pick("quantum", 5) for _ in drawn]


@pytest.mark.parametrize("text", ["", "x", "0", "65", "3:", "3:4:5:6", "3:4:0", "-1", "٣"])
def test_bad_pct(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_pct(text)


def test_the_three_exclude_each_other() -> None:
    for bad in ({"seed": 1, "pct": "3"}, {"seed": 1, "text": "1:"}, {"pct": "3", "text": "1:"}):
        with pytest.raises(ConfigError, match="exclude each other"):
            choices_from(**bad)
