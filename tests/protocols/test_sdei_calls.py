# SPDX-License-Identifier: GPL-2.0-or-later
"""SDEI handler states and calls as a guest meets them, through HVC: the whole table, then each call's arguments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.sdei import (
    AFTER_HVC,
    AFTER_WFI,
    CALLED,
    ENTERED,
    HANDLER,
    INJECT,
    RESUME,
    RESUMED,
    WAITED,
    WFI_LINE,
    ScriptGuest,
    cpu_on,
)

from vmemu.devices import psci
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei.dispatch import Sdei
from vmemu.protocols.sdei.state import EventInfo

SHARED, CRITICAL = 0x40400100, 0x40400101
INTERRUPTED = 0x200003C5  # PSTATE: EL1h, all masked, and C from the comparison before the call
Line = tuple[int, ...]

#: The sheet's table (DEN 0054, 6.1): next state, "deny", or R with PENDING. Columns as in CALLS.
TABLE = """
---  G     deny  deny  deny  deny  deny  deny
G    deny  GE    G     ---   G     deny  deny
GE   deny  GE    G     ---   deny  deny  deny
RG   deny  RGE   RG    R     deny  RG    G
RGE  deny  RGE   RG    R     deny  RGE   GE
R    deny  deny  deny  R     deny  R     ---
"""
BITS = {"---": 0, "G": 1, "GE": 3, "RG": 5, "RGE": 7, "R": 4}


def register(event: int, *, arg: int = 7, flags: int = 0, affinity: int = 0) -> Line:
    return (Call.EVENT_REGISTER, event, HANDLER, arg, flags, affinity)


CALLS: list[tuple[str, Line]] = [
    ("register", register(SHARED)), ("enable", (Call.EVENT_ENABLE, SHARED)), ("disable", (Call.EVENT_DISABLE, SHARED)),
    ("unregister", (Call.EVENT_UNREGISTER, SHARED)), ("routing", (Call.EVENT_ROUTING_SET, SHARED, 0, 0)),
    ("context", (Call.EVENT_CONTEXT, 17)), ("complete", (Call.EVENT_COMPLETE, 0)),
]  # fmt: skip
RUN = [register(SHARED), (Call.EVENT_ENABLE, SHARED), (Call.PE_UNMASK,), (INJECT, SHARED, 0)]
REACH: dict[str, list[Line]] = {
    "---": [], "G": RUN[:1], "GE": RUN[:2], "RGE": RUN, "RG": [*RUN, (Call.EVENT_DISABLE, SHARED)],
    "R": [*RUN, (Call.EVENT_UNREGISTER, SHARED)],
}  # fmt: skip


def cases() -> Iterator[tuple[str, str, Line, str]]:
    for row in TABLE.split("\n")[1:-1]:
        state, *cells = row.split()
        for (name, line), cell in zip(CALLS, cells, strict=True):
            yield state, name, line, cell


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> ScriptGuest:
    guest = ScriptGuest(tmp_path_factory.mktemp("sdei"))
    guest.add_sdei(EventInfo(SHARED, shared=True), EventInfo(CRITICAL, critical=True))
    return guest


def results(guest: ScriptGuest, *lines: Line) -> list[int]:
    guest.run(list(lines))
    assert guest.machine.facilities["sdei"].invariants() == []
    return guest.results()


@pytest.mark.parametrize(("state", "name", "line", "expected"), list(cases()))
def test_table(guest: ScriptGuest, state: str, name: str, line: Line, expected: str) -> None:
    """Every state and every call: the answer, the state afterwards, and nothing changed by what is denied (I-13)."""
    found = results(guest, *REACH[state], (Call.EVENT_STATUS, SHARED), line, (Call.EVENT_STATUS, SHARED))
    before = BITS[state]
    after = before if expected == "deny" else BITS[expected]
    if name == "complete" and expected != "deny":  # the interrupted call's result comes between them
        assert found[-3:] == [before, 1, after]
    else:
        code = -3 if expected == "deny" else -5 if name == "unregister" and expected == "R" else 0
        code = -5 if (state, name) == ("R", "unregister") else code
        assert found[-3:] == [before, code, after]


@pytest.mark.parametrize(("state", "entered"), [("---", 0), ("G", 0), ("GE", 1), ("RG", 1), ("RGE", 1), ("R", 1)])
def test_dispatch_column(guest: ScriptGuest, state: str, entered: int) -> None:
    """A signal is handled at once only in GE; in a running state it waits for the completion, and enabled events get it then."""
    log = guest.run([(Call.PE_UNMASK,), *REACH[state], (INJECT, SHARED, 0), (Call.EVENT_STATUS, SHARED)])
    assert sum(e.kind == ENTERED for e in log) == entered
    again = guest.run([(Call.PE_UNMASK,), *REACH[state], (INJECT, SHARED, 0), (Call.EVENT_COMPLETE, 0), (Call.EVENT_STATUS, SHARED)])
    assert sum(e.kind == ENTERED for e in again) == entered + (state == "RGE")
    assert guest.machine.facilities["sdei"].invariants() == []


def test_pending_waits_for_enable_and_unmask(guest: ScriptGuest) -> None:
    log = guest.run([register(0), (Call.EVENT_SIGNAL, 0, 0), (Call.PE_UNMASK,), (Call.EVENT_ENABLE, 0), (Call.EVENT_COMPLETE, 0)])
    assert [e.kind for e in log] == [CALLED, CALLED, CALLED, ENTERED, CALLED]
    log = guest.run([register(0), (Call.EVENT_ENABLE, 0), (Call.EVENT_SIGNAL, 0, 0), (Call.EVENT_STATUS, 0), (Call.PE_UNMASK,)])
    assert [e.kind for e in log] == [CALLED, CALLED, CALLED, CALLED, ENTERED]


def test_pending_goes_with_unregister(guest: ScriptGuest) -> None:
    """Pending at unregister: dropped, also when the unregistration waits for the handler."""
    again = [register(0), (Call.EVENT_ENABLE, 0)]
    log = guest.run([(Call.PE_UNMASK,), register(0), (Call.EVENT_SIGNAL, 0, 0), (Call.EVENT_UNREGISTER, 0), *again])
    assert all(e.kind == CALLED for e in log)
    log = guest.run([
        (Call.PE_UNMASK,), *again, (Call.EVENT_SIGNAL, 0, 0), (Call.EVENT_SIGNAL, 0, 0), (Call.EVENT_UNREGISTER, 0),
        (Call.EVENT_COMPLETE, 0), *again,
    ])  # fmt: skip
    assert sum(e.kind == ENTERED for e in log) == 1
    log = guest.run([(Call.PE_UNMASK,), (Call.EVENT_SIGNAL, 0, 0), *again])  # nobody had registered it: lost
    assert all(e.kind == CALLED for e in log)


def test_mask_reports_whether_it_masked(guest: ScriptGuest) -> None:
    assert results(guest, (Call.PE_MASK,), (Call.PE_UNMASK,), (Call.PE_UNMASK,), (Call.PE_MASK,), (Call.PE_MASK,)) == [0, 0, 0, 1, 0]


NESTING = [
    (Call.PE_UNMASK,), register(0, arg=1), register(CRITICAL, arg=2), register(SHARED, arg=3), (Call.EVENT_ENABLE, 0),
    (Call.EVENT_ENABLE, CRITICAL), (Call.EVENT_ENABLE, SHARED),
]  # fmt: skip


def entered(guest: ScriptGuest, *lines: Line) -> list[int]:
    """Arguments of the handlers that began, in order."""
    log = guest.run([*NESTING, *lines])
    assert guest.machine.facilities["sdei"].invariants() == []
    return [e.x1 for e in log if e.kind == ENTERED]


def test_critical_preempts_normal_and_nothing_else_nests(guest: ScriptGuest) -> None:
    """I-11."""
    assert entered(guest, (INJECT, 0, 0), (INJECT, SHARED, 0), (Call.EVENT_STATUS, SHARED)) == [1]  # normal waits for normal
    assert entered(guest, (INJECT, 0, 0), (INJECT, CRITICAL, 0), (INJECT, SHARED, 0), (Call.EVENT_STATUS, 0)) == [1, 2]
    assert entered(guest, (INJECT, CRITICAL, 0), (INJECT, CRITICAL, 0), (INJECT, 0, 0)) == [2]  # neither preempts critical
    done = (Call.EVENT_COMPLETE, 0)
    assert entered(guest, (INJECT, CRITICAL, 0), (INJECT, CRITICAL, 0), (INJECT, 0, 0), done, done, done) == [2, 2, 1]
    assert entered(guest, (INJECT, 0, 0), (INJECT, CRITICAL, 0), (INJECT, SHARED, 0), done, done) == [1, 2, 3]  # last in, first out


def test_critical_first_then_the_lower_number(guest: ScriptGuest) -> None:
    signals = [(Call.PE_MASK,), (INJECT, SHARED, 0), (INJECT, 0, 0), (INJECT, CRITICAL, 0), (Call.PE_UNMASK,)]
    done = (Call.EVENT_COMPLETE, 0)
    assert entered(guest, *signals, done, done, done) == [2, 1, 3]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (register(5), -2), (register(1 << 32), -2), (register((1 << 64) - 1), -2), (register(0x80000000), -2),
        ((Call.EVENT_REGISTER, 0, 0, 0, 0, 0), -2), (register(0, flags=2), -2), (register(0, flags=1 << 32), -2),
        (register(SHARED, flags=1, affinity=9), -2), (register(SHARED, flags=1, affinity=1 << 40), -2),
        (register(0, flags=1, affinity=9), 0), (register(SHARED, flags=1), 0), ((Call.EVENT_REGISTER, 0, 3, 0, 0, 0), 0),
        ((Call.EVENT_ENABLE, 5), -2), ((Call.EVENT_DISABLE, 5), -2), ((Call.EVENT_UNREGISTER, 5), -2), ((Call.EVENT_STATUS, 5), -2),
        ((Call.EVENT_CONTEXT, 17), -3), ((Call.EVENT_CONTEXT, 18), -2), ((Call.EVENT_CONTEXT, 1 << 32), -2),
        ((Call.EVENT_CONTEXT, (1 << 64) - 1), -2), ((Call.EVENT_COMPLETE, 0), -3), ((Call.EVENT_COMPLETE, 1), -3),
        ((Call.EVENT_COMPLETE_AND_RESUME, RESUME), -3),
        ((Call.EVENT_GET_INFO, 0, 0), 0), ((Call.EVENT_GET_INFO, 0, 1), 1), ((Call.EVENT_GET_INFO, 0, 2), 0),
        ((Call.EVENT_GET_INFO, 0, 3), -2), ((Call.EVENT_GET_INFO, 0, 4), -2), ((Call.EVENT_GET_INFO, 0, 5), -2),
        ((Call.EVENT_GET_INFO, SHARED, 0), 1), ((Call.EVENT_GET_INFO, SHARED, 1), 0), ((Call.EVENT_GET_INFO, SHARED, 3), -3),
        ((Call.EVENT_GET_INFO, CRITICAL, 2), 1), ((Call.EVENT_GET_INFO, 5, 0), -2),
        ((Call.EVENT_ROUTING_SET, 0, 0, 0), -2), ((Call.EVENT_ROUTING_SET, SHARED, 2, 0), -2),
        ((Call.EVENT_ROUTING_SET, SHARED, 1, 7), -2), ((Call.EVENT_ROUTING_SET, SHARED, 1, 0), -3),
        ((Call.INTERRUPT_BIND, 40), -1), ((Call.INTERRUPT_RELEASE, 1), -1),
        ((Call.EVENT_SIGNAL, 0, 0), 0), ((Call.EVENT_SIGNAL, 0, 1), -2), ((Call.EVENT_SIGNAL, CRITICAL, 0), -2),
        ((Call.EVENT_SIGNAL, 0, 1 << 32), -2), ((Call.FEATURES, 0), 0), ((Call.FEATURES, 1), 0), ((Call.FEATURES, 2), -2),
        ((Call.FEATURES, 1 << 32), -2), ((Call.PRIVATE_RESET,), 0), ((Call.SHARED_RESET,), 0), ((Call.VERSION,), 0x00010001564BCAA9),
        ((0xC4000033,), -1), ((0xC400001F,), -1), ((0x84000020,), -1),
    ],
)  # fmt: skip
def test_arguments(guest: ScriptGuest, line: Line, code: int) -> None:
    """And I-13: what fails changes nothing but x0."""
    sdei = guest.machine.facilities["sdei"]
    guest.run([])
    before = sdei.save()
    assert results(guest, line) == [code]
    (entry,) = guest.log()
    assert entry[2:] == (*line, 0, 0, 0, 0)[1:5]
    if code < 0:
        assert sdei.save() == before


def test_routing_of_shared_events(guest: ScriptGuest) -> None:
    info = (Call.EVENT_GET_INFO, SHARED, 3), (Call.EVENT_GET_INFO, SHARED, 4)
    assert results(guest, register(SHARED, flags=1), *info, (Call.EVENT_ROUTING_SET, SHARED, 0, 0), info[0]) == [0, 1, 0, 0, 0]


def test_resets(guest: ScriptGuest) -> None:
    """Private and shared apart. What runs is unregistered when it completes, and the answer is DENIED."""
    status = [(Call.EVENT_STATUS, n) for n in (0, CRITICAL, SHARED)]
    assert results(guest, *NESTING, (Call.PRIVATE_RESET,), *status)[-4:] == [0, 0, 0, 3]
    assert results(guest, *NESTING, (Call.SHARED_RESET,), *status)[-4:] == [0, 3, 3, 0]
    found = results(guest, *NESTING, (INJECT, 0, 0), (Call.PRIVATE_RESET,), *status, (Call.EVENT_COMPLETE, 0), *status)
    assert found[-8:] == [-3, 4, 0, 3, 1, 0, 0, 3]


def test_complete_restores_everything(guest: ScriptGuest) -> None:
    """I-10: x0..x17, PC and PSTATE are those of the interrupted code, whatever the handler did; no result is written."""
    ask = [(Call.EVENT_CONTEXT, n) for n in range(6)]
    log = guest.run([*NESTING, (INJECT, 0, 0, 0xAAAA, 0xBBBB, 0xCCCC), *ask, (Call.EVENT_COMPLETE, 1)])
    begun = next(i for i, e in enumerate(log) if e.kind == ENTERED)
    handler = log[begun]
    assert handler[1:5] == (0, 1, AFTER_HVC, INTERRUPTED)
    assert handler.x4 == 0xBBBB
    context = [e.x0 for e in log[begun + 1 : begun + 7]]
    assert context == [1, 0, 0, 0xAAAA, 0xBBBB, 0xCCCC]
    assert log[begun + 7] == (CALLED, 1, 0, 0, 0xAAAA, 0xBBBB)


def test_complete_and_resume(guest: ScriptGuest) -> None:
    """I-10: it looks as if an exception had come: ELR and SPSR are the interrupted code's, which an ERET continues."""
    log = guest.run([*NESTING, (INJECT, 0, 0, 5, 6, 7), (Call.EVENT_COMPLETE_AND_RESUME, RESUME), (Call.EVENT_STATUS, 0)])
    assert [e.kind for e in log[-4:]] == [ENTERED, RESUMED, CALLED, CALLED]
    assert log[-3][1:3] == (AFTER_HVC, INTERRUPTED)
    assert log[-2][1:6] == (1, 0, 0, 5, 6)
    assert log[-1].x0 == 3


def test_wfi_ends_for_an_event_and_only_then(tmp_path: Path) -> None:
    """I-15: the host may signal while the CPU sleeps; without a signal it sleeps for ever."""
    guest = ScriptGuest(tmp_path)
    sdei = guest.add_sdei()
    lines = [register(0), (Call.EVENT_ENABLE, 0), (Call.PE_UNMASK,), WFI_LINE, (Call.EVENT_COMPLETE, 0), (Call.EVENT_STATUS, 0)]
    log = guest.run(lines)
    assert [e.kind for e in log] == [CALLED] * 3
    assert "stalled" in str(guest.machine.result)
    assert sdei.inject(0, 0)
    guest.machine.run()
    assert [e.kind for e in guest.log()] == [CALLED] * 3 + [ENTERED, WAITED, CALLED]
    assert guest.log()[3].x2 == AFTER_WFI


def test_another_cpu_signals(tmp_path: Path) -> None:
    """I-16: private handlers are each PE's own; PSCI's CPU_ON starts with nothing registered, masked."""
    guest = ScriptGuest(tmp_path, smp=2)
    guest.add_sdei(EventInfo(SHARED, shared=True))
    wait = [register(0, arg=9), (Call.EVENT_ENABLE, 0), (Call.PE_MASK,), (Call.PE_UNMASK,), WFI_LINE, (Call.EVENT_COMPLETE, 0)]
    guest.run([cpu_on(1), *[(Call.VERSION,)] * 200, (Call.EVENT_STATUS, 0), (Call.EVENT_SIGNAL, 0, 1)], wait)
    assert guest.results()[-2:] == [0, 0]
    assert [e.kind for e in guest.log(1)] == [CALLED] * 4 + [ENTERED, WAITED]
    assert guest.log(1)[4].x1 == 9
    assert guest.results(1)[2] == 0  # it was masked


def test_cpu_off_forgets(tmp_path: Path) -> None:
    guest = ScriptGuest(tmp_path, smp=2)
    sdei = guest.add_sdei(EventInfo(SHARED, shared=True))
    route = register(SHARED, flags=1, affinity=1)
    second = [register(0), route, (Call.EVENT_ENABLE, SHARED), (Call.EVENT_ENABLE, 0), (Call.PE_UNMASK,), (INJECT, SHARED, 1),
              (psci.CPU_OFF,)]  # fmt: skip
    guest.run([cpu_on(1), *[(Call.VERSION,)] * 200, (Call.EVENT_STATUS, SHARED)], second)
    assert [e.kind for e in guest.log(1)] == [CALLED] * 5 + [ENTERED]
    assert guest.results()[-1] == 3  # the handler that ran there is complete, the shared event still registered
    assert sdei.state.pes[1].masked
    assert not sdei.state.pes[1].contexts
    assert sdei.invariants() == []


def test_kvm_zeroes_registers(tmp_path: Path) -> None:
    """D-5: x4..x17 are the interrupted code's, unless the switch for KVM's deviation is on."""
    for zero, expected in ((False, 0xBBBB), (True, 0)):
        guest = ScriptGuest(tmp_path)
        guest.add_sdei(zero_registers=zero)
        log = guest.run([register(0), (Call.EVENT_ENABLE, 0), (Call.PE_UNMASK,), (INJECT, 0, 0, 0xAAAA, 0xBBBB)])
        assert log[-1].kind == ENTERED
        assert log[-1].x4 == expected


def test_describe(guest: ScriptGuest) -> None:
    assert isinstance(guest.machine.facilities["sdei"], Sdei)
    assert b"arm,sdei-1.0" in guest.machine.board.build_fdt("", None, 64 << 20)
