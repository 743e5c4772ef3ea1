# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI as the guest kernel finds it: the program `sdei-edge`, and that it sees what is wrong."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from vmemu.machine.machine import Machine
from vmemu.protocols.sdei import dispatch
from vmemu.protocols.sdei.calls import Code
from vmemu.protocols.sdei.dispatch import Sdei

PER_CPU, ONCE = 21, 3  # tests


def edge(smp: int, check: bool = True, **options: Any) -> tuple[int, Counter[str]]:
    """Status and the lines of a run; nothing but the dispatcher is there, no async page faults."""
    out = bytearray()
    machine = Machine.boot("sdei-edge", isa="arm64", smp=smp, append="quiet", console=out.extend)
    machine.facilities["sdei"] = sdei = Sdei(machine, (), **options)
    machine.on_entry = sdei.enter
    result = machine.run()
    assert not check or sdei.invariants() == []
    return result.status, Counter(line for line in out.decode().splitlines() if line.startswith("sdei-edge: "))


@pytest.mark.parametrize("smp", [1, 3])
def test_every_call_in_every_state(smp: int) -> None:
    status, lines = edge(smp)
    assert status == 0 and lines.pop("sdei-edge: 0 failures") == 1
    assert sum(lines.values()) == PER_CPU * smp + ONCE
    assert all(line.startswith("sdei-edge: PASS ") and times in (1, smp) for line, times in lines.items())


def test_without_sdei_it_fails() -> None:
    out = bytearray()
    machine = Machine.boot("sdei-edge", isa="arm64", append="quiet", console=out.extend)
    assert machine.run().status == 1 and b"neither SDEI nor" in out


def failed(lines: Counter[str]) -> set[str]:
    return {line.split(":")[1].removeprefix(" FAIL ") for line in lines if line.startswith("sdei-edge: FAIL ")}


def test_sees_registers_that_kvm_cleared() -> None:
    status, lines = edge(1, zero_registers=True)
    assert status == 1 and failed(lines) == {"registers in, by context and out"}


def test_sees_a_mask_that_denies(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the posted series: the second MASK is DENIED."""
    good = Sdei._mask
    monkeypatch.setattr(dispatch.Sdei, "_mask", lambda *args: good(*args) or Code.DENIED)
    status, lines = edge(1)
    assert status == 1 and failed(lines) == {"mask and unmask", "mask inside of a handler"}


def test_sees_pending_events_that_outlive_their_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in v7 of the series: UNREGISTER keeps what is pending."""
    good = Sdei._change

    def keep(sdei: Sdei, vcpu: Any, number: int, op: dispatch.Op) -> int:
        handler = sdei.state.handler(number, vcpu.id)
        before = handler is not None and handler.pending
        code = good(sdei, vcpu, number, op)
        if handler is not None:
            handler.pending = before
        return code

    monkeypatch.setattr(Sdei, "_change", keep)
    status, lines = edge(1, check=False)
    assert status == 1 and "pending at unregistration" in failed(lines)  # and what comes after it finds it pending


def test_sees_a_resume_address_that_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the posted series: COMPLETE_AND_RESUME goes back to the interrupted code."""
    good = Sdei._complete
    monkeypatch.setattr(Sdei, "_complete", lambda self, vcpu, resume: good(self, vcpu, None))
    status, lines = edge(1)
    assert status == 1 and failed(lines) == {"complete and resume"}
