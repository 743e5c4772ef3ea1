# SPDX-License-Identifier: GPL-2.0-or-later
"""The injector: what it accepts, what it refuses, when it fires."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmemu.clock.inject import Action, Do, Injector, parse_rule
from vmemu.errors import ConfigError


def test_kth_occurrence() -> None:
    injector = Injector.parse(["store.read:3:fail"])
    assert [injector.check("store.read") for _ in range(5)] == [None, None, Action(Do.FAIL), None, None]
    assert injector.check("store.write") is None
    assert injector.fired == ["store.read:3:fail"]


def test_every_keyed_and_delay() -> None:
    injector = Injector.parse(["store.read:@0x10:corrupt", "store.read:*:delay=250us", "store.write:2:delay"])
    assert injector.check("store.read", 16) == Action(Do.CORRUPT)
    assert injector.check("store.read", 17) == Action(Do.DELAY, 250_000)
    assert injector.check("store.read") == Action(Do.DELAY, 250_000)
    assert [injector.check("store.write", 1) for _ in range(2)] == [None, Action(Do.DELAY, 1_000_000)]
    assert injector.watches("store.write") and not Injector().watches("store.read")


def test_save_and_load_keep_the_count() -> None:
    one = Injector.parse(["store.read:2:fail"])
    one.check("store.read")
    two = Injector.parse(["store.read:2:fail"])
    two.load(one.save())
    assert two.check("store.read") == Action(Do.FAIL)


@pytest.mark.parametrize(("text", "complaint"), [
    ("", "must be EVENT:K:ACTION"),
    ("store.read", "must be EVENT:K:ACTION"),
    ("store.read:1", "must be EVENT:K:ACTION"),
    ("store.read::fail", "must be EVENT:K:ACTION"),
    ("store.read:1:fail:2", "must be EVENT:K:ACTION"),
    ("store.raed:1:fail", "did you mean store.read"),
    ("qqq:1:fail", "known are"),
    ("store.read:0:fail", "count from 1"),
    ("store.read:-1:fail", "count from 1"),
    ("store.read:@:fail", "count from 1"),
    ("store.read:x:fail", "count from 1"),
    ("store.read:99999999999999999999:fail", "count from 1"),
    ("store.read:1:explode", "unknown action"),
    ("store.read:1:duplicate", "cannot duplicate"),
    ("store.read:1:fail=3us", "only delay takes an amount"),
    ("store.read:1:delay=3", "only delay takes an amount"),
    ("store.read:1:delay=9999999999us", "only delay takes an amount"),
])
def test_nonsense_is_named(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_rule(text)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


words = st.sampled_from(["store.read", "1", "*", "@7", "fail", "delay=1us", "", "٣", "0x"])


@given(st.lists(words, max_size=5).map(":".join))
def test_any_text_is_a_rule_or_a_config_error(text: str) -> None:
    try:
        rule = parse_rule(text)
    except ConfigError:
        return
    assert parse_rule(str(rule)) == rule


def test_undeclared_event_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="not declared"):
        Injector().check("store.explode")


def test_what_no_rule_decides_is_asked() -> None:
    asked: list[tuple[str, int | None]] = []

    def ask(event: str, key: int | None) -> Action | None:
        asked.append((event, key))
        return Action(Do.FAIL) if len(asked) == 2 else None

    injector = Injector([parse_rule("store.read:2:delay=1us")])
    assert Injector().idle and not injector.idle
    injector.ask = ask
    answers = [injector.check("store.read", key) for key in (5, 6, 7, 8)]
    assert [a and a.do for a in answers] == [None, Do.DELAY, Do.FAIL, None]
    assert asked == [("store.read", 5), ("store.read", 7), ("store.read", 8)]
    assert injector.fired == ["store.read:2:delay=1us", "store.read:3:fail"]
