# SPDX-License-Identifier: GPL-2.0-or-later
"""The event queue against a sorted list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vmemu.clock.queue import Event, EventQueue


def test_order_is_deadline_then_insertion() -> None:
    queue, seen = EventQueue(), []
    for name, deadline in (("b", 20), ("a1", 10), ("a2", 10), ("c", 30)):
        queue.at(deadline, lambda now, n=name: seen.append((n, now)), name)
    assert [(d, n) for d, _, n in queue.pending()] == [(10, "a1"), (10, "a2"), (20, "b"), (30, "c")]
    assert queue.next_deadline() == 10
    assert queue.run_due(25) == 3
    assert seen == [("a1", 25), ("a2", 25), ("b", 25)]
    assert queue.next_deadline() == 30
    assert len(queue) == 1


def test_cancel() -> None:
    queue, seen = EventQueue(), []
    first = queue.at(1, seen.append)
    second = queue.at(2, seen.append)
    assert queue.cancel(first) and not queue.cancel(first)
    assert queue.next_deadline() == 2
    queue.run_due(5)
    assert seen == [5]
    assert not queue.cancel(second) and not second.pending
    assert queue.next_deadline() is None


def test_replace_puts_back_what_pending_gave() -> None:
    queue, seen = EventQueue(), []
    for deadline in (3, 1, 1):
        queue.at(deadline, seen.append)
    kept = queue.pending()
    queue.run_due(2)
    stray = queue.at(1, lambda now: seen.append(-1))
    queue.replace(kept)
    assert not stray.pending and len(queue) == 3
    assert queue.run_due(9) == 3
    assert seen == [2, 2, 9, 9, 9]


def test_events_added_by_events_run_in_order() -> None:
    queue, seen = EventQueue(), []

    def first(now: int) -> None:
        seen.append("first")
        queue.at(7, lambda _: seen.append("added"))

    queue.at(5, first)
    queue.at(8, lambda _: seen.append("last"))
    assert queue.run_due(10) == 3
    assert seen == ["first", "added", "last"]


def test_cancel_from_an_earlier_event() -> None:
    queue, seen = EventQueue(), []
    later = queue.at(6, seen.append)
    queue.at(5, lambda _: (queue.cancel(later), None)[1])
    assert queue.run_due(10) == 1
    assert seen == []


def test_timer_into_the_past_does_not_hang_the_host() -> None:
    queue = EventQueue()

    def again(now: int) -> None:
        queue.at(0, again)

    queue.at(0, again)
    assert queue.run_due(1) == EventQueue.BATCH
    assert queue.next_deadline() == 0


class Model(RuleBasedStateMachine):
    """A queue against a plain list, with a clock that only goes forward."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.now, self.serial = EventQueue(), 0, 0
        self.ran: list[int] = []
        self.model: list[tuple[int, int, Event]] = []

    @rule(delta=st.integers(-5, 50))
    def add(self, delta: int) -> None:
        serial = self.serial
        self.serial += 1
        event = self.queue.at(self.now + delta, lambda now: self.ran.append(serial))
        self.model.append((self.now + delta, serial, event))

    @rule(pick=st.integers(0, 1 << 30))
    def cancel(self, pick: int) -> None:
        if self.model:
            entry = self.model.pop(pick % len(self.model))
            assert self.queue.cancel(entry[2])

    @rule(delta=st.integers(0, 30))
    def advance(self, delta: int) -> None:
        self.now += delta
        due = sorted(e[:2] for e in self.model if e[0] <= self.now)
        self.ran.clear()
        assert self.queue.run_due(self.now) == len(due)
        assert self.ran == [serial for _, serial in due]
        self.model = [e for e in self.model if e[0] > self.now]

    @invariant()
    def agree(self) -> None:
        assert len(self.queue) == len(self.model)
        assert self.queue.next_deadline() == min((e[0] for e in self.model), default=None)


TestModel = Model.TestCase


@given(st.lists(st.integers(0, 9), max_size=300), st.integers(0, 300))
def test_cancelled_entries_do_not_pile_up(deadlines: list[int], keep: int) -> None:
    queue = EventQueue()
    events = [queue.at(d, lambda now: None) for d in deadlines]
    for event in events[keep:]:
        queue.cancel(event)
    assert len(queue._heap) <= max(65, 2 * len(queue) + 1)
