# SPDX-License-Identifier: GPL-2.0-or-later
"""The event ring: one list of kinds, nothing lost, the same for every store, no influence on the run."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pytest

import vmemu.core
from vmemu.core import EVENT_LAYOUT, NO_TASK, NO_VCPU, CoreMachine, Event, ffi
from vmemu.core.events import ARGUMENTS, EventFlag, EventKind, name
from vmemu.machine.machine import Machine
from vmemu.machine.result import RunResult

ISAS = ("x86_64", "arm64", "ppc64")
each_isa = pytest.mark.parametrize("isa", ISAS)


def traced(
    isa: str, log2: int = 8, image: str = "walk", append: str = "pages=1500 passes=2", **options: Any
) -> tuple[RunResult, list[Event]]:
    """A run with a small ring, and all its events."""
    settings: dict[str, Any] = {
        "memory": "16M", "resident": "4M", "latency": "nvme", "max_cycles": 2_000_000_000, "console": lambda _: None,
    }
    machine = Machine.boot(image, isa=isa, append=append, **(settings | options))
    events: list[Event] = []

    def drain() -> None:
        while batch := machine.core.drain():
            events.extend(batch)

    machine.core.enable_ring(log2, drain)
    result = machine.run()
    drain()
    assert machine.core.events_lost == 0
    machine.close()
    return result, events


def test_kinds_are_those_of_the_header() -> None:
    header = (Path(vmemu.core.__file__).parent / "src" / "core.h").read_text()
    body = re.search(r"enum ev_kind \{(.*?)\}", header, re.DOTALL)
    assert body is not None
    value, declared = 0, {}
    for word in re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL).split(","):
        label, _, number = word.partition("=")
        value = int(number) if number else value
        declared[label.strip().removeprefix("EV_")] = value
        value += 1
    ours = {kind.name: kind.value for kind in EventKind if kind <= EventKind.PROTOCOL}
    ours["PROTOCOL"] = EventKind.PROTOCOL.value
    ours.pop("TOKEN_TRY", None)
    assert declared == ours


def test_every_kind_is_described() -> None:
    assert set(ARGUMENTS) == set(EventKind) - {EventKind.NONE}
    assert name(EventKind.SWAP_IN) == "swap_in" and name(200) == "event_200"
    assert ffi.sizeof("struct event") == EVENT_LAYOUT.size


@each_isa
def test_events_agree_with_the_counters(isa: str) -> None:
    result, events = traced(isa)
    kinds = [e.kind for e in events]
    assert result.status == 0
    assert kinds.count(EventKind.SWAP_IN) == result.swap_ins == result.faults["swap"]
    assert kinds.count(EventKind.SWAP_OUT) == result.swap_outs
    assert kinds.count(EventKind.GUEST_FAULT) == result.faults["guest"]
    assert kinds.count(EventKind.EXCEPTION) == result.exits["exception"]
    assert kinds.count(EventKind.IRQ) == result.exits["interrupt"]
    assert kinds.count(EventKind.IO) == result.exits["io"]
    assert kinds.count(EventKind.HCALL) == result.exits["hcall"]
    entries = sum(kinds.count(kind) for kind in (EventKind.EXCEPTION, EventKind.IRQ, EventKind.SYSCALL))
    returns = kinds.count(EventKind.RETURN)
    assert entries <= returns + 2  # the last system call powers off; the first entry into user mode comes back from nothing
    assert abs(entries - returns) <= 4


@each_isa
def test_time_never_goes_back_on_a_vcpu(isa: str) -> None:
    _, events = traced(isa)
    times = [e.cycles for e in events]
    assert times == sorted(times)
    assert all(b.insns >= a.insns for a, b in pairwise(events) if NO_VCPU not in (a.vcpu, b.vcpu))
    faults = [e for e in events if e.kind == EventKind.STAGE2]
    assert any(e.flags & EventFlag.USER for e in faults) and not all(e.flags & EventFlag.USER for e in faults)


@each_isa
def test_a_python_store_gives_the_same_events(isa: str, tmp_path: Path) -> None:
    _, ours = traced(isa)
    _, other = traced(isa, store=f"file:{tmp_path}/swap")

    def essence(events: list[Event]) -> list[tuple[int, ...]]:
        kinds = (EventKind.STAGE2, EventKind.SWAP_IN, EventKind.SWAP_OUT)
        return [(e.cycles, e.insns, e.pc, e.kind, e.a, e.b) for e in events if e.kind in kinds]

    assert essence(ours) == essence(other)


@each_isa
def test_recording_does_not_change_the_run(isa: str) -> None:
    machine = Machine.boot("tasks", isa=isa, memory="16M", resident="4M", latency="nvme", seed=3, max_cycles=2_000_000_000,
                           console=lambda _: None)
    plain = machine.run()
    machine.close()
    seen, events = traced(isa, image="tasks", append="", seed=3)
    assert events and plain.to_json() | {"wall_s": 0} == seen.to_json() | {"wall_s": 0}


@pytest.mark.parametrize(("isa", "order"), [("arm64", "little"), ("x86_64", "little"), ("ppc64", "big")])
def test_events_carry_the_task_that_the_guest_declares(isa: str, order: Literal["little", "big"]) -> None:
    core = CoreMachine(isa, 64, [(0, 1 << 20)], lambda *_: (0, 0))
    vcpus = [core.add_vcpu(), core.add_vcpu()]
    core.enable_ring(4)
    core.watch_tasks(0x5008, 1)
    core.put_event(EventKind.TOKEN_TRY, vcpu=vcpus[0])  # the page is not there
    core.ensure(None, 0x5000)
    core.write_resident(0x5008, (7).to_bytes(8, order))
    core.put_event(EventKind.TOKEN_TRY, vcpu=vcpus[0])
    core.put_event(EventKind.TOKEN_TRY, vcpu=vcpus[1])  # beyond the array
    core.put_event(EventKind.TOKEN_TRY)  # the host's
    core.watch_tasks(1 << 40, 2)  # not RAM
    core.put_event(EventKind.TOKEN_TRY, vcpu=vcpus[0])
    tasks = [e.task for e in core.drain() if e.kind == EventKind.TOKEN_TRY]
    assert tasks == [NO_TASK, 7, NO_TASK, NO_TASK, NO_TASK]


def test_without_a_reader_the_oldest_go_and_are_counted() -> None:
    core = CoreMachine("arm64", 64, [(0, 1 << 20)], lambda *_: (0, 0))
    core.put_event(EventKind.TOKEN_TRY, 1)  # no ring: nothing
    core.enable_ring(2)
    for token in range(6):
        core.put_event(EventKind.TOKEN_READY, token, cycles=100 + token)
    assert [(e.kind, e.a, e.cycles, e.vcpu) for e in core.drain()] == [(67, t, 100 + t, NO_VCPU) for t in range(2, 6)]
    assert core.events_lost == 2


def test_a_reader_that_raises_ends_the_run_with_its_error() -> None:
    machine = Machine.boot("hello", isa="arm64", console=lambda _: None, max_cycles=2_000_000_000)

    def broken() -> None:
        raise RuntimeError("reader")

    machine.core.enable_ring(1, broken)
    with pytest.raises(RuntimeError, match="reader"):
        machine.run()
    machine.close()
