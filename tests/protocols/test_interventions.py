# SPDX-License-Identifier: GPL-2.0-or-later
"""Interventions by hand: page-ins completed, delayed and failed, notifications lost and doubled, whenever and in whatever order.

Nothing is lost that was not taken away, the host's state stays sound, and a recorded session is replayed to the same hash.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vmemu.clock.inject import Action, Do, Injector, Rule
from vmemu.debug.session import Session
from vmemu.errors import ConfigError
from vmemu.machine.control import Refused
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder, Replay
from vmemu.machine.result import HOST, OK, RunResult
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.interventions import Target, hand

STORM: dict[str, Any] = {
    "memory": "32M", "resident": "3M", "latency": "nvme", "smp": 2, "append": "tasks=4 pages=128 passes=1 shared=8",
    "max_cycles": 2_000_000_000,
}  # fmt: skip
PROFILES = (("x86_64", "kvm"), ("x86_64", "kvm-2010"), ("arm64", "sdei"), ("arm64", "ppi-only"), ("ppc64", "papr"), ("ppc64", "rfc"))
#: A protocol survives these: the page comes sooner or later, an interrupt finds nothing to do.
HARMLESS = ("complete", "delay 1", "delay 300", "delay 2500", "duplicate irq")
HARMFUL = (*HARMLESS, "fail", "drop ready", "drop not-present", "drop irq", "drop kick", "duplicate ready")

quick = settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.explicit, Phase.generate))


def plans(verbs: tuple[str, ...], most: int) -> st.SearchStrategy[list[tuple[int, str, int]]]:
    """(instructions until then, what, which of those under way), early in the run where pages go and come."""
    return st.lists(st.tuples(st.integers(1, 120_000), st.sampled_from(verbs), st.integers(0, 7)), min_size=1, max_size=most)


def boot(isa: str, apf: str, **options: Any) -> Machine:
    return Machine.boot("storm", isa=isa, apf=apf, **(STORM | options))


def pager_of(machine: Machine) -> AsyncPager:
    assert isinstance(machine.pager, AsyncPager)
    return machine.pager


def targets(machine: Machine) -> list[Target]:
    found = hand(machine)
    assert found is not None
    return [target for room in found.rooms for target in room.targets()]


def checksum(result: RunResult) -> str:
    found = re.search(rb"checksum=(0x[0-9a-f]+)", result.output)
    assert found is not None, result.output.decode()
    return found[1].decode()


def sound(machine: Machine) -> None:
    assert [text for f in machine.facilities.values() for text in f.invariants()] == []


def perform(session: Session, plan: list[tuple[int, str, int]]) -> set[str]:
    """Do a plan from where the first page was under way on, as far as the run goes. What of it was done."""
    machine, done = session.machine, set[str]()
    session.until(lambda m: pager_of(m).ledger.count["works"] > 0)
    for gap, verb, which in plan:
        if session.cont(machine.insns + gap).kind == "end":
            break
        word, _, rest = verb.partition(" ")
        text = verb
        if word in ("complete", "fail", "delay"):
            known = targets(machine)
            if not known:
                continue
            text = f"{word} {known[which % len(known)].number:#x} {rest}"
        try:
            session.command(text)
            done.add(verb)
        except (Refused, ConfigError):  # between two steps, say; or this protocol has no such notification
            pass
        sound(machine)
    return done


def to_end(session: Session) -> RunResult:
    result = session.finish()
    while result is None:
        session.cont()
        result = session.finish()
    return result


@pytest.fixture(scope="module")
def expected() -> str:
    return checksum(boot("x86_64", "off").run())


@pytest.mark.parametrize(("isa", "apf"), [PROFILES[0], PROFILES[2], PROFILES[4]])
def test_harmless_interventions_change_times_and_nothing_else(isa: str, apf: str, expected: str) -> None:
    @quick
    @given(plans(HARMLESS, 25))
    def holds(plan: list[tuple[int, str, int]]) -> None:
        session = Session(boot(isa, apf))
        perform(session, plan)
        result = to_end(session)
        sound(session.machine)
        tokens = result.extra["tokens"]
        assert (result.status, checksum(result)) == (OK, expected), result.reason
        assert (tokens["outstanding_at_end"], tokens["losses"], tokens["violations"]) == (0, [], [])
        assert tokens["sleeping_at_end"] == tokens["dummies_at_end"] == 0
        session.machine.close()

    holds()


@pytest.mark.parametrize(("isa", "apf"), PROFILES)
def test_nothing_is_lost_that_was_not_taken_away(isa: str, apf: str) -> None:
    @quick
    @given(plans(HARMFUL, 12))
    def holds(plan: list[tuple[int, str, int]]) -> None:
        session = Session(boot(isa, apf))
        done = perform(session, plan)
        result = to_end(session)
        machine, pager = session.machine, pager_of(session.machine)
        sound(machine)
        assert result.status != HOST
        count, ledger = pager.ledger.count, pager.ledger
        assert count["notified"] == count["ready"] + count["cancelled"] + len(ledger.away)
        waiting = {work.token for work in pager.works.values()}  # behind a slot that nobody clears any more
        for token in ledger.away:
            assert token in waiting or any(re.search(rf"token {token:#x}\b", text) for text in ledger.losses), hex(token)
        if done <= set(HARMLESS):
            assert result.status == OK, result.reason
        machine.close()

    holds()


@pytest.mark.parametrize(("isa", "apf"), [PROFILES[0], PROFILES[2], PROFILES[4]])
def test_a_recorded_session_is_replayed_to_the_same_hash(isa: str, apf: str, tmp_path: Path) -> None:
    @quick
    @given(plans(HARMFUL, 12))
    def holds(plan: list[tuple[int, str, int]]) -> None:
        machine = boot(isa, apf)
        session = Session(machine, Recorder(machine))
        perform(session, plan)
        result = to_end(session)
        assert session.recorder is not None
        path = str(tmp_path / "run.vmr")
        session.recorder.write(path, result)
        machine.close()
        replay = Replay(path)
        again = replay.run()
        assert (replay.difference, again.state_hash, again.reason) == (None, result.state_hash, result.reason)
        replay.machine.close()

    holds()


@pytest.mark.parametrize(("isa", "apf"), [PROFILES[0], PROFILES[2], PROFILES[4]])
def test_back_before_an_intervention_there_is_another_future(isa: str, apf: str) -> None:
    session = Session(boot(isa, apf))
    machine = session.machine
    session.until(lambda m: pager_of(m).ledger.count["notified"] > 3)
    here, token = machine.insns, targets(machine)[0].number
    seen = []
    for _ in range(2):
        assert pager_of(machine).works and token in {t.number for t in targets(machine)}
        session.command(f"delay {token:#x} 700")
        deadline = next(w.deadline for w in pager_of(machine).works.values() if w.token == token)
        session.cont(here + 40_000)
        seen.append((deadline, [n.text for n in machine.history.called(token)] if machine.history is not None else []))
        session.goto(here)
    assert seen[0] == seen[1]
    session.command(f"complete {token:#x}")
    session.cont(here + 40_000)
    assert machine.history is not None
    kinds = [n.kind for n in machine.history.called(token)]
    assert "fetched" in kinds and kinds.count("begun") == 1
    machine.close()


def test_a_rule_from_now_on_is_part_of_the_state() -> None:
    injector = Injector.parse(["apf.kick:*:drop"])
    injector.check("apf.ready")
    before = injector.save()
    kept = injector.add_from_now(Rule("apf.ready", 2, Action(Do.DROP)))
    assert str(kept) == "apf.ready:3:drop"
    after = injector.save()
    assert injector.check("apf.ready") is None and injector.check("apf.ready") == Action(Do.DROP)
    injector.load(after)
    assert injector.check("apf.ready") is None and injector.check("apf.ready") == Action(Do.DROP)
    injector.load(before)
    assert [injector.check("apf.ready") for _ in range(4)] == [None] * 4
    assert injector.check("apf.kick") == Action(Do.DROP)


def test_what_cannot_be_done_is_refused_and_changes_nothing() -> None:
    session = Session(boot("x86_64", "kvm"))
    session.until(lambda m: pager_of(m).ledger.count["works"] > 0)
    for text, error, says in (
        ("complete 0x7777", Refused, "ENOENT: token 0x7777 is not under way; under way: token 0x"),
        ("complete", ConfigError, "write a token"),
        ("complete fish", ConfigError, "write a token"),
        ("complete job 3", Refused, "ENOENT: job 3"),
        ("fail gpa 0xffffffff000", Refused, "ENOENT: gpa"),
        ("delay 0x1000", ConfigError, "microseconds"),
        ("delay 0x1000 0", ConfigError, "microseconds"),
        ("delay 0x1000 99999999999", ConfigError, "microseconds"),
        ("drop", ConfigError, "not-present, ready, kick, irq"),
        ("drop everything", ConfigError, "not-present"),
        ("drop ready 0", ConfigError, "write one of"),
        ("drop ready 99999999", ConfigError, "write one of"),
        ("duplicate kick", ConfigError, "write one of ready, irq"),
    ):
        before = session.machine.facilities["apf"].save()
        with pytest.raises(error, match=re.escape(says)):
            session.command(text)
        assert session.machine.facilities["apf"].save() == before
    session.machine.close()


def test_a_page_that_fails_is_lost_for_the_task_that_touches_it() -> None:
    session = Session(boot("x86_64", "kvm"))
    session.until(lambda m: pager_of(m).ledger.count["notified"] > 60)
    assert "cannot give page" in session.command(f"fail {targets(session.machine)[0].number:#x}")
    result = to_end(session)
    assert result.extra["tokens"]["failed"] == 1 and result.memory["corrupt"] == 1
    assert pager_of(session.machine).ledger.losses
    session.machine.close()
