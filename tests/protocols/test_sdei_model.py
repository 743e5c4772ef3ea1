# SPDX-License-Identifier: GPL-2.0-or-later
"""Random call sequences on the guest, nested handlers included, against a second SDEI written from the document's words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from helpers.sdei import CALLED, ENTERED, HANDLER, INJECT, RESUME, RESUMED, ScriptGuest
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.machine import snapshot
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei.state import EventInfo

#: number -> (shared, critical)
EVENTS = {0: (False, False), 0x40400001: (False, True), 0x40400100: (True, False), 0x40400200: (True, True)}
Line = tuple[int, ...]


@dataclass
class Ev:
    registered: bool = False
    enabled: bool = False
    running: bool = False
    pending: bool = False

    def forget(self) -> None:
        self.registered = self.enabled = self.pending = False


@dataclass
class Model:
    """One PE. `stack` holds (event, what the interrupted code does next); `log` what the guest writes down."""

    events: dict[int, Ev] = field(default_factory=lambda: {n: Ev() for n in EVENTS})
    masked: bool = True
    stack: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    log: list[tuple[int, ...]] = field(default_factory=list)

    def call(self, line: Line) -> None:
        """The guest makes a call, and everything that follows from it until it makes the next one."""
        if line[0] in (Call.EVENT_COMPLETE, Call.EVENT_COMPLETE_AND_RESUME) and self.stack:
            number, then = self.stack.pop()
            event = self.events[number]
            event.running = False
            if not event.registered:
                event.forget()
            self.go_on((RESUMED, *then) if line[0] == Call.EVENT_COMPLETE_AND_RESUME else then)
        else:
            self.go_on((CALLED, self.answer(line)))

    def go_on(self, then: tuple[int, ...]) -> None:
        number = self.next()
        if number is None:
            self.log.append(then[:1] if then[0] == RESUMED else then)
            if then[0] == RESUMED:
                self.go_on(then[1:])
            return
        event = self.events[number]
        event.pending, event.running = False, True
        self.stack.append((number, then))
        self.log.append((ENTERED, number))
        assert self.next() is None

    def next(self) -> int | None:
        critical_runs = any(EVENTS[n][1] for n, _ in self.stack)
        for critical in (True, False):
            for number, event in sorted(self.events.items()):
                if EVENTS[number][1] is not critical or self.masked or critical_runs or (self.stack and not critical):
                    continue
                if event.pending and event.registered and event.enabled and not event.running:
                    return number
        return None

    def answer(self, line: Line) -> int:
        call, number = line[0], line[1] if len(line) > 1 else 0
        if call == Call.PE_MASK:
            self.masked, was = True, self.masked
            return int(not was)
        if call == Call.PE_UNMASK:
            self.masked = False
            return 0
        if call in (Call.PRIVATE_RESET, Call.SHARED_RESET):
            codes = [self.unregister(e) for n, e in self.events.items() if EVENTS[n][0] == (call == Call.SHARED_RESET)]
            return -3 if -5 in codes else 0
        if call in (Call.EVENT_COMPLETE, Call.EVENT_COMPLETE_AND_RESUME):
            return -3
        event = self.events.get(number)
        if event is None:
            return 0 if call == INJECT else -2
        if call == INJECT:
            event.pending |= event.registered
            return int(event.registered)
        return self.of_event(call, event)

    def of_event(self, call: int, event: Ev) -> int:
        if call == Call.EVENT_REGISTER:
            if event.registered or event.running:
                return -3
            event.registered = True
            return 0
        if call == Call.EVENT_STATUS:
            return event.registered | event.enabled << 1 | event.running << 2
        if call == Call.EVENT_UNREGISTER:
            return self.unregister(event)
        if not event.registered:
            return -3
        event.enabled = call == Call.EVENT_ENABLE
        return 0

    def unregister(self, event: Ev) -> int:
        if not event.registered and not event.running:
            return -3
        event.forget()
        return -5 if event.running else 0


numbers = st.sampled_from([*EVENTS, 0, 0x40400001, 0x40400001, 3])
OF_EVENT = [Call.EVENT_ENABLE, Call.EVENT_ENABLE, Call.EVENT_DISABLE, Call.EVENT_UNREGISTER, Call.EVENT_STATUS]
lines = st.one_of(
    numbers.map(lambda n: (Call.EVENT_REGISTER, n, HANDLER, 1, 0, 0)),
    st.tuples(st.sampled_from(OF_EVENT), numbers),
    st.tuples(st.just(INJECT), numbers),
    st.sampled_from([
        (Call.PE_UNMASK,), (Call.PE_UNMASK,), (Call.PE_MASK,), (Call.EVENT_COMPLETE, 0), (Call.EVENT_COMPLETE, 1), (Call.PRIVATE_RESET,),
        (Call.EVENT_COMPLETE_AND_RESUME, RESUME), (Call.SHARED_RESET,),
    ]),
)  # fmt: skip
BEGIN: list[Line] = [(Call.EVENT_REGISTER, n, HANDLER, 1, 0, 0) for n in EVENTS] + [(Call.EVENT_ENABLE, n) for n in EVENTS]
BEGIN.append((Call.PE_UNMASK,))


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> ScriptGuest:
    guest = ScriptGuest(tmp_path_factory.mktemp("model"))
    guest.add_sdei(*(EventInfo(n, shared=s, critical=c) for n, (s, c) in EVENTS.items() if n))
    return guest


def seen(guest: ScriptGuest) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for e in guest.log():
        value = e.x0 - (1 << 64) if e.x0 >> 63 else e.x0
        found.append((e.kind,) if e.kind == RESUMED else (e.kind, value))
    return found


def checked(wanted: list[Line]) -> tuple[list[Line], Model]:
    """What the guest can do: resuming from code that is itself a resume would run it for ever, for its ELR is gone."""
    model, used = Model(), []
    for line in wanted:
        if line[0] == Call.EVENT_COMPLETE_AND_RESUME and model.stack and model.stack[-1][1][0] == RESUMED:
            line = (Call.EVENT_COMPLETE, 0)
        used.append(line)
        model.call(line)
    return used, model


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(lines, max_size=40))
def test_guest_and_model_agree(guest: ScriptGuest, ready: bool, wanted: list[Line]) -> None:
    """I-11, I-13."""
    used, model = checked([*BEGIN, *wanted] if ready else wanted)
    guest.run(used)
    assert seen(guest) == model.log
    assert guest.machine.facilities["sdei"].invariants() == []


@settings(max_examples=30, deadline=None)
@given(st.lists(lines, min_size=5, max_size=25), st.data())
def test_snapshot_anywhere(guest: ScriptGuest, wanted: list[Line], data: Any) -> None:
    """I-12: load(save()) amid calls, handlers and masks changes nothing that follows."""
    used, model = checked([*BEGIN, *wanted])
    machine = guest.machine
    guest.run(used)
    end, state = machine.insns, machine.facilities["sdei"].save()
    guest.run([])
    assert guest._start is not None
    snapshot.restore(machine, guest._start)
    guest.script(used)
    machine.run_to(guest._start.insns + data.draw(st.integers(0, end - guest._start.insns)))
    mark = snapshot.take(machine)
    machine.run()
    snapshot.restore(machine, mark)
    machine.run()
    assert (machine.insns, machine.facilities["sdei"].save()) == (end, state)
    assert seen(guest) == model.log
    snapshot.drop(machine, mark)
