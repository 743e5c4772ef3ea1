# SPDX-License-Identifier: GPL-2.0-or-later
"""The generic layer: steps that others come between, references, store buffers, flushes; and its known bugs, each put back."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.apf_x86 import PAGES, Rig
from hypothesis import given, settings
from hypothesis import strategies as st

from vmemu.clock.choices import Choices
from vmemu.core import Stage2
from vmemu.core.table import Table
from vmemu.machine import disk, recording, snapshot
from vmemu.machine.facility import Resolution
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult, state_hash
from vmemu.protocols.async_page.pager import AsyncPager
from vmemu.protocols.async_page.references import MM, VM, References
from vmemu.protocols.async_page.words import SharedWords

PAGE_IN = 100_000
ISAS = ("x86_64", "arm64", "ppc64")
#: One profile that tells the guest, for each architecture, and one that does not.
PROFILES = [("x86_64", "kvm"), ("arm64", "sdei"), ("ppc64", "papr"), *((isa, "halt") for isa in ISAS)]
STORM = {"memory": "32M", "resident": "4M", "latency": "nvme", "smp": 2, "append": "tasks=6 pages=128 passes=1 shared=16"}


def storm(isa: str, apf: str, **options: object) -> Machine:
    return Machine.boot("storm", isa=isa, apf=apf, **(STORM | options))  # type: ignore[arg-type]


def checksum(result: RunResult) -> bytes:
    assert result.status == 0, (result.reason, result.output[-500:], result.extra.get("tokens"))
    return next(line for line in result.output.splitlines() if b"checksum=" in line)


def sound(machine: Machine) -> None:
    pager = machine.pager
    assert isinstance(pager, AsyncPager)
    assert not pager.invariants()


# ------------------------------------------------------------- whole machines
@pytest.mark.parametrize(("isa", "apf"), PROFILES)
def test_storm_sees_the_same_memory_however_it_is_paged(isa: str, apf: str) -> None:
    expected = checksum(storm(isa, "off").run())
    machine = storm(isa, apf)
    result = machine.run()
    tokens = result.extra["tokens"]
    assert checksum(result) == expected
    assert tokens["works"] > 100 and tokens["violations"] == [] == tokens["losses"]
    assert tokens["notified"] == tokens["ready"] + tokens["cancelled"] and tokens["outstanding_at_end"] == 0
    assert tokens["sleeping_at_end"] == 0 == tokens["dummies_at_end"]
    assert (tokens["notified"] > 100) == (apf != "halt")
    sound(machine)
    machine.close()


@pytest.mark.parametrize(("isa", "apf"), PROFILES[:3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_others_come_between_the_steps(isa: str, apf: str, seed: int) -> None:
    """Random interleavings with store buffers: nothing is lost, the memory is right, the state is sound after every turn."""
    machine = storm(isa, apf, seed=seed, store_buffer=True)
    turns = 0

    def check(running: Machine) -> None:
        nonlocal turns
        turns += 1
        if turns % 16 == 0:
            sound(running)

    machine.on_turn = check
    result = machine.run()
    assert checksum(result) and turns > 1000
    assert machine.choices.kinds["step"] > 1000
    tokens = result.extra["tokens"]
    assert tokens["violations"] == [] and tokens["sleeping_at_end"] == 0 == tokens["outstanding_at_end"]
    machine.close()


@pytest.mark.parametrize(("isa", "apf"), PROFILES[:3])
def test_snapshots_with_pages_in_flight(isa: str, apf: str, tmp_path: Path) -> None:
    """From memory and from disk, at instants with works in flight and events under way: the same end as without."""
    whole = storm(isa, apf, seed=7)
    at: list[int] = []

    def note(running: Machine) -> None:
        pager = running.pager
        assert isinstance(pager, AsyncPager)
        if len(pager.works) > 3 and len(at) < 200:
            at.append(running.insns)

    whole.on_turn = note
    expected = whole.run()
    whole.close()
    assert checksum(expected)
    for place in (at[10], at[100]):
        machine = storm(isa, apf, seed=7)
        assert machine.run_to(place) is None
        taken = snapshot.take(machine)
        path = tmp_path / f"{place}.snap"
        disk.save(machine, str(path))
        for _ in range(2):
            assert machine.run().state_hash == expected.state_hash
            snapshot.restore(machine, taken)
        machine.close()
        again = disk.load(str(path))
        result = again.run()
        assert result.state_hash == expected.state_hash
        assert result.extra["tokens"] == expected.extra["tokens"]
        again.close()


@pytest.mark.parametrize("profile", ["kvm", "kvm-2010"])
def test_a_vmm_carries_only_the_registers(profile: str) -> None:
    """With every CPU idle and pages away: the works are gone, and a wake-all makes each sleeper ask again."""
    machine = storm("x86_64", profile)
    pager = machine.pager
    assert isinstance(pager, AsyncPager)
    while not (all(vcpu.halted for vcpu in machine.vcpus) and len(pager.ledger.away) > 3):
        assert machine._turn(None) is None
    before, away = dict(pager.ledger.count), len(pager.ledger.away)
    pager.migrated()
    assert not pager.ledger.away and not any(not work.wake_all for work in pager.works.values())
    result = machine.run()
    tokens = result.extra["tokens"]
    assert checksum(result) and tokens["violations"] == [] and tokens["sleeping_at_end"] == 0 == tokens["outstanding_at_end"]
    assert tokens["wake_all"] == before["wake_all"] + 2 and tokens["cancelled"] == before["cancelled"] + away
    sound(machine)
    machine.close()


def test_recorded_and_replayed(tmp_path: Path) -> None:
    machine = storm("x86_64", "kvm", seed=11)
    recorder = recording.Recorder(machine)
    result = machine.run()
    recorder.write(str(tmp_path / "run.rec"), result)
    replayed = storm("x86_64", "kvm", choices=result.extra["choices"]).run()
    assert replayed.state_hash == result.state_hash and replayed.extra["tokens"] == result.extra["tokens"]
    machine.close()


# ----------------------------------------------------------------- known bugs
def told(rig: Rig, page: int) -> None:
    rig.swap_out(page)
    assert rig.fault(rig.vcpus[0], page) is Resolution.NOTIFIED
    rig.take_exception(rig.vcpus[0])
    rig.clear(rig.vcpus[0], 0)


def flushed(*bugs: str) -> list[str]:
    """Pages away when the guest disables; what is wrong then."""
    rig = Rig(bugs=bugs)
    rig.enable(rig.vcpus[0])
    rig.take_interrupt(rig.vcpus[0])
    for page in range(3):
        told(rig, page)
    rig.pager.clear(rig.vcpus[0])
    rig.advance(PAGE_IN)
    wrong = rig.pager.invariants()
    rig.close()
    return wrong


def test_a_flush_leaves_nothing_behind() -> None:
    assert flushed() == []


@pytest.mark.parametrize(("bug", "symptom"), [("apf-stale-gfns", "COUNT: 3 gfns"), ("apf-cancel-leak", "REF: the address space")])
def test_flush_bugs(bug: str, symptom: str) -> None:
    assert any(symptom in text for text in flushed(bug))


def rests(rig: Rig, kind: str, step: str) -> bool:
    """Does a sequence of that kind rest just before `step`?"""
    return any(s.kind == kind and s.left[:1] == [step] for s in rig.pager.sequencer.resting.values())


def worker_resting_before(step: str, *bugs: str) -> Rig:
    """A machine in which a worker was interrupted there; the seed that does that is searched for."""
    for seed in range(1, 200):
        rig = Rig(seed=seed, bugs=bugs)
        rig.swap_out(0)
        rig.fault(rig.vcpus[0], 0)
        for _ in range(400):
            rig.advance(500)
            if rests(rig, "worker", step):
                return rig
        rig.close()
    raise AssertionError(f"no seed interrupts a worker before {step}")


def destroyed_while_a_worker_rests(step: str, *bugs: str) -> list[str]:
    rig = worker_resting_before(step, *bugs)
    rig.pager.close()
    rig.advance(10_000)
    return rig.pager.references.problems


@pytest.mark.parametrize("step", ["append", "put", "return"])
def test_the_end_of_a_vm_waits_for_its_workers(step: str) -> None:
    assert destroyed_while_a_worker_rests(step) == []


def test_a_worker_of_a_vm_that_is_gone() -> None:
    assert any("code of a VM that is gone" in text for text in destroyed_while_a_worker_rests("return", "apf-flush-running"))


def test_a_worker_that_holds_the_vm_waits_for_itself() -> None:
    assert any("waits for itself" in text for text in destroyed_while_a_worker_rests("put", "apf-worker-vm-reference"))


def setup_interrupted_by_a_flush(*bugs: str) -> list[str]:
    for seed in range(1, 200):
        rig = Rig(seed=seed, bugs=bugs)
        rig.swap_out(0)
        rig.fault(rig.vcpus[0], 0)
        if rests(rig, "setup", "schedule"):
            rig.pager.clear(rig.vcpus[0])
            rig.advance(10 * PAGE_IN)
            wrong = rig.pager.invariants()
            rig.close()
            return wrong
        rig.close()
    raise AssertionError("no seed interrupts a setup before its worker is scheduled")


def test_a_flush_waits_for_what_the_vcpu_is_amid() -> None:
    assert setup_interrupted_by_a_flush() == []


def test_an_unlocked_flush_races_with_the_vcpu() -> None:
    assert any("thrown away while its own thread" in text for text in setup_interrupted_by_a_flush("apf-flush-unlocked"))


@pytest.mark.parametrize("interrupts", [False, True])
def test_a_page_evicted_again_before_it_was_announced(interrupts: bool) -> None:
    """Page 1 came back, waits behind page 0's event, and is evicted: its next fault has no page-in under way to wait for."""
    rig = Rig()
    vcpu = rig.vcpus[0]
    rig.enable(vcpu)
    rig.take_interrupt(vcpu)
    told(rig, 0)
    told(rig, 1)
    rig.advance(10 * PAGE_IN)
    rig.swap_out(1)
    rig.set_mode(vcpu, interrupts=interrupts)
    assert rig.fault(vcpu, 1) is Resolution.RETRY and not rig.is_away(1) and not vcpu.host_halted
    rig.set_mode(vcpu)
    assert rig.take_interrupt(vcpu) == 1 << 12 and rig.take_interrupt(vcpu) == 2 << 12
    assert not rig.pager.invariants() and not rig.pager.works
    rig.close()


def test_a_page_evicted_again_while_its_setup_rests() -> None:
    """The vCPU is about to wait for a page that came and went: it must ask again instead."""
    for seed in range(1, 400):
        rig = Rig(seed=seed, latency="none")  # not enabled: the vCPU waits
        vcpu = rig.vcpus[0]
        rig.swap_out(0)
        rig.fault(vcpu, 0)
        for _ in range(20):
            if rests(rig, "setup", "settle") and not rig.is_away(0):
                break
            rig.advance(500)
        else:
            rig.close()
            continue
        rig.swap_out(0)
        rig.advance(100 * PAGE_IN)
        assert not vcpu.host_halted and not rig.pager.invariants()
        rig.close()
        return
    raise AssertionError("no seed lets a page come while its setup rests")


def test_a_vcpu_asked_while_its_setup_rests_looks_before_it_goes_on() -> None:
    """Page 0 comes back while the vCPU's own thread is amid page 1's setup: it is announced when that ends, not at some later exit."""
    met = 0
    for seed in range(1, 100):
        rig = Rig(seed=seed)
        vcpu = rig.vcpus[0]
        rig.enable(vcpu)
        rig.advance(20_000)
        rig.take_interrupt(vcpu)
        rig.swap_out(0)
        rig.fault(vcpu, 0)
        rig.advance(10_000)
        if rig.is_away(0) and not vcpu.held and rig.take_exception(vcpu) is not None:
            rig.clear(vcpu, 0)
            rig.swap_out(1)
            deadline = next(iter(rig.pager.works.values())).deadline
            rig.advance(max(deadline - rig.machine.now() - 200, 0))
            rig.fault(vcpu, 1)
            for _ in range(100):
                rig.advance(200)
                met += vcpu.held and bool(rig.pager.done[0])
            assert vcpu.held or rig.words(vcpu)[1] or not rig.pager.done[0], seed
        rig.close()
    assert met


def test_a_request_is_taken_with_a_fence() -> None:
    """Else the vCPU would see its own zero, in its buffer, and not that somebody has asked again."""
    rig = Rig(seed=1, store_buffer=True)
    words, names = rig.pager.words, rig.pager.names[0]
    for _ in range(2):
        words.write("w1", names.request, 1)
        words.fence("w1")
        assert words.read(names.actor, names.request)
        rig.pager.on_exit(rig.vcpus[0])
        assert not words.read(names.actor, names.request) and not words.buffers
    rig.close()


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("delay", [0, 30])
def test_a_page_in_is_delayed_once(delay: int, flush: bool) -> None:
    """However many are to be delayed, and by however little: each ends."""
    rig = Rig(inject=(f"apf.io:*:delay={delay}us",))
    vcpu = rig.vcpus[0]
    rig.swap_out(0)
    rig.fault(vcpu, 0)
    rig.advance(86_000)
    assert rig.is_away(0) == (delay > 0)
    if flush:
        rig.pager.clear(vcpu)
        assert rig.machine.queue.next_deadline() is None
    rig.advance(30_000)
    assert rig.is_away(0) == (flush and delay > 0) and not vcpu.host_halted and not rig.pager.invariants()
    rig.close()


def ready_before_away(*bugs: str) -> bool:
    """Can a page be announced before the guest was told that it is away? Tries seeds."""
    for seed in range(1, 120):
        rig = Rig(seed=seed, bugs=bugs)
        rig.enable(rig.vcpus[0])
        rig.advance(20_000)
        rig.take_interrupt(rig.vcpus[0])
        rig.swap_out(0)
        rig.fault(rig.vcpus[0], 0)
        rig.advance(10 * PAGE_IN)
        away = rig.take_exception(rig.vcpus[0]) is not None
        done = not rig.is_away(0)
        rig.close()
        if done and not away:
            return True
    return False


def test_a_page_is_told_away_before_its_worker_runs() -> None:
    assert not ready_before_away()


def test_a_worker_scheduled_first_may_be_done_first() -> None:
    assert ready_before_away("apf-schedule-first")


def slept_through(*bugs: str) -> int:
    """Seeds with which a vCPU that the host halted sleeps although its page is there: W{done; sleeping?} V{sleeping; done?}."""
    lost = 0
    for seed in range(1, 150):
        rig = Rig(seed=seed, store_buffer=True, bugs=bugs)  # not enabled: the vCPU waits
        rig.swap_out(0)
        rig.fault(rig.vcpus[0], 0)
        for _ in range(20):
            rig.advance(PAGE_IN)
        lost += rig.vcpus[0].halted and not rig.is_away(0)
        rig.close()
    return lost


def test_barriers_between_done_and_halt() -> None:
    assert slept_through() == 0


def test_without_barriers_a_halted_vcpu_sleeps_on() -> None:
    assert slept_through("apf-wake-no-barrier") > 0


def test_a_dropped_kick_is_made_good_by_the_next_exit() -> None:
    """Why a lost kick is benign where `done` is looked at on the way to sleep."""
    rig = Rig(inject=("apf.kick:*:drop",))
    vcpu = rig.vcpus[0]
    rig.enable(vcpu)
    rig.take_interrupt(vcpu)
    told(rig, 0)
    rig.advance(PAGE_IN)
    assert rig.take_interrupt(vcpu) is None
    rig.pager.on_exit(vcpu)
    assert rig.take_interrupt(vcpu) == 0x1000
    rig.close()


# --------------------------------------------------------------------- models
STORES = st.lists(st.tuples(st.sampled_from("vw"), st.sampled_from(("read", "write", "fence")), st.sampled_from("xy"), st.integers(0, 3)))


@given(STORES, st.booleans())
def test_store_buffers_keep_the_order_of_each_thread(script: list[tuple[str, str, str, int]], buffered: bool) -> None:
    """A thread sees its own stores; the other one sees some beginning of them, in their order, and all after a fence."""
    words = SharedWords(Choices.seeded(3), buffered)
    history: dict[str, list[tuple[str, int]]] = {"v": [], "w": []}
    for actor, action, word, value in script:
        if action == "write":
            words.write(actor, word, value)
            history[actor].append((word, value))
        elif action == "fence":
            words.fence(actor)
            assert actor not in words.buffers
        else:
            own = [v for w, v, _ in words.buffers.get(actor, ()) if w == word]
            assert words.read(actor, word) == (own[-1] if own else words.memory.get(word, 0))
        words.drain()
        for name, stores in words.buffers.items():
            assert history[name][len(history[name]) - len(stores) :] == [store[:2] for store in stores]
        assert buffered or not words.buffers


@given(st.lists(st.tuples(st.booleans(), st.sampled_from((VM, MM)), st.sampled_from("abc")), max_size=60))
def test_references_count_like_a_multiset(script: list[tuple[bool, str, str]]) -> None:
    references = References()
    model = {VM: ["owner"], MM: ["owner"]}
    for taken, what, holder in script:
        before = len(references.problems)
        if taken:
            references.get(what, holder)
            model[what].append(holder)
        else:
            last = references.put(what, holder)
            assert not last  # the owner still holds it
            assert (len(references.problems) > before) == (holder not in model[what])
            if holder in model[what]:
                model[what].remove(holder)
        assert references.count(what) == len(model[what])
    assert references.put(VM, "owner") == (model[VM] == ["owner"])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40), st.integers(0, 1 << 63)), max_size=120))
def test_hot_tables_are_dictionaries(script: list[tuple[int, int, int]]) -> None:
    machine = Machine.boot("hello", isa="x86_64", memory="8M")
    table, model = Table(machine.core, "tokens"), {}
    for what, key, value in script:
        key <<= 40
        if what == 0:
            assert table.put(key, value) == (key not in model)
            model[key] = value
        elif what == 1:
            assert table.pop(key) == model.pop(key, None)
        else:
            assert table.get(key) == model.get(key)
    assert table.items() == sorted(model.items()) and len(table) == len(model)
    before = state_hash(machine)
    table.clear()
    assert len(table) == 0 and state_hash(machine) == before  # what protocols keep there is in their own state
    machine.close()


def test_who_waits_for_a_page_under_way_pays_for_what_is_written_out() -> None:
    """With no frame free, the page's place is made by page-outs: they occupy the store from the end of the page-in on."""
    rig = Rig()
    vcpu, core = rig.vcpus[0], rig.machine.core
    rig.swap_out(0)
    rig.fault(vcpu, 0)
    page = 1
    while core.free_frames:
        rig.machine.write_guest(PAGES + 4096 * page, b"dirty")
        page += 1
    end = rig.machine.units(next(iter(rig.pager.works.values())).deadline)
    assert rig.fault(vcpu, 0, nr=Stage2.ENTERING) is Resolution.RETRY and not rig.is_away(0)
    assert max(core.ptr.timing.busy) > end
    rig.close()
