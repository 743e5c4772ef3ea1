# SPDX-License-Identifier: GPL-2.0-or-later
"""What people do to a machine happens at an exact instant, amid a turn as well: a recording of it replays, and nonsense changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from helpers.guest import ISAS

from vmemu.core import PageFlag, PageState
from vmemu.debug.session import Session
from vmemu.errors import ConfigError, VmemuError
from vmemu.machine.control import Refused, perform
from vmemu.machine.journal import Instant, Missed
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder, Replay
from vmemu.machine.result import state_hash

each_isa = pytest.mark.parametrize("isa", ISAS)


def boot(isa: str, **options: object) -> Machine:
    given = {"append": "pages=300 passes=1", "resident": "6M", "latency": "nvme", "max_cycles": 60_000_000} | options
    return Machine.boot("walk", isa=isa, **given)


def something(machine: Machine, rng: random.Random) -> str:
    """A command that may be refused."""
    ram = machine.core.gpa(rng.randrange(int(machine.core.ptr.npages) // 4))
    cpu = rng.randrange(len(machine.vcpus))
    timer = {"x86_64": 0xEC, "arm64": 27, "ppc64": 2}[machine.board.isa]
    spare = {"x86_64": "r15", "arm64": "x28", "ppc64": "r31"}[machine.board.isa]
    return rng.choice((
        f"evict {ram:#x}", f"evict {ram:#x}", f"evict va:{machine.vcpus[cpu].pc:#x} {cpu}", f"irq {cpu} {timer}",
        f"latency {rng.choice(('disk', 'zram', '7us/3'))}",
        f"only {rng.choice((cpu, 'all'))}", "only all", f"reg {cpu} {spare} {machine.vcpus[cpu].get(spare)}",
        f"write {ram:#x} {machine.memory.peek(machine.core.index(ram))[:9].hex()}",
    ))  # fmt: skip


@each_isa
@pytest.mark.parametrize("smp", [1, 3])
def test_what_was_done_amid_turns_is_replayed(isa: str, smp: int, tmp_path: Path) -> None:
    """Random commands at random places, most amid a turn, some where only a trap can stop."""
    rng = random.Random(f"{isa} {smp}")
    machine = boot(isa, smp=smp, seed=3)
    session = Session(machine, Recorder(machine))
    done = 0
    for _ in range(40):
        match rng.randrange(3):
            case 0:
                session.stepi(rng.randrange(1, 3000), rng.choice([v.id for v in machine.vcpus if v.online]))
            case 1:
                session.cont(machine.insns + rng.randrange(1, 60_000))
            case _:
                point = session.add_break(machine.vcpus[0].pc)
                session.cont(machine.insns + 20_000)
                session.remove(point.id)
        for _ in range(rng.randrange(3)):
            try:
                session.command(something(machine, rng))
                done += 1
            except Refused:
                pass
    assert sum(entry.at.vcpu >= 0 for entry in session.journal.entries) > 0
    if session.stepi(1).kind != "end":
        session.command("only all")
        session.cont()
    assert session.recorder is not None and done
    session.recorder.write(str(tmp_path / "r"), session.finish())
    result = machine.result
    machine.close()
    again = Replay(str(tmp_path / "r"))
    replayed = again.run()
    assert again.difference is None and again.journal.done == len(again.journal.entries)
    assert result is None or replayed.state_hash == result.state_hash
    again.machine.close()
    other = Replay(str(tmp_path / "r"))
    first = other.journal.entries[0]
    other.journal.entries[0] = first._replace(at=first.at._replace(units=first.at.units + 1))
    other.run()
    assert other.difference is not None and "was never there" in other.difference
    other.machine.close()


@each_isa
def test_going_back_and_forth_does_it_again(isa: str) -> None:
    machine = boot(isa)
    session = Session(machine)
    session.cont(900_000)
    before = state_hash(machine)
    assert session.command("latency disk").startswith("page-ins take 7000 us")
    free = machine.core.gpa(int(machine.core.ptr.npages) - 900)  # a page that nobody uses yet
    session.command(f"write {free:#x} 4d")
    after = state_hash(machine)
    assert after != before
    there = session.cont(1_400_000)
    future = state_hash(machine)
    session.goto(500_000)
    assert session.cont(900_000).insns == 900_000
    assert state_hash(machine) == before  # what was done there comes next
    assert session.cont(1_400_000).pc == there.pc
    assert state_hash(machine) == future
    session.goto(800_000)
    session.command("latency none")  # another past: what was done later is no more
    assert [entry.text for entry in session.journal.entries] == ["latency none"]
    session.cont(1_400_000)
    assert state_hash(machine) != future
    session.machine.close()


@each_isa
def test_nonsense_changes_nothing(isa: str) -> None:
    machine = boot(isa, smp=2)
    machine.run_to(300_000)
    hashed = state_hash(machine)
    pc = {"x86_64": "rip", "arm64": "pc", "ppc64": "pc"}[isa]
    for text in (
        "evict", "evict 5 5", "evict -1", "evict 0x" + "f" * 16, "evict va:5 9", "evict va:0x123456789000 0", "irq 0",
        "irq 9 1", "irq 0 99999", "irq 0 2 5", "offline 7", "offline x", "offline 1 1", "only 2", "only", "latency fast", "latency 1us/99",
        "inject store.read:0:fail",
        "inject store.read:1:fail", "inject nothing:1:fail", "write 0x0", "write 0xffffffffffff 00", "write 0 0", "write 0 zz",
        "write 0 " + "00" * 5000,
        "reg 0 nonesuch 1", f"reg 0 {pc}", f"reg 5 {pc} 1", f"reg 0 {pc} 0x1ffffffffffffffff", "nonsense", "'", "",
    ):  # fmt: skip
        with pytest.raises(VmemuError) as error:
            perform(machine, text)
        assert "\n" not in str(error.value) and isinstance(error.value, (ConfigError, Refused))
        assert state_hash(machine) == hashed, text
    machine.close()
    machine = boot(isa, smp=2)
    with pytest.raises(Refused):  # the guest has not started it yet
        perform(machine, "offline 1")
    machine.close()


@each_isa
def test_evict_obeys_pins(isa: str) -> None:
    machine = boot(isa)
    machine.run_to(700_000)
    core = machine.core
    refused = done = 0
    for index in range(0, int(core.ptr.npages), 7):
        page = core.page(index)
        state, flags, content = int(page.state), int(page.flags), machine.memory.peek(index)
        try:
            perform(machine, f"evict {core.gpa(index):#x}")
            done += 1
        except Refused:
            refused += 1
        assert (state == PageState.RESIDENT and not flags & PageFlag.PINNED) == (core.page(index).state != state)
        assert machine.memory.peek(index) == content
    assert refused and done
    assert machine.run().status == 0
    machine.close()


def test_only_one_runs() -> None:
    machine = Machine.boot("tasks", isa="arm64", smp=3)
    session = Session(machine)
    session.until(lambda m: all(v.insns > 100_000 for v in m.vcpus))
    session.command("only 1")
    session.cont(machine.insns + 20_000)
    before = [v.insns for v in machine.vcpus]
    session.cont(machine.insns + 200_000)
    moved = [v.insns - n for v, n in zip(machine.vcpus, before, strict=True)]
    assert moved[0] == moved[2] == 0 and moved[1] > 0
    session.command("only all")
    session.goto(machine.insns - 100_000)
    assert machine.only == 1
    session.cont()
    assert machine.only is None
    end = session.cont()
    assert end.status == (0, "the guest powered off")
    machine.close()


def test_injected_from_now_on() -> None:
    machine = boot("x86_64", inject=["store.read:999999999:fail"], append="pages=1500 passes=1", resident="4M", max_cycles=None)
    session = Session(machine)
    session.until(lambda m: m.core.stats()["swap_in"] >= 5)
    before = machine.memory.injector.counts["store.read"]
    session.command("inject store.read:3:fail")
    at = machine.insns
    session.until(lambda m: len(m.memory.injector.fired) > 0)
    assert machine.memory.injector.fired == [f"store.read:{before + 3}:fail"]
    session.goto(at - 1)
    assert not machine.memory.injector.fired and len(machine.memory.injector.rules["store.read"]) == 1
    session.until(lambda m: len(m.memory.injector.fired) > 0)
    assert machine.memory.injector.fired == [f"store.read:{before + 3}:fail"]
    machine.close()


def test_an_instant_that_is_never_met_is_noticed() -> None:
    machine = boot("arm64")
    session = Session(machine)
    session.cont(50_000)
    session.command("latency zram")
    entry = session.journal.entries[0]
    assert entry.at == Instant.of(machine)
    session.goto(0)
    session.journal.entries[0] = entry._replace(at=entry.at._replace(pc=4))
    stop = session.cont()
    assert stop.kind == "error" and isinstance(stop.error, Missed)
    machine.close()
