# SPDX-License-Identifier: GPL-2.0-or-later
"""The models checked in their own right: one with a small error is noticed, on honest hosts or on those that break a rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.apf_arm64 import SETUP, TOLD, ApfGuest, disable, enable, page
from helpers.lies_x86 import LIES, Liar, honest
from helpers.mutants import Family, Mutation, mutations, sample, survivors
from helpers.sdei import CLEAR_BUFFER, HANDLER, IRQ_WINDOW, MODE, TASK_AGAIN, Line, clear, task
from helpers.watched import ISAS, STORMS

from vmemu.lab.models import Watch
from vmemu.machine.machine import Machine
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64.abi import EVENT

Attach = Callable[[Machine], Watch]
Run = Callable[[Attach], None]

KVM = Family(("ledger", "x86", "kvm_x86"), "KvmModel")
ARM64 = Family(("ledger", "sdei_calls", "sdei_client", "sdei_arm64"), "Arm64Model")


def storm(apf: str, **options: Any) -> Run:
    def run(attach: Attach) -> None:
        isa = ISAS[apf]
        machine = Machine.boot("storm", isa=isa, apf=apf, max_cycles=100_000_000, **STORMS[isa], **options)
        watch = attach(machine)
        watch.at_end(machine.run())
        machine.close()

    return run


def by_hand(drive: Callable[[Liar], None]) -> Run:
    def run(attach: Attach) -> None:
        rig = Liar(attach)
        drive(rig)
        rig.close()

    return run


def script(folder: Path, lines: list[Line], *bugs: str) -> Run:
    def run(attach: Attach) -> None:
        guest = ApfGuest(folder, bugs=bugs)
        guest.restart(lines)
        watch = attach(guest.machine)
        watch.at_end(guest.machine.run())

    return run


def kvm_runs() -> list[Run]:
    return [by_hand(honest), *(by_hand(drive) for drive, _ in LIES.values()), storm("kvm", smp=2, seed=3)]


CALLS: list[Line] = [(int(Call.VERSION),)] * 60
AGAIN = [*SETUP, task(page(0)), *TOLD, IRQ_WINDOW, TASK_AGAIN]
MASKED = [*SETUP, (Call.PE_MASK,), task(page(0)), *CALLS, IRQ_WINDOW]
NESTED: list[Line] = [*SETUP, (Call.EVENT_GET_INFO, EVENT, 2), (Call.EVENT_REGISTER, 0, HANDLER, 9, 0, 0), (Call.EVENT_ENABLE, 0)]
OFF_ON = [*SETUP, task(page(0)), *TOLD, *CALLS, disable(), *clear(), enable(), (MODE, CLEAR_BUFFER), IRQ_WINDOW]


def arm64_runs(folder: Path) -> list[Run]:
    return [
        script(folder, MASKED), script(folder, MASKED, "sdei-failed-injection"), script(folder, AGAIN),
        script(folder, AGAIN, "sdei-zero-registers", "sdei-token-zero"),
    ]  # fmt: skip


def told(left: list[Mutation]) -> str:
    return "\n".join(map(str, left))


def test_mutants_of_the_kvm_model() -> None:
    tried = sample(KVM.modules, 60)
    left = survivors(KVM, tried, kvm_runs())
    assert len(left) <= len(tried) * 0.2, told(left)


def test_mutants_of_the_arm64_model(tmp_path: Path) -> None:
    tried = sample(ARM64.modules, 24)
    left = survivors(ARM64, tried, arm64_runs(tmp_path))
    assert len(left) <= len(tried) * 0.45, told(left)


@pytest.mark.slow
def test_all_mutants_of_the_kvm_model() -> None:
    more = [storm("kvm", smp=2, seed=4, bugs=("apf-no-ack",)), storm("kvm", bugs=("apf-no-eoi",))]
    tried = mutations(KVM.modules)
    left = survivors(KVM, tried, [*kvm_runs(), *more])
    assert len(left) <= len(tried) * 0.15, told(left)


@pytest.mark.slow
def test_many_mutants_of_the_arm64_model(tmp_path: Path) -> None:
    bad = ("apf.ready:9:drop", "apf.ready:9:duplicate", "apf.irq:9:drop", "sdei.event:9:drop")
    more = [
        script(tmp_path, NESTED, "sdei-critical"), script(tmp_path, OFF_ON), script(tmp_path, OFF_ON, "sdei-disable-keeps-ack"),
        storm("sdei", smp=2, seed=3), storm("ppi-only", smp=2, seed=3), *(storm("sdei", smp=2, inject=(rule,)) for rule in bad),
    ]  # fmt: skip
    tried = sample(ARM64.modules, 120)
    left = survivors(ARM64, tried, [*arm64_runs(tmp_path), *more])
    assert len(left) <= len(tried) * 0.3, told(left)
