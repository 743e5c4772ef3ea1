# SPDX-License-Identifier: GPL-2.0-or-later
"""A debugger's session: whatever it sets and wherever it goes, the run is the one that nobody looked at."""

from __future__ import annotations

import random
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.guest import ISAS

from vmemu.core.observe import Seen, What
from vmemu.debug.session import Session, Stop
from vmemu.errors import ConfigError
from vmemu.machine import disk
from vmemu.machine.control import Refused
from vmemu.machine.machine import Machine
from vmemu.machine.recording import Recorder, Replay
from vmemu.machine.result import RunResult, state_hash

each_isa = pytest.mark.parametrize("isa", ISAS)
SWAPPING = {"append": "pages=1000 passes=1", "resident": "4M", "latency": "nvme"}


def boot(isa: str, image: str = "walk", **options: Any) -> Machine:
    return Machine.boot(image, isa=isa, **(SWAPPING if image == "walk" else {}), **options)


def plain(isa: str, **options: Any) -> RunResult:
    machine = boot(isa, **options)
    result = machine.run()
    machine.close()
    return result


def places(isa: str, rng: random.Random, **options: Any) -> list[tuple[int, int]]:
    """Where a run is, now and then: address of an instruction, and of the stack, guest-physical."""
    machine = boot(isa, **options)
    stack = {"x86_64": "rsp", "arm64": "sp_el1", "ppc64": "r1"}[isa]
    found = []
    for at in sorted(rng.sample(range(50_000, 900_000), 12)):
        if machine.run_to(at) is not None:
            break
        vcpu = machine.vcpus[rng.randrange(len(machine.vcpus))]
        walk = vcpu.walk(vcpu.get(stack), 0) if vcpu.online else None
        if walk is not None and walk.status == 0 and machine.is_ram(walk.gpa, 8):
            found.append((vcpu.pc, walk.gpa & ~7))
    machine.close()
    return found


@each_isa
@pytest.mark.parametrize("smp", [1, 3])
def test_the_run_is_the_one_that_nobody_looked_at(isa: str, smp: int) -> None:
    """Random breakpoints, watchpoints and moves in both directions: same end, same output, shown once."""
    rng = random.Random(f"{isa} {smp}")
    expected = plain(isa, smp=smp, seed=7)
    known = places(isa, rng, smp=smp, seed=7)
    shown = bytearray()
    session = Session(boot(isa, smp=smp, seed=7, console=shown.extend))
    machine = session.machine
    kinds = set()
    for _ in range(60):
        pc, stack = rng.choice(known)
        move = rng.randrange(8)
        if move == 0 and len(session.breakpoints) < 3:
            session.add_break(pc, condition=None if rng.random() < 0.5 else lambda s: s.machine.insns % 3 == 0)
        elif move == 1 and len(session.watchpoints) < 2:
            session.add_watch(stack, rng.choice((1, 8, 64)), rng.choice(("r", "w", "rw")))
        elif move == 2 and (both := [*session.breakpoints, *session.watchpoints]):
            session.remove(rng.choice(both))
        elif move == 3:
            stop = session.stepi(rng.randrange(1, 200), rng.choice([v.id for v in machine.vcpus if v.online]))
        elif move == 4:
            stop = session.back_stepi(rng.randrange(1, 2000), rng.randrange(smp))
        elif move == 5:
            stop = session.goto(rng.randrange(machine.insns + 50_000))
        else:
            stop = session.cont(machine.insns + rng.randrange(1, 100_000))
        if move > 2:
            kinds.add(stop.kind)
            assert stop.insns == machine.insns and stop.pc == machine.vcpus[stop.vcpu].pc and "\n" not in stop.text
    for number in (*session.breakpoints, *session.watchpoints):
        session.remove(number)
    end = session.cont()
    result = session.finish()
    assert {"step", "limit"} < kinds and end.kind == "end" and result is not None
    assert (result.state_hash, result.instructions, result.status) == (expected.state_hash, expected.instructions, expected.status)
    assert (bytes(shown), result.faults) == (expected.output, expected.faults)
    machine.close()


@each_isa
@pytest.mark.parametrize("smp", [1, 2])
def test_backwards_finds_what_forwards_found(isa: str, smp: int) -> None:
    rng = random.Random(f"back {isa} {smp}")
    known = places(isa, rng, smp=smp, seed=5)
    session = Session(boot(isa, smp=smp, seed=5))
    machine = session.machine
    session.timeline.spacing = 100_000  # several stretches to search
    session.cont(30_000)
    first = machine.insns
    for pc, _ in rng.sample(known, 3):
        session.add_break(pc)
    for _, stack in rng.sample(known, 2):
        session.add_watch(stack, 8, rng.choice(("w", "rw")))
    forwards: list[Stop] = []
    while machine.insns < 700_000:
        stop = session.cont(machine.insns + 200_000)
        if stop.kind in ("break", "watch"):
            forwards.append(stop)
        if len(forwards) == 12 or stop.kind == "end":
            break
    assert len(forwards) > 3
    session.goto(machine.insns + 1)
    while forwards:
        stop = session.back_cont()
        expected = forwards.pop()
        while forwards and forwards[-1].insns == expected.insns == machine.insns and forwards[-1] == stop:
            forwards.pop()
        assert (stop.kind, stop.insns, stop.pc, stop.break_id) == (expected.kind, expected.insns, expected.pc, expected.break_id)
        if forwards and forwards[-1].insns == stop.insns:  # several at one instruction: the last one stands for them
            forwards = [s for s in forwards if s.insns < stop.insns]
    session.goto(first)
    assert session.back_cont().insns < first or not session.timeline.marks[0].insns
    machine.close()


@each_isa
def test_there_and_back(isa: str) -> None:
    session = Session(Machine.boot("hello", isa=isa))
    first = session.cont(40_000)
    assert (first.kind, first.insns) == ("limit", 40_000)
    there = session.stepi(3)
    assert (there.kind, there.insns) == ("step", 40_003)
    assert session.back_stepi(3).pc == first.pc
    assert session.goto(40_003).pc == there.pc
    end = session.cont()
    assert end.kind == "end" and end.status is not None and end.status[0] == 0
    with pytest.raises(Refused):
        session.command("latency disk")
    assert session.back_stepi(10).kind == "step" and session.finish() is None
    assert session.back_stepi(1 << 40).kind == "start" and session.machine.insns == 0
    assert session.back_cont().kind == "start"
    session.machine.close()


def test_conditions_counts_and_single_use() -> None:
    session = Session(boot("arm64", "tasks", smp=2))
    machine = session.machine
    session.cont(200_000)
    where = session.stepi(1, 0).pc
    once = session.add_break(where, temporary=True)
    other = session.add_break(where, vcpu=1)
    seen: list[int] = []
    picky = session.add_break(where, condition=lambda s: bool(seen.append(s.vcpu)) or len(seen) > 3)
    stop = session.cont()
    assert stop.break_id in (once.id, other.id) and (stop.vcpu == 1) == (stop.break_id == other.id)
    for _ in range(20):
        if session.cont().kind == "end":
            break
    assert once.id not in session.breakpoints and once.hits == 1
    assert picky.hits == 0 or len(seen) > 3
    other.enabled = picky.enabled = False
    assert session.cont(machine.insns + 10_000).kind in ("limit", "end")
    session.remove(other.id)
    for nonsense in (lambda: session.remove(99), lambda: session.add_break(where, vcpu=7), lambda: session.add_break(-1),
                     lambda: session.add_watch(1 << 50, 8), lambda: session.add_watch(0x40000000, 8, "x"), lambda: session.stepi(1, 5),
                     lambda: session.goto(-1)):  # fmt: skip
        with pytest.raises(ConfigError):
            nonsense()
    machine.close()


def asleep(seen: Seen) -> bool:
    return seen.what is What.FAULT


@pytest.mark.parametrize(("isa", "apf"), [("x86_64", "kvm"), ("arm64", "sdei"), ("ppc64", "papr")])
def test_events_forwards_and_backwards(isa: str, apf: str) -> None:
    session = Session(Machine.boot("storm", isa=isa, apf=apf, resident="4M", latency="nvme", append="pages=400 passes=1 tasks=3"))
    stops = [session.until_event(asleep) for _ in range(6)]
    assert [s.kind for s in stops] == ["event"] * 6 and len({s.insns for s in stops}) == 6
    for expected in reversed(stops[:-1]):
        stop = session.back_event(asleep)
        assert (stop.kind, stop.insns, stop.pc) == ("event", expected.insns, expected.pc)
    before = session.machine.core.observe
    io = session.until_event(lambda s: s.what in (What.MMIO_WRITE, What.REG_WRITE, What.HCALL))
    assert io.kind == "event"
    assert session.machine.core.observe is before
    session.machine.close()


def test_what_the_host_writes() -> None:
    """The shared area is written by the host, and by the engine's exception entry: both stop the run behind it."""
    session = Session(Machine.boot("storm", isa="x86_64", apf="kvm", resident="4M", latency="nvme", append="pages=400 passes=1 tasks=3"))
    written = session.until_event(lambda s: s.what is What.HOST_WRITE)
    assert written.kind == "event"
    gpas: list[int] = []
    written = session.until_event(lambda s: s.what is What.HOST_WRITE and not gpas.append(s.a))
    session.goto(0)
    session.add_watch(gpas[0], 4, "w")
    stops = []
    while (stop := session.cont()).kind == "watch" and not (stop.trap is not None and stop.trap.by_host):
        stops.append(stop)
    assert stop.kind == "watch" and stop.insns == written.insns and stops
    assert session.back_cont().insns < stop.insns
    session.machine.close()


def test_interrupt() -> None:
    session = Session(boot("arm64", smp=2))
    session.interrupt()
    assert session.cont().kind == "interrupt"
    at = session.machine.insns
    session.interrupt()
    session.forget_interrupt()
    assert session.stepi(5).kind == "step"
    timer = threading.Timer(0.05, session.interrupt)
    timer.start()
    stop = session.cont()
    timer.join()
    assert stop.kind in ("interrupt", "end") and stop.insns > at
    session.machine.close()


@each_isa
def test_of_a_replay_and_of_a_saved_machine(isa: str, tmp_path: Path) -> None:
    machine = boot(isa, seed=3)
    recorder = Recorder(machine)
    session = Session(machine, recorder)
    session.cont(300_000)
    session.command("latency zram")
    disk.save(machine, str(tmp_path / "s"))
    session.cont()
    result = session.finish()
    assert result is not None
    recorder.write(str(tmp_path / "r"), result)
    machine.close()
    replay = Replay(str(tmp_path / "r"))
    replay.quiet()
    again = Session(replay.machine)
    again.cont(500_000)
    again.goto(200_000)
    assert again.cont().kind == "end"
    found = again.finish()
    assert found is not None and found.state_hash == result.state_hash
    replay.machine.close()
    restored = Session(disk.load(str(tmp_path / "s")))
    assert restored.machine.insns == 300_000
    restored.cont(400_000)
    assert restored.back_stepi(1000).insns == 399_000
    with pytest.raises(ConfigError):
        restored.goto(100_000)
    restored.cont()
    found = restored.finish()
    assert found is not None and found.state_hash == result.state_hash
    restored.machine.close()


def test_a_handler_that_raises_is_edited_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = plain("arm64", inject=["store.read:999999999:fail"])
    source = tmp_path / "edited_pager.py"

    def write(body: str) -> None:
        source.write_text("class Hook:\n    def __init__(self, memory):\n        self.memory, self.inner = memory, memory._serve\n\n"
                          "    def serve(self, vcpu, gpa):\n        " + body.replace("\n", "\n        ") + "\n")  # fmt: skip

    write("if self.memory.core.stats()['swap_in'] >= 20:\n    raise ValueError('not today')\nreturn self.inner(vcpu, gpa)")
    monkeypatch.syspath_prepend(str(tmp_path))
    import edited_pager  # type: ignore[import-not-found]

    session = Session(boot("arm64", inject=["store.read:999999999:fail"]))
    machine = session.machine
    hook = edited_pager.Hook(machine.memory)
    monkeypatch.setattr(machine.memory, "_serve", hook.serve)
    session.cont(10_000)
    stop = session.cont()
    assert stop.kind == "error" and isinstance(stop.error, ValueError) and stop.text == "ValueError: not today"
    here = state_hash(machine)
    again = session.retry(["edited_pager"])  # nothing was edited: the same event fails again
    assert (again.kind, again.insns, state_hash(machine)) == ("error", stop.insns, here)
    source.write_text("def broken(:\n")
    with pytest.raises(ConfigError):
        session.retry(["edited_pager"])
    with pytest.raises(ConfigError):
        session.retry(["no_such_module"])
    assert state_hash(machine) == here
    write("return self.help(vcpu, gpa)\n\nLIMIT = 3")
    source.write_text(source.read_text().replace("        \n        LIMIT = 3\n", "") + "\n    def help(self, vcpu, gpa):\n"
                      "        assert LIMIT == 3\n        return self.inner(vcpu, gpa)\n\n\nLIMIT = 3\n")  # fmt: skip
    assert session.retry(["edited_pager"]).kind == "end"
    found = session.finish()
    assert found is not None and found.state_hash == expected.state_hash
    assert sys.modules["edited_pager"] is edited_pager and type(hook) is edited_pager.Hook
    machine.close()
