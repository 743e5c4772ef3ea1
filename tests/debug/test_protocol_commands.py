# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands about asynchronous paging: what they say agrees with the host's state and the guest's memory, and they change neither."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest

from vmemu.debug.session import Session
from vmemu.debug.shell import CommandError, Debugger, UsageError, load_commands
from vmemu.machine.insight import JOBS, insights
from vmemu.machine.machine import Machine
from vmemu.machine.result import state_hash
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.sleepers import sleepers
from vmemu.protocols.kvm_x86.abi import AREA
from vmemu.protocols.kvm_x86.host import KvmX86
from vmemu.protocols.vas.facility import VasFacility

STORM: dict[str, Any] = {
    "memory": "32M", "resident": "3M", "latency": "nvme", "smp": 2, "append": "tasks=4 pages=128 passes=1 shared=8",
}  # fmt: skip
ISAS = {"kvm": "x86_64", "kvm-2010": "x86_64", "sdei": "arm64", "ppi-only": "arm64", "papr": "ppc64", "rfc": "ppc64", "halt": "x86_64"}


class Desk:
    """A machine under the debugger, and what its commands print."""

    def __init__(self, image: str = "storm", **options: Any) -> None:
        load_commands()
        self.session = Session(Machine.boot(image, **options))
        self.machine = self.session.machine
        self.debugger = Debugger(self.session, io.StringIO())

    @property
    def pager(self) -> AsyncPager:
        assert isinstance(self.machine.pager, AsyncPager)
        return self.machine.pager

    def __call__(self, line: str) -> str:
        self.debugger.out = out = io.StringIO()
        self.debugger.execute(line)
        return out.getvalue()

    def to(self, counter: str, count: int) -> None:
        self.session.until(lambda m: self.pager.ledger.count[counter] >= count)

    def run(self, instructions: int) -> None:
        self.session.cont(self.machine.insns + instructions)


@pytest.fixture(params=list(ISAS))
def desk(request: pytest.FixtureRequest) -> Iterator[Desk]:
    made = Desk(isa=ISAS[request.param], apf=request.param, **STORM)
    made.to("works", 12)
    yield made
    made.machine.close()


@pytest.fixture
def kvm() -> Iterator[Desk]:
    made = Desk(isa="x86_64", apf="kvm", **STORM)
    made.to("notified", 12)
    yield made
    made.machine.close()


def test_faults_are_the_works(desk: Desk) -> None:
    works = [w for w in desk.pager.works.values() if not w.wake_all]
    lines = desk("faults").splitlines()
    assert f"{len(desk.pager.works)} under way." in lines
    for work in works:
        line = next(text for text in lines if text.startswith(f"token {work.token:#x} "))
        assert f"{work.gva:#x}" in line and f"{work.gpa:#x}" in line and str(work.vcpu) == line.split()[2]
        assert ("not told" in line) != work.injected
        task = desk.machine.history.about(f"w{work.id}")[0].task if desk.machine.history else 0
        assert not task or f"  {task}  " in line
    for reason, count in desk.pager.ledger.sync.items():
        assert any(text.startswith(f"synchronous, {reason}: {count}. ") for text in lines)


def test_nothing_that_is_shown_changes_anything(desk: Desk) -> None:
    token = next(w.token for w in desk.pager.works.values() if not w.wake_all)
    for _ in range(3):
        before, swapped = state_hash(desk.machine), desk.machine.core.stats()
        for line in ("faults", "area all", "area", f"token {token:#x}", f"why {token:#x}", "explain 9", "sleepers"):
            try:
                desk(line)
            except CommandError:  # a token that is over, after a while
                assert line.startswith(("token", "why"))
        assert (state_hash(desk.machine), desk.machine.core.stats()) == (before, swapped)
        desk.run(3_000)


def test_every_reason_is_explained(desk: Desk) -> None:
    """Of all reasons that the code can give, none is shown as a bare word."""
    room = insights(desk.machine)[0]
    for name in ("failed before", "exception entry", "repeated", "queue full", *desk.pager.ledger.sync):
        assert room.reason(name).text != name and room.reason(name).section


def test_a_life_is_told_in_order_and_forgotten_when_one_goes_back(desk: Desk) -> None:
    session, machine, history = desk.session, desk.machine, desk.machine.history
    assert history is not None
    work = next(w for w in desk.pager.works.values() if not w.wake_all and not w.fetched)
    here, subject = machine.insns, f"w{work.id}"
    young = history.about(subject)
    assert [n.kind for n in young][:1] == ["begun"] and "fetched" not in [n.kind for n in young]
    session.command(f"complete {work.token:#x}")
    desk.run(30_000)
    old = history.about(subject)
    kinds = [n.kind for n in old]
    assert old[: len(young)] == young and "fetched" in kinds and kinds.index("fetched") < kinds.index("completed")
    assert [n[:2] for n in old] == sorted(n[:2] for n in old)
    session.goto(here)
    assert [n for n in history.about(subject) if n.kind != "io"] == [n for n in young if n.kind != "io"]
    desk.run(30_000)
    assert history.about(subject) == old  # the command was done again


def test_sleepers_are_those_that_the_guest_counts(desk: Desk) -> None:
    counted = 0
    for _ in range(12):
        desk.run(1_500)
        found = sleepers(desk.machine)
        asleep, markers = [s for s in found if not s.marker], [s for s in found if s.marker]
        words = desk.pager.sleepers()["guest"]
        assert len(asleep) <= words["sleeping"] and len(markers) <= words["markers"]  # type: ignore[index] # woken ones still count
        for sleeper in asleep:
            counted += 1
            work = next((w for w in desk.pager.works.values() if w.token == sleeper.token), None)
            assert work is None or work.injected
        text = desk("sleepers")
        assert f"{len(asleep)} asleep, {len(markers)} markers." in text
    assert counted or desk.pager.profile in ("halt",) or not desk.pager.works


def test_the_area_is_what_lies_in_memory(kvm: Desk) -> None:
    host = kvm.pager
    assert isinstance(host, KvmX86)
    for _ in range(20):
        kvm.run(700)
        for cpu in range(2):
            data = kvm.machine.core.read_resident(host.en[cpu] & AREA, 8)
            text = kvm(f"area {cpu}")
            for name, raw in (("flags", data[:4]), ("token", data[4:])):
                assert re.search(rf"^  {name} +{int.from_bytes(raw, 'little'):#x} ", text, re.MULTILINE), text


def test_why_names_the_slot_that_is_not_free(kvm: Desk) -> None:
    """The interrupt of a ready event is lost: what is behind it waits for the slot, and says so; nothing else does."""
    kvm.session.command("drop irq 2")
    kvm.session.command("complete all")
    kvm.run(400_000)
    host = kvm.pager
    assert isinstance(host, KvmX86)
    stuck = [w for cpu in range(2) for w in map(host.works.__getitem__, host.done[cpu])]
    assert stuck
    for work in stuck:
        slot = int.from_bytes(kvm.machine.core.read_resident((host.en[work.vcpu] & AREA) + 4, 4), "little")
        text = kvm(f"why {work.token:#x}")
        assert f"the slot of vCPU {work.vcpu} holds token {slot:#x}, which the guest has not cleared" in text
        assert "x86-apf.md 6, can_dequeue" in text and "I/O ends" not in text
        assert "its interrupt dropped (injected)" in kvm(f"token {slot:#x}")


def test_why_names_the_apic_and_the_interrupt_flag() -> None:
    desk = Desk(isa="x86_64", apf="kvm", **STORM)
    host = desk.pager
    assert isinstance(host, KvmX86)
    desk.to("notified", 12)
    host.apics.lapics[0].svr &= ~0x100
    assert "disabled by software (SVR bit 8)" in str(insights(desk.machine)[0].blocked(0)[0])  # type: ignore[attr-defined]
    host.apics.bases[0] = 0
    assert "IA32_APIC_BASE" in str(insights(desk.machine)[0].blocked(0)[0])  # type: ignore[attr-defined]
    desk.machine.close()


def test_why_names_the_step_that_others_have_come_between() -> None:
    desk = Desk(isa="x86_64", apf="kvm", seed=5, **STORM)
    desk.session.until(lambda m: desk.pager.ledger.count["works"] > 3)
    found = 0
    while found < 3:
        desk.run(50)
        for sequence in list(desk.pager.sequencer.resting.values()):
            work = desk.pager.works.get(sequence.work)
            if work is not None and work.token in {f.number for f in insights(desk.machine)[0].flights()}:
                assert f"is interrupted before the step {sequence.left[0]!r} of {sequence.kind}" in desk(f"why {work.token:#x}")
                found += 1
    desk.machine.close()


def test_explain_tells_a_fault_from_beginning_to_end() -> None:
    for apf, says in (
        ("kvm", ("is in the store", "to the flags of vCPU", "CR2 = 0x", "has told the guest", "puts the task to sleep")),
        ("sdei", ("is in the store", "to the buffer of vCPU", "PAGE_NOT_PRESENT", "has told the guest")),
        ("papr", ("is in the store", "correlation number", "SRR1 bit 46", "has told the guest")),
        ("halt", ("is in the store", "the guest is not told, and its vCPU waits")),
    ):  # fmt: skip
        desk = Desk(isa=ISAS[apf], apf=apf, **STORM)
        desk.to("works", 5)
        text = desk("explain")
        assert all(part in text for part in says), text
        assert desk("explain 4").count("at ") >= 2
        desk.machine.close()


def test_moments_can_be_stopped_at_in_both_directions(desk: Desk) -> None:
    token = next(w.token for w in desk.pager.works.values() if not w.wake_all and not w.fetched)
    desk(f"until event completed {token:#x}")
    assert desk.debugger.stop is not None and desk.debugger.stop.text == f"completed {token:#x}"
    note = desk.machine.history.called(token)[-1] if desk.machine.history else None
    assert note is not None and {"completed", "fetched"} & {n.kind for n in desk.machine.history.called(token)}  # type: ignore[union-attr]
    desk(f"back event begun {token:#x}")
    assert desk.machine.history is not None
    assert [n.kind for n in desk.machine.history.called(token)][-1] in ("begun", "not_present", "untold", "io")


def test_unknown_moments_are_refused(kvm: Desk) -> None:
    for line in ("until event lunch", "until event ready fish", "back event ready 0x1 vcpu x"):
        with pytest.raises(UsageError, match="KIND"):
            kvm(line)


def test_jobs_and_windows() -> None:
    desk = Desk("nxgzip", isa="ppc64", memory="32M", resident="12M", latency="nvme", vas="native")
    facility = desk.machine.facilities["vas"]
    assert isinstance(facility, VasFacility)
    desk.session.until(lambda m: facility.vas.counts["pastes"] > 0)
    job = facility.vas.engine.job
    assert job is not None and insights(desk.machine)[0].find(JOBS | job.number)
    assert f"job {job.number}: runs" in desk(f"why job {job.number}")
    assert "runs" in desk("faults") and "1 running" in desk("area")
    assert "begun, function code" in desk(f"token job {job.number}")
    desk.session.command(f"fail job {job.number}")
    desk.run(20)
    assert facility.vas.engine.completions[10] == 1 and facility.vas.home
    assert facility.invariants() == []
    desk.machine.close()


def test_bad_input(kvm: Desk) -> None:
    for line, error, says in (
        ("token", UsageError, "is no token"), ("why fish", UsageError, "is no token"), ("area 7", UsageError, "0 to 1"),
        ("area x", UsageError, "0 to 1"), ("why 0xdeadbeef", CommandError, "no such token"),
        ("token job 77", CommandError, "no such token"),
        ("explain 0", CommandError, "number of exits"), ("explain x", CommandError, "number of exits"),
    ):  # fmt: skip
        with pytest.raises(error, match=re.escape(says)):
            kvm(line)


def test_other_guests_have_nothing_to_tell() -> None:
    desk = Desk("hello", isa="x86_64")
    for line in ("faults", "area", "why 1"):
        with pytest.raises(CommandError, match="--apf"):
            desk(line)
    desk.machine.close()
