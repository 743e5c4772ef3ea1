# SPDX-License-Identifier: GPL-2.0-or-later
"""The posted series' own defects: each is there with its switch, and gone without it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.apf_arm64 import REGISTER, SETUP, TOLD, ApfGuest, content, disable, enable, page
from helpers.sdei import (
    ACK,
    CLEAR_BUFFER,
    ENTERED,
    EOI,
    HANDLER,
    INIT_GIC,
    INJECT,
    IRQ,
    IRQ_OF_EL0,
    IRQ_WINDOW,
    LOADED,
    MODE,
    TASK_AGAIN,
    WFI_LINE,
    Line,
    clear,
    task,
)

from vmemu.bugs import BUGS
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64 import quirks
from vmemu.protocols.sdei_arm64.abi import EVENT, WAKE_ALL, Reason

LONG: list[Line] = [(Call.VERSION,)] * 150
WAIT: list[Line] = [WFI_LINE, IRQ_WINDOW]


def run(folder: Path, bug: str | None, lines: list[Line]) -> ApfGuest:
    guest = ApfGuest(folder, bugs=[] if bug is None else [bug])
    guest.run(lines)
    return guest


def ready(guest: ApfGuest) -> list[int]:
    return [e.x2 for e in guest.log() if e.kind == IRQ and e.x0 == 22 and e.x1 == Reason.PAGE_READY]


def test_token_zero(tmp_path: Path) -> None:
    """B-4: the first token of vCPU 0."""
    lines = [*SETUP, task(page(0)), *TOLD, *WAIT, TASK_AGAIN]
    assert ready(run(tmp_path, None, lines)) == [WAKE_ALL, 1 << 12]
    guest = run(tmp_path, quirks.TOKEN_ZERO, lines)
    assert ready(guest) == [WAKE_ALL, 0]
    guest = ApfGuest(tmp_path, bugs=[quirks.TOKEN_ZERO])
    state = guest.state()
    state.id = 0xFFFF
    assert [state.next_token(0, from_zero=True) for _ in range(3)] == [0xFFFF000, 0, 0x1000]


def test_refault_livelock(tmp_path: Path) -> None:
    """B-2: a second task on the same page faults again and again, instead of its vCPU waiting once."""
    lines = [*SETUP, task(page(0)), *TOLD, task(page(0)), IRQ_WINDOW]
    guest = run(tmp_path, None, lines)
    assert guest.count("repeated") == 1
    spinning = run(tmp_path, quirks.REFAULT_SPIN, lines)
    assert spinning.count("repeated") > 50
    assert spinning.count("halted") == 0
    assert [e.x0 for e in spinning.log() if e.kind == LOADED] == [content(0)]


def test_failed_injection(tmp_path: Path) -> None:
    """B-1, B-3, B51: the event is masked. Buffer and flags stay, and a ready comes for a token that the guest never saw."""
    lines = [*SETUP, (Call.PE_MASK,), task(page(0)), *LONG, IRQ_WINDOW]
    guest = run(tmp_path, None, lines)
    assert ready(guest) == [WAKE_ALL]
    assert guest.pager.invariants() == []
    broken = run(tmp_path, quirks.FAILED_INJECTION, lines)
    assert not [e for e in broken.log() if e.kind == ENTERED]
    assert ready(broken) == [WAKE_ALL, 1 << 12]
    assert broken.state().away_pending
    assert any("never shown" in text for text in broken.pager.invariants())


def test_disable_keeps_the_acknowledge(tmp_path: Path) -> None:
    """B-5, B52: after off and on again, a line that nobody lowers, and no wake-all before an acknowledge that nobody owes."""
    before = [*SETUP, task(page(0)), *TOLD, *LONG, disable()]
    lines = [*before, *clear(), enable(), (MODE, CLEAR_BUFFER), IRQ_WINDOW]
    guest = run(tmp_path, None, lines)
    assert ready(guest) == [WAKE_ALL, WAKE_ALL]
    broken = run(tmp_path, quirks.DISABLE_KEEPS_ACK, lines)
    assert ready(broken) == [WAKE_ALL]
    assert [e[1:4] for e in broken.log() if e.kind == IRQ][-1] == (22, 0, 0)  # the interrupt says nothing
    assert broken.pager.done[0]  # the wake-all waits


def test_critical_event(tmp_path: Path) -> None:
    """D-8, B50: it interrupts the handler of a normal event, were kernel mode not refused; a normal one waits for its end."""
    for bug, expected in ((None, 0), (quirks.CRITICAL, 1)):
        guest = ApfGuest(tmp_path, bugs=[] if bug is None else [bug])
        assert guest.pager.sdei is not None
        guest.add_host_calls(guest.pager.sdei)
        lines = [*SETUP, (Call.EVENT_GET_INFO, EVENT, 2), (Call.EVENT_REGISTER, 0, HANDLER, 9, 0, 0), (Call.EVENT_ENABLE, 0)]
        guest.run([*lines, (INJECT, 0, 0), (INJECT, EVENT, 0), (Call.EVENT_STATUS, EVENT)])
        assert guest.results()[-1] == (7 if expected else 3)
        assert expected in guest.results()


def test_zeroed_registers(tmp_path: Path) -> None:
    """D-5, through the guest's own eyes: x4 at the handler's entry."""
    lines = [INIT_GIC, *REGISTER, enable(), IRQ_WINDOW, (Call.EVENT_REGISTER, 0, HANDLER, 9, 0, 0), (Call.EVENT_ENABLE, 0),
             (Call.EVENT_SIGNAL, 0, 0, 0, 0xBEEF)]  # fmt: skip
    for bug, expected in ((None, 0xBEEF), (quirks.ZERO_REGISTERS, 0)):
        log = run(tmp_path, bug, lines).log()
        assert (log[-1].kind, log[-1].x4) == (ENTERED, expected)


def test_switches_are_known() -> None:
    ours = [bug for bug in BUGS.values() if bug.owner == quirks.ROOM]
    assert len(ours) == 6


@pytest.mark.parametrize("bug", [quirks.TOKEN_ZERO, quirks.REFAULT_SPIN, quirks.CRITICAL, quirks.ZERO_REGISTERS])
def test_others_do_not_harm_a_guest_that_keeps_the_rules(bug: str, tmp_path: Path) -> None:
    lines = [line for i in range(6) for line in (task(page(i)), *clear(), (Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0))]
    guest = run(tmp_path, bug, [*SETUP, (MODE, CLEAR_BUFFER | ACK | EOI), *lines, *WAIT * 6])
    assert guest.count("ready") == 6
    assert guest.pager.ledger.problems == []
