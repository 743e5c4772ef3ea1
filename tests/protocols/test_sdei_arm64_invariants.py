# SPDX-License-Identifier: GPL-2.0-or-later
"""I-1 to I-16: a referee that watches the host's every move while guests do random things; and what an invariant needs besides.

    I-1 to I-9, I-15, I-16  here                     I-10, I-11, I-13  test_sdei_calls, test_sdei_model
    I-12                    test_exact_restores_at_every_step (control), test_snapshot_anywhere (test_sdei_model)
    I-14                    here
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.apf_arm64 import ACKNOWLEDGE, PPI_SETUP, REGISTER, SETUP, TOLD, ApfGuest, content, disable, enable, page
from helpers.sdei import (
    ACK,
    BUFFERS,
    CLEAR_BUFFER,
    EOI,
    INIT_GIC,
    IRQ,
    IRQ_OF_EL0,
    IRQ_WINDOW,
    LOADED,
    MODE,
    PEEKED,
    TASK_AGAIN,
    WAITED,
    WFI_LINE,
    Line,
    clear,
    cpu_on,
    peek,
    task,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.core import CoreVcpu, PageState
from vmemu.machine.machine import Machine
from vmemu.machine.result import OK, STALLED
from vmemu.protocols.async_page.steps import Sequence
from vmemu.protocols.sdei.calls import Call, Status
from vmemu.protocols.sdei_arm64.abi import EVENT, SEND_ALWAYS, WAKE_ALL, Reason


class Referee:
    """Sits between the pager and what it does to the guest. It keeps its own books."""

    def __init__(self, guest: ApfGuest) -> None:
        self.guest, self.pager = guest, guest.pager
        self.completed: list[list[int]] = []
        self.told: list[dict[int, int]] = []
        self.reset()
        self._write, self._ppi = self.pager._write, self.pager.gic.set_ppi
        self._append = self.pager.sequencer.steps["append"]
        guest.pager._write = self.write  # type: ignore[method-assign]
        guest.pager.gic.set_ppi = self.ppi  # type: ignore[method-assign]
        self.pager.sequencer.steps["append"] = self.append
        guest.machine.on_turn = self.look

    def reset(self) -> None:
        count = len(self.guest.machine.vcpus)
        self.completed = [[] for _ in range(count)]  # tokens in order of completion, not announced yet
        self.told = [{} for _ in range(count)]  # token -> how often the guest was told that it is away, and not back
        self.ready: list[list[int]] = [[] for _ in range(count)]
        self.high = [False] * count

    def append(self, s: Sequence) -> None:
        self._append(s)
        work = self.pager.works.get(s.work)
        if work is not None and work.done:
            self.completed[work.vcpu].append(work.token)

    def write(self, vcpu: CoreVcpu, reason: Reason, token: int) -> bool:
        before = self.pager.buffer(vcpu)
        if reason == Reason.NONE:
            assert before == (Reason.PAGE_NOT_PRESENT, token or before[1]) if before else True, "I-5: not its own cancelled one"
            self.told[vcpu.id].pop(before[1] if before else 0)
            self.completed[vcpu.id] = [t for t in self.completed[vcpu.id] if before is None or t != before[1]]
        else:
            assert before == (0, 0), "I-5: the buffer is in use"
            (self.away if reason == Reason.PAGE_NOT_PRESENT else self.back)(vcpu, token)
        return self._write(vcpu, reason, token)

    def away(self, vcpu: CoreVcpu, token: int) -> None:
        state = self.pager.states[vcpu.id]
        outstanding = {t for told in self.told for t in told}
        assert token not in (0, WAKE_ALL) and token not in outstanding, "I-3"
        assert token & 0xFFF == vcpu.id, "I-16: tokens of a vCPU are its own"
        assert state.enabled, "I-4"
        assert state.control & SEND_ALWAYS or not vcpu.get("pstate") & 0xF, "I-4: kernel mode"
        if self.pager.sdei is not None:
            sdei = self.pager.sdei.state
            handler = sdei.handler(state.event, vcpu.id)
            assert handler is not None and handler.state == Status.REGISTERED | Status.ENABLED, "I-4"
            assert not sdei.pes[vcpu.id].masked and not sdei.pes[vcpu.id].contexts, "I-4"
        self.told[vcpu.id][token] = 1

    def back(self, vcpu: CoreVcpu, token: int) -> None:
        self.ready[vcpu.id].append(token)
        if token == WAKE_ALL:
            self.told[vcpu.id].clear()
            return
        assert self.told[vcpu.id].pop(token, 0) == 1, "I-2: ready without away, or twice"
        assert self.completed[vcpu.id].pop(0) == token, "I-7: not in the order of completion"
        work = next(w for w in self.pager.works.values() if w.token == token and w.vcpu == vcpu.id)
        assert self.pager.core.page(work.index).state == PageState.RESIDENT, "I-9"

    def ppi(self, cpu: int, interrupt: int, level: bool) -> None:
        if interrupt == self.pager.states[cpu].irq:
            assert level != self.high[cpu] or not level, "I-6: raised while high"
            self.high[cpu] = level
        self._ppi(cpu, interrupt, level)

    def look(self, machine: Machine) -> None:
        """I-6, I-8 and the rest, after each turn."""
        assert self.pager.invariants() == []
        for cpu, state in enumerate(self.pager.states):
            assert state.line == self.high[cpu], "I-6"
            own = [w for w in self.pager.works.values() if w.vcpu == cpu]
            assert self.pager.queued[cpu] == len(own) <= 65, "I-8"
            if not state.enabled:
                self.told[cpu].clear()
                self.completed[cpu].clear()


@pytest.fixture(scope="module")
def sdei(tmp_path_factory: pytest.TempPathFactory) -> Referee:
    return Referee(ApfGuest(tmp_path_factory.mktemp("sdei")))


@pytest.fixture(scope="module")
def ppi(tmp_path_factory: pytest.TempPathFactory) -> Referee:
    return Referee(ApfGuest(tmp_path_factory.mktemp("ppi"), apf="ppi-only"))


def play(referee: Referee, lines: list[Line]) -> None:
    referee.guest.restart(lines)
    referee.reset()
    result = referee.guest.machine.run_to(referee.guest.machine.insns + 30_000)
    assert result is None or result[0] in (OK, STALLED), result


def calls_of(setup: list[Line], told: list[Line], more: list[list[Line]]) -> st.SearchStrategy[list[Line]]:
    """Pieces of guests: well-behaved ones, mostly."""
    tasks = st.integers(0, 11).map(lambda i: [task(page(i)), *told])
    others = st.sampled_from([
        [WFI_LINE, IRQ_WINDOW], [IRQ_WINDOW], [IRQ_WINDOW], [(Call.VERSION,)] * 30, [(Call.VERSION,)] * 60, [ACKNOWLEDGE], clear(),
        [disable()], [enable()], [disable(), enable(), IRQ_WINDOW],
        [(MODE, CLEAR_BUFFER), IRQ_WINDOW, *[(Call.VERSION,)] * 60, ACKNOWLEDGE, (MODE, CLEAR_BUFFER | ACK | EOI)], *more,
    ])  # fmt: skip
    return st.lists(st.one_of(tasks, tasks, others), max_size=25).map(lambda parts: [*setup, *(line for part in parts for line in part)])


SDEI_MORE: list[list[Line]] = [
    [(Call.PE_MASK,)], [(Call.PE_UNMASK,)], REGISTER, [(Call.EVENT_UNREGISTER, EVENT)], [(Call.EVENT_DISABLE, EVENT)],
    [(Call.EVENT_COMPLETE, 0)], [task(page(13))], [(Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0)], [disable(), enable(flags=3), IRQ_WINDOW],
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(calls_of(SETUP, TOLD, SDEI_MORE))
def test_whatever_a_guest_does(sdei: Referee, lines: list[Line]) -> None:
    """I-2 to I-9, at every step of the host."""
    play(sdei, lines)


@settings(max_examples=40, deadline=None)
@given(calls_of(PPI_SETUP, [], [[task(page(13))], [disable(), enable(flags=3), IRQ_WINDOW]]))
def test_whatever_a_guest_does_by_interrupt(ppi: Referee, lines: list[Line]) -> None:
    """The same with both reasons on the PPI."""
    play(ppi, lines)


def test_one_ready_at_a_time(tmp_path: Path) -> None:
    """I-6: a free buffer is not enough; the next one comes with the acknowledge."""
    guest = ApfGuest(tmp_path)
    two = [*SETUP, task(page(0)), *TOLD, task(page(1)), *TOLD, *[(Call.VERSION,)] * 200]
    look = peek(BUFFERS)
    log = guest.run([*two, (MODE, CLEAR_BUFFER), IRQ_WINDOW, (Call.VERSION,), (Call.VERSION,), look, ACKNOWLEDGE, look])
    assert [e.x0 for e in log if e.kind == PEEKED] == [Reason.NONE, Reason.PAGE_READY]
    assert guest.buffer() == (Reason.PAGE_READY, 2 << 12)


@pytest.mark.parametrize("early", [False, True])
def test_every_token_ends(tmp_path: Path, early: bool) -> None:
    """I-1, I-2: of a guest that keeps the rules, each token comes back once, or the guest never saw it."""
    referee = Referee(ApfGuest(tmp_path))
    guest = referee.guest
    if early:
        guest.finish_early()
    tasks = [line for i in range(10) for line in (task(page(i)), *([] if early else TOLD))]
    guest.run([*SETUP, *tasks, *[WFI_LINE, IRQ_WINDOW] * 10])
    assert sorted(referee.ready[0]) == ([WAKE_ALL] if early else [*(i << 12 for i in range(1, 11)), WAKE_ALL])
    assert not referee.told[0]
    assert guest.count("cancelled") == (10 if early else 0)


def test_loads_take_effect_once_and_registers_stay(tmp_path: Path) -> None:
    """I-9: x2..x17 and the vector registers of the task, across away and ready."""
    guest = ApfGuest(tmp_path)
    guest.restart([*SETUP, (Call.VERSION, 0, 0x22, 0x33, 0x44, 0x55), task(page(0)), *TOLD, WFI_LINE, IRQ_WINDOW, TASK_AGAIN])
    machine, vcpu = guest.machine, guest.machine.vcpus[0]
    while not guest.count("works"):
        assert machine.run_to(machine.insns + 1) is None
    contexts = guest.pager.sdei.state.pes[0].contexts if guest.pager.sdei else []
    kept = list(contexts[0].registers) if contexts else []
    vcpu.set("v5_lo", 0x1234)
    while not any(e.kind == IRQ and e.x0 == 1023 for e in guest.log()):
        assert machine.run_to(machine.insns + 1) is None
    machine.run()
    assert kept == [] or kept[6:18] == [vcpu.get(f"x{i}") if i < 9 else kept[i] for i in range(6, 18)]
    assert vcpu.get("v5_lo") == 0x1234
    assert [e.x0 for e in guest.log() if e.kind == LOADED] == [content(0)]


def test_wfi(tmp_path: Path) -> None:
    """I-15: a vCPU that waits sleeps until the page is there, and wakes for it even with interrupts masked; then it sleeps for good."""
    guest = ApfGuest(tmp_path)
    log = guest.run([*SETUP, task(page(0)), *TOLD, WFI_LINE, IRQ_WINDOW, WFI_LINE])
    assert sum(e.kind == WAITED for e in log) == 1
    result = guest.machine.result
    assert result is not None and result.status == STALLED
    assert result.exits["halt"] <= 3
    assert result.idle_cycles > 100_000  # most of 85 us at 2 GHz


def test_vcpus_do_not_see_each_other(tmp_path: Path) -> None:
    """I-16: each has its buffer, its PPI, its tokens; one that never acknowledges does not disturb the other."""
    guest = ApfGuest(tmp_path, smp=2)
    referee = Referee(guest)
    tasks = [line for i in range(5) for line in (task(page(i)), *TOLD)]
    other = [line for i in range(3, 8) for line in (task(page(i)), *clear(1), TOLD[-1])]
    first = [cpu_on(1), *SETUP, *tasks, *[WFI_LINE, IRQ_WINDOW] * 5]
    guest.run(first, [INIT_GIC, *REGISTER, enable(1), *other])  # CPU 1 looks at interrupts in its tasks alone
    assert sorted(referee.ready[0])[:5] == [i << 12 for i in range(1, 6)]
    assert referee.ready[1][0] == WAKE_ALL
    assert {t & 0xFFF for t in (*guest.pager.ledger.away, *referee.ready[1][1:])} == {1}
    assert guest.pager.invariants() == []


def outcome(**options: Any) -> tuple[int, bytes]:
    machine = Machine.boot("storm", isa="arm64", smp=2, resident="4M", latency="nvme", append="quiet tasks=6 pages=128 passes=1", **options)
    result = machine.run()
    if machine.pager is not None:
        assert machine.pager.invariants() == []
        assert result.extra["tokens"]["notified"] > 100
    machine.close()
    return result.status, result.output


def test_memory_is_the_same_with_and_without() -> None:
    """I-14: what the tasks find and leave (storm verifies every page, and adds all up)."""
    without = outcome()
    assert without[0] == OK
    assert outcome(apf="sdei") == outcome(apf="ppi-only") == without


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["sdei", "ppi-only"])
def test_storm(profile: str) -> None:
    """I-1, I-2: thousands of tokens on four vCPUs, each with exactly one ready, nobody asleep at the end."""
    machine = Machine.boot("storm", isa="arm64", smp=4, memory="64M", resident="8M", latency="nvme", apf=profile)
    result = machine.run()
    tokens = result.extra["tokens"]
    assert (result.status, tokens["violations"], tokens["outstanding_at_end"]) == (OK, [], 0)
    assert tokens["notified"] == tokens["ready"] > 1000
    assert (tokens["sleeping_at_end"], tokens["dummies_at_end"]) == (0, 0)
    machine.close()


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["sdei", "ppi-only"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_storm_at_random(profile: str, seed: int) -> None:
    """The same under other schedules, orders of completion and interruptions of the host: many are there before they are told."""
    append = "tasks=8 pages=256 passes=1"
    machine = Machine.boot("storm", isa="arm64", smp=3, resident="6M", latency="nvme", apf=profile, append=append, seed=seed)
    result = machine.run()
    tokens = result.extra["tokens"]
    assert (result.status, tokens["violations"], tokens["outstanding_at_end"], tokens["sleeping_at_end"]) == (OK, [], 0, 0)
    assert tokens["notified"] == tokens["ready"] + tokens["cancelled"]
    machine.close()


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["sdei", "ppi-only"])
def test_migrations_of_a_storm(profile: str) -> None:
    """I-1, I-12: carried from kernel to kernel as a VMM could, at six places: everybody is woken, every page is right."""
    from vmemu.machine import snapshot

    options: dict[str, Any] = {"smp": 2, "resident": "6M", "latency": "nvme", "apf": profile, "append": "tasks=8 pages=256 passes=1"}
    machine = Machine.boot("storm", isa="arm64", **options)
    for at in range(9_000_000, 21_000_000, 2_000_001):
        assert machine.run_to(at) is None
        mark = snapshot.take(machine)
        assert machine.pager is not None
        machine.pager.migrated()
        assert machine.run().status == OK
        assert machine.pager.invariants() == []
        snapshot.restore(machine, mark)
        snapshot.drop(machine, mark)
    machine.close()
