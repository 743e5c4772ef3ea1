# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices: reproducible, checked, and printed as a line that reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.clock.choices import Choices, SeededSource, format_choices, parse_choices
from vmemu.errors import ConfigError


def test_splitmix64_reference_values() -> None:
    # First outputs for seed 1234567 as listed by Rosetta Code, "Pseudo-random numbers/Splitmix64".
    source = SeededSource(1234567)
    assert [source.next64() for _ in range(5)] == [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]


def test_default_is_zero_and_prints_nothing() -> None:
    choices = Choices()
    assert [choices.choose("victim", 9) for _ in range(1000)] == [0] * 1000
    assert len(choices) == 1000
    assert choices.text() == "1:"


def test_no_choice_is_not_logged() -> None:
    choices = Choices.seeded(3)
    assert choices.choose("vcpu", 1) == 0
    assert len(choices) == 0


def test_bad_questions_and_answers_are_refused() -> None:
    class Wrong(SeededSource):
        def pick(self, kind: str, options: int) -> int:
            return options

    with pytest.raises(ValueError, match="0 options"):
        Choices().choose("vcpu", 0)
    with pytest.raises(ValueError, match="answered 4"):
        Choices(Wrong(1)).choose("vcpu", 4)


@given(st.integers(0, (1 << 70) - 1), st.lists(st.integers(1, 1000), max_size=50))
def test_same_seed_same_choices_within_range(seed: int, options: list[int]) -> None:
    one, two = Choices.seeded(seed), Choices.seeded(seed)
    first = [one.choose("k", n) for n in options]
    assert first == [two.choose("k", n) for n in options]
    assert all(0 <= i < n for i, n in zip(first, options, strict=True))
    decided = [i for i, n in zip(first, options, strict=True) if n > 1]
    again = parse_choices(one.text())
    assert again + [0] * (len(decided) - len(again)) == decided


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 60), st.integers(1, 99))
def test_saved_in_the_middle_the_future_is_the_same(warm: list[int], cut: int, seed: int) -> None:
    one = Choices.seeded(seed)
    for n in warm:
        one.choose("k", n + 1)
    two = Choices.seeded(7)
    two.load(one.save())
    assert [one.choose("k", 100) for _ in range(20)] == [two.choose("k", 100) for _ in range(20)]
    assert one.text() == two.text() and one.kinds == two.kinds


def test_text_is_short_for_long_default_runs() -> None:
    assert format_choices([(0, 812), (2, 1), (0, 40), (1, 3), (0, 9)]) == "1:0x812.2.0x40.1x3"
    assert parse_choices("1:0x3.2") == [0, 0, 0, 2]


@pytest.mark.parametrize("text", ["", "2:0", "1:x", "1:1x", "1:-1", "1:1x99999999999", "1:٣"])
def test_nonsense_text(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_choices(text)


@given(st.text(max_size=30))
def test_any_text_parses_or_is_a_config_error(text: str) -> None:
    try:
        parse_choices("1:" + text)
    except ConfigError:
        pass
