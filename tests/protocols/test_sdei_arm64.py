# SPDX-License-Identifier: GPL-2.0-or-later
"""Asynchronous page faults on arm64, guest and host together: what a well-behaved bare guest sees, event by event."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.apf_arm64 import PPI_SETUP, SERVICE, SETUP, TOLD, ApfGuest, content, enable, page
from helpers.pftrace import BEGIN, read
from helpers.sdei import (
    CALLED,
    ENTERED,
    HANDLER,
    INIT_GIC,
    IRQ,
    IRQ_WINDOW,
    LABELS,
    LOADED,
    TASK_AGAIN,
    USER,
    WAITED,
    WFI_LINE,
    task,
)

from vmemu.core.events import EventKind
from vmemu.debug.trace import Tracer
from vmemu.protocols.sdei.calls import VERSION, Call
from vmemu.protocols.sdei_arm64 import abi
from vmemu.protocols.sdei_arm64.abi import EVENT, WAKE_ALL, Reason, Sub

PPI = abi.IRQ
EL0 = 0


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> ApfGuest:
    return ApfGuest(tmp_path_factory.mktemp("apf"))


@pytest.fixture(scope="module")
def ppi_guest(tmp_path_factory: pytest.TempPathFactory) -> ApfGuest:
    return ApfGuest(tmp_path_factory.mktemp("ppi"), apf="ppi-only")


def token(i: int, cpu: int = 0) -> int:
    """The i-th token of a vCPU, from 1."""
    return i << 12 | cpu


def test_first_test_of_the_sheet(guest: ApfGuest) -> None:
    """Section 15, event by event."""
    log = guest.run([
        INIT_GIC, (0x80000000,), (0x8600FF01,), (0x86000000,), *((SERVICE, sub) for sub in (Sub.VERSION, Sub.SLOTS, Sub.SDEI, Sub.IRQ)),
        (Call.VERSION,), (Call.PRIVATE_RESET,), (Call.EVENT_REGISTER, EVENT, HANDLER, 5, 0, 0), (Call.EVENT_ENABLE, EVENT),
        (Call.PE_UNMASK,), enable(), IRQ_WINDOW, task(page(0)), *TOLD, WFI_LINE, IRQ_WINDOW, TASK_AGAIN,
    ])  # fmt: skip
    calls = [e[1:3] for e in log if e.kind == CALLED]
    assert calls == [
        (0x10001, 0), (0xB66FB428, 0xE911C52E), (5, 0), (0, 0x10000), (0, 64), (0, EVENT), (0, PPI), (VERSION, 0), (0, 0), (0, EVENT),
        (0, EVENT), (0, 0), (0, 0),
    ]  # fmt: skip
    window = LABELS["open"] + 4
    wake_all, entered, vector, waited, ready, loaded = log[len(calls) :]
    assert wake_all[:5] == (IRQ, PPI, Reason.PAGE_READY, WAKE_ALL, window)
    assert entered[:5] == (ENTERED, EVENT, 5, USER, EL0)
    assert vector == (IRQ, 1023, 0, 0, USER, EL0)  # the buffer is clear; ELR and SPSR are the task's
    assert waited.kind == WAITED
    assert ready[:5] == (IRQ, PPI, Reason.PAGE_READY, token(1), window)
    assert loaded[:2] == (LOADED, content(0))
    assert guest.pager.invariants() == []
    assert guest.buffer() == (0, 0)


def test_first_test_in_the_ring(tmp_path: Path) -> None:
    """The same as the host sees it, and in this order."""
    guest = ApfGuest(tmp_path)
    guest.machine.core.enable_ring(14)
    guest.run([*SETUP, task(page(0)), *TOLD, WFI_LINE, IRQ_WINDOW, TASK_AGAIN])
    wanted = {
        EventKind.TOKEN_WAKE_ALL, EventKind.TOKEN_TRY, EventKind.TOKEN_NOT_PRESENT, EventKind.FIRMWARE_EVENT, EventKind.FIRMWARE_RETURN,
        EventKind.TOKEN_COMPLETED, EventKind.TOKEN_READY, EventKind.IRQ,
    }  # fmt: skip
    kinds = [EventKind(e.kind) for e in guest.machine.core.drain() if e.kind in wanted]
    assert kinds == [
        EventKind.TOKEN_WAKE_ALL, EventKind.IRQ, EventKind.TOKEN_TRY, EventKind.TOKEN_NOT_PRESENT, EventKind.FIRMWARE_EVENT,
        EventKind.FIRMWARE_RETURN, EventKind.TOKEN_COMPLETED, EventKind.TOKEN_READY, EventKind.IRQ,
    ]  # fmt: skip


def test_first_test_by_the_interrupt_alone(ppi_guest: ApfGuest) -> None:
    """Profile ppi-only: no event, both reasons on the PPI, each acknowledged."""
    log = ppi_guest.run([(SERVICE, Sub.SDEI), (Call.VERSION,), *PPI_SETUP, task(page(0)), WFI_LINE, IRQ_WINDOW, TASK_AGAIN])
    assert log[0][1:3] == (0, 0)
    assert ppi_guest.results()[1] == -1
    wake_all, away, waited, ready, loaded = log[3:]
    assert wake_all[:4] == (IRQ, PPI, Reason.PAGE_READY, WAKE_ALL)
    assert away == (IRQ, PPI, Reason.PAGE_NOT_PRESENT, token(1), USER, EL0)
    assert waited.kind == WAITED
    assert ready[:4] == (IRQ, PPI, Reason.PAGE_READY, token(1))
    assert loaded[:2] == (LOADED, content(0))
    assert ppi_guest.pager.invariants() == []


def test_first_test_in_a_trace(tmp_path: Path) -> None:
    """The handler is a slice on the vCPU's track, and so is what COMPLETE_AND_RESUME makes it go on with, up to its ERET."""
    guest = ApfGuest(tmp_path)
    guest.restart([*SETUP, task(page(0)), *TOLD, WFI_LINE, IRQ_WINDOW, TASK_AGAIN])
    with Tracer(guest.machine, str(tmp_path / "t.pftrace")):
        guest.machine.run()
    trace = read((tmp_path / "t.pftrace").read_bytes())
    names = [e.name for e in trace.events if e.type == BEGIN and e.category == "handler"]
    assert names[:4] == ["IRQ", f"firmware event {EVENT:#x}", "as an exception", "IRQ"]


@pytest.mark.parametrize("profile", ["sdei", "ppi-only"])
def test_many_tasks(profile: str, tmp_path: Path) -> None:
    """I-2, I-3, I-7, I-9: tokens are distinct and not zero, one ready each, in the order of completion; the page is there by then."""
    guest = ApfGuest(tmp_path, apf=profile)
    setup, told = (SETUP, TOLD) if profile == "sdei" else (PPI_SETUP, [])
    n = 20
    lines = [line for i in range(n) for line in (task(page(i)), *told)]
    log = guest.run([*setup, *lines, *[WFI_LINE, IRQ_WINDOW] * (2 * n)])
    ready = [e.x2 for e in log if e.kind == IRQ and e.x1 == Reason.PAGE_READY and e.x2 != WAKE_ALL]
    assert sorted(ready) == [token(i) for i in range(1, n + 1)]
    assert ready == sorted(ready)  # one server, asked in this order
    assert guest.count("notified") == guest.count("ready") == n
    assert guest.pager.invariants() == []
    assert not guest.pager.ledger.away
    assert guest.state().slots.gfns() == []


def test_page_comes_before_its_event_is_delivered(tmp_path: Path) -> None:
    """An undelivered not-present is cancelled: no event, no interrupt, and the buffer free (I-2). The load just works."""
    guest = ApfGuest(tmp_path)
    guest.finish_early()
    log = guest.run([*SETUP, task(page(0)), task(page(1))])
    assert [e[:2] for e in log[-2:]] == [(LOADED, content(0)), (LOADED, content(1))]
    assert not [e for e in log if e.kind == ENTERED]
    assert sum(e.kind == IRQ for e in log) == 1  # the wake-all
    assert (guest.count("cancelled"), guest.count("ready")) == (2, 0)
    assert guest.buffer() == (0, 0)
    assert guest.pager.invariants() == []
