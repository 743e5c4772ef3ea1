# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that do not keep the rules of arm64's asynchronous page faults, and hosts in bad luck: the sheet's error, or progress."""

from __future__ import annotations

import pytest
from helpers.apf_arm64 import ACKNOWLEDGE, REGISTER, SERVICE, SETUP, TOLD, ApfGuest, content, disable, enable, page
from helpers.arm64 import HVC, Asm
from helpers.sdei import (
    ACK,
    BUFFERS,
    CALLED,
    CLEAR_BUFFER,
    ENTERED,
    EOI,
    GIC,
    HANDLER,
    INIT_GIC,
    IRQ,
    IRQ_OF_EL0,
    IRQ_WINDOW,
    LOADED,
    MODE,
    PEEKED,
    TASK_AGAIN,
    TRAPPED,
    WFI_LINE,
    Line,
    clear,
    cpu_on,
    peek,
    poke,
    task,
)

from vmemu.devices import psci
from vmemu.machine.boards.virt import UART
from vmemu.machine.result import OK, STALLED
from vmemu.protocols.sdei.calls import Call
from vmemu.protocols.sdei_arm64.abi import EVENT, WAKE_ALL, Reason, Sub

RAM_END = 0x40000000 + (64 << 20)
SEND_ALWAYS = 2
WAIT: list[Line] = [WFI_LINE, IRQ_WINDOW]
#: So long that a page-in under way ends, and nothing happens on the way.
LONG: list[Line] = [(Call.VERSION,)] * 150


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> ApfGuest:
    return ApfGuest(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> ApfGuest:
    return ApfGuest(tmp_path_factory.mktemp("pair"), smp=2)


def loads(guest: ApfGuest, cpu: int = 0) -> list[int]:
    return [e.x0 for e in guest.log(cpu) if e.kind == LOADED]


def fine(guest: ApfGuest) -> None:
    assert guest.pager.invariants() == []
    assert guest.pager.ledger.problems == []


# -------------------------------------------------------------------- ENABLE
@pytest.mark.parametrize(
    ("low", "high", "code"),
    [
        (0x30000000 | 1, 0, -1), (UART | 1, 0, -1), (RAM_END - 64 | 1, 0, 0), (RAM_END & 0xFFFFFFFF | 1, 0, -1), (BUFFERS | 1, 1, -1),
        (BUFFERS | 1, 0x80000000, -1), (0xFFFFFFFF, 0xFFFFFFFF, -1), (BUFFERS | 0xDEAD << 32 | 1, 0xBEEF << 32, 0),
        (BUFFERS | 0x3D, 0, 0), (BUFFERS, 0, -2), (0, 0, -2), (BUFFERS | 2, 0, -2),
    ],
)  # fmt: skip
def test_control_words(guest: ApfGuest, low: int, high: int, code: int) -> None:
    """Unbacked, device, last and beyond the last; dirty upper halves of a 32-bit call do not count; ignored bits are stored."""
    guest.run([(SERVICE, Sub.ENABLE, low, high)])
    assert guest.results() == [code]
    assert guest.state().control == (low & 0xFFFFFFFF if code == 0 else 0)
    fine(guest)


def test_enable_again_and_elsewhere(guest: ApfGuest) -> None:
    guest.run([*SETUP, enable(), (SERVICE, Sub.ENABLE, BUFFERS + 64 | 1, 0), enable(flags=3), disable(), disable(), (SERVICE, 6)])
    assert guest.results()[-6:] == [-2, -2, -2, 0, -2, -1]
    assert guest.state().control == BUFFERS


def test_enable_before_the_event_is_registered(guest: ApfGuest) -> None:
    guest.run([INIT_GIC, enable(), IRQ_WINDOW, task(page(0))])
    assert loads(guest) == [content(0)]
    assert guest.sync("event cannot be delivered") == 1
    fine(guest)


@pytest.mark.parametrize("line", [(Call.PE_MASK,), (Call.EVENT_DISABLE, EVENT), (Call.EVENT_UNREGISTER, EVENT), (Call.PRIVATE_RESET,)])
def test_not_deliverable_is_synchronous(guest: ApfGuest, line: Line) -> None:
    """I-4, and B51: nothing is left behind."""
    guest.run([*SETUP, line, task(page(0)), (Call.PE_UNMASK,), *REGISTER, task(page(1)), *TOLD, *WAIT, TASK_AGAIN])
    assert loads(guest) == [content(0), content(1)]
    assert guest.sync("event cannot be delivered") == 1
    assert guest.count("ready") == 1
    fine(guest)


# -------------------------------------------------------------------- buffer
def test_buffer_on_a_page_that_is_away(guest: ApfGuest) -> None:
    guest.run([INIT_GIC, *REGISTER, (SERVICE, Sub.ENABLE, page(3) + 64 | 1, 0), (MODE, ACK | EOI), IRQ_WINDOW])
    assert guest.machine.read_guest(page(3) + 64, 8) == bytes([2, 0, 0, 0, 255, 255, 255, 255])
    fine(guest)


def test_buffer_on_the_faulting_page(guest: ApfGuest) -> None:
    lines = [INIT_GIC, *REGISTER, (SERVICE, Sub.ENABLE, page(3) + 64 | 1, 0), (MODE, ACK | EOI), IRQ_WINDOW]
    guest.restart([*lines, poke(page(3) + 68, 0), poke(page(3) + 64, 0), task(page(3))])
    machine = guest.machine
    machine.run()
    assert loads(guest) == [content(3)]
    fine(guest)


@pytest.mark.parametrize("words", [[], [poke(BUFFERS, 0)], [poke(BUFFERS + 4, 0)], [poke(BUFFERS, 2)], [*clear(), poke(BUFFERS + 4, 99)]])
def test_a_buffer_that_is_not_given_back(guest: ApfGuest, words: list[Line]) -> None:
    """I-5: never cleared, half cleared, scribbled on: nothing more is written there, and faults are served synchronously."""
    lines = [*SETUP, task(page(0)), *words, (Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0), task(page(1)), task(page(2)), *LONG]
    guest.run([*lines, *clear(), *WAIT, TASK_AGAIN])
    assert loads(guest) == [content(1), content(2), content(0)]
    assert guest.sync("buffer in use") == 2
    ready = [e.x2 for e in guest.log() if e.kind == IRQ and e.x0 == 22 and e.x1 == Reason.PAGE_READY]
    assert ready == [WAKE_ALL, 1 << 12]  # once it was free
    fine(guest)


def test_guest_words_do_not_keep_it_awake(guest: ApfGuest) -> None:
    """B49, I-15: a buffer that is never given back, a completion that waits for it, and WFI: the vCPU sleeps, the run is a stall."""
    guest.run([*SETUP, task(page(0)), (Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0), *LONG, WFI_LINE])
    result = guest.machine.result
    assert result is not None and result.status == STALLED
    assert result.exits["halt"] < 5
    assert guest.pager.done[0]
    fine(guest)


def test_two_vcpus_with_one_buffer(pair: ApfGuest) -> None:
    """Their words get mixed up; the host's books do not (I-16)."""
    second = [INIT_GIC, *REGISTER, enable(0), (MODE, ACK | EOI), IRQ_WINDOW, task(page(1)), task(page(2)), *LONG]
    pair.run([cpu_on(1), *SETUP, task(page(0)), *TOLD, *WAIT, TASK_AGAIN, *LONG], second)
    fine(pair)
    assert pair.state(0).buffer == pair.state(1).buffer
    assert pair.log(1)


# --------------------------------------------------------------- acknowledge
def test_acknowledge_without_need(guest: ApfGuest) -> None:
    guest.run([ACKNOWLEDGE, *SETUP, ACKNOWLEDGE, ACKNOWLEDGE, task(page(0)), *TOLD, *WAIT, ACKNOWLEDGE, TASK_AGAIN])
    assert set(guest.results()) <= {0, content(0)}
    assert loads(guest) == [content(0)]
    fine(guest)


def test_acknowledge_before_clearing(guest: ApfGuest) -> None:
    """The next ready waits for the buffer, and comes when the guest has cleared it."""
    two = [task(page(0)), *TOLD, task(page(1)), *TOLD, *LONG]
    late = [*clear(), (Call.VERSION,), (MODE, CLEAR_BUFFER | ACK | EOI), IRQ_WINDOW]
    guest.run([*SETUP, *two, (MODE, ACK | EOI), IRQ_WINDOW, IRQ_WINDOW, *late])
    ready = [e.x2 for e in guest.log() if e.kind == IRQ and e.x1 == Reason.PAGE_READY]
    assert ready == [WAKE_ALL, 1 << 12, 2 << 12]
    fine(guest)


def test_never_acknowledged(guest: ApfGuest) -> None:
    """64 completions pile up; after that faults are synchronous (I-8)."""
    lines = [line for i in range(66) for line in (task(page(i)), *TOLD)]
    guest.run([*SETUP[:-1], (MODE, CLEAR_BUFFER), IRQ_WINDOW, IRQ_WINDOW, *lines, *LONG])
    assert sum(e.kind == IRQ and e.x0 == 22 for e in guest.log()) == 1
    assert guest.pager.queued[0] == 64
    assert len(guest.state().slots) == 64
    assert guest.sync("queue full") >= 1
    fine(guest)


def test_end_of_interrupt_without_acknowledge(guest: ApfGuest) -> None:
    """The line stays high: it fires again, for ever. The host is not impressed."""
    guest.restart([*SETUP[:-1], (MODE, CLEAR_BUFFER | EOI), IRQ_WINDOW])
    assert guest.machine.run_to(guest.machine.insns + 5000) is None
    fired = [e for e in guest.log() if e.kind == IRQ]
    assert len(fired) > 50
    assert {e[1:4] for e in fired[1:]} == {(22, 0, 0)}
    fine(guest)


def test_end_of_interrupt_and_acknowledge_apart(guest: ApfGuest) -> None:
    two = [task(page(0)), *TOLD, task(page(1)), *TOLD, *LONG, *LONG]
    guest.run([*SETUP, *two, (MODE, CLEAR_BUFFER | ACK), IRQ_WINDOW, IRQ_WINDOW])  # active until EOI: no second one
    assert sum(e.kind == IRQ and e.x0 == 22 for e in guest.log()) == 2
    fine(guest)


def test_interrupts_masked_for_long(guest: ApfGuest) -> None:
    lines = [line for i in range(8) for line in (task(page(i)), *TOLD)]
    guest.run([*SETUP, *lines, *LONG * 6, *[IRQ_WINDOW] * 9])
    assert [e.x2 >> 12 for e in guest.log() if e.kind == IRQ and e.x1 == Reason.PAGE_READY][1:] == list(range(1, 9))
    fine(guest)


# ------------------------------------------------------------------- handlers
def test_unregister_inside_the_handler(guest: ApfGuest) -> None:
    guest.run([*SETUP, task(page(0)), (Call.EVENT_UNREGISTER, EVENT), *TOLD, task(page(1)), IRQ_WINDOW, TASK_AGAIN])
    assert loads(guest) == [content(1), content(0)]
    assert -5 in guest.results()
    fine(guest)


def test_odd_entry(guest: ApfGuest) -> None:
    """The handler cannot be fetched: the guest's own abort, at its own vector."""
    lines = [INIT_GIC, (Call.EVENT_REGISTER, EVENT, HANDLER | 1, 0, 0, 0), *REGISTER[1:], enable(), IRQ_WINDOW]
    guest.run([*lines, task(page(0)), *TOLD, *WAIT, TASK_AGAIN])
    (trap,) = [e for e in guest.log() if e.kind == TRAPPED]
    assert (trap.x0 >> 26, trap.x1) == (0x22, HANDLER | 1)
    assert loads(guest) == [content(0)]
    fine(guest)


def test_faults_inside_the_handler(guest: ApfGuest) -> None:
    guest.run([*SETUP, task(page(0)), peek(page(1)), *TOLD, *WAIT, TASK_AGAIN])
    assert guest.sync("kernel mode") == 1
    guest.run([*SETUP[:-2], enable(flags=1 | SEND_ALWAYS), IRQ_WINDOW, task(page(0)), peek(page(1)), *TOLD, *WAIT, TASK_AGAIN])
    assert guest.sync("handler runs") == 1
    assert [e.x0 for e in guest.log() if e.kind == PEEKED] == [content(1)]
    assert loads(guest) == [content(0)]
    fine(guest)


def test_kernel_mode(guest: ApfGuest) -> None:
    """SEND_ALWAYS tells EL1 too; a handler that just completes lets the kernel fault again, and its vCPU wait."""
    guest.run([*SETUP, peek(page(0))])
    assert guest.sync("kernel mode") == 1
    done = [*clear(), (Call.EVENT_COMPLETE, 0)]
    guest.run([*SETUP[:-2], enable(flags=1 | SEND_ALWAYS), IRQ_WINDOW, peek(page(0)), *done, IRQ_WINDOW])
    assert [e.x0 for e in guest.log() if e.kind == PEEKED] == [content(0)]
    assert guest.count("repeated") == 1
    assert guest.count("ready") == 1
    fine(guest)


def handler_page(i: int) -> bytes:
    a = Asm(page(i))
    a.mov(0, int(Call.EVENT_COMPLETE))
    a.put(HVC)
    return a.code()


def test_handler_is_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its fetch is served synchronously: the handler runs, and with it no other event."""
    guest = ApfGuest(tmp_path_factory.mktemp("away"))
    guest.machine.write_guest(page(9), handler_page(9))
    guest.put_away(page(9))
    lines = [INIT_GIC, (Call.EVENT_REGISTER, EVENT, page(9), 0, 0, 0), *REGISTER[1:], enable(), IRQ_WINDOW]
    guest.run([*lines, task(page(0))])
    assert loads(guest) == [content(0)]  # that took as long as the page itself
    assert guest.sync("kernel mode") == 1
    assert guest.buffer() == (Reason.PAGE_NOT_PRESENT, 1 << 12)  # this handler gives nothing back: no ready
    assert guest.count("ready") == 0
    fine(guest)


# ---------------------------------------------------------------- what is told
def test_two_tasks_on_one_page(guest: ApfGuest) -> None:
    """D-6, B-2: the second one's vCPU waits; there is no second token."""
    guest.run([*SETUP, task(page(0)), *TOLD, task(page(0)), IRQ_WINDOW])
    assert loads(guest) == [content(0)]
    assert (guest.count("works"), guest.count("repeated"), guest.count("halted")) == (1, 1, 1)
    fine(guest)


def test_65_pages(guest: ApfGuest) -> None:
    """I-8: the 65th fault is served synchronously, the 64 others by token."""
    guest.restart([*SETUP, *(line for i in range(66) for line in (task(page(i)), *TOLD)), *WAIT * 70])
    guest.machine.core.set_timing(1 << 36, 64)  # nothing comes back before all have been asked for
    guest.machine.run()
    assert guest.sync("queue full") >= 1
    assert guest.count("notified") == guest.count("ready") >= 64
    fine(guest)


def test_a_load_across_two_pages(guest: ApfGuest) -> None:
    guest.run([*SETUP, task(page(1) - 4), *TOLD, *WAIT, TASK_AGAIN, *TOLD, *WAIT, TASK_AGAIN])
    assert loads(guest) == [content(1) << 32]
    assert guest.count("works") == 2
    fine(guest)


def test_ready_waits_between_delivery_and_clearing(guest: ApfGuest) -> None:
    guest.run([*SETUP, task(page(0)), *LONG, *TOLD, *WAIT, TASK_AGAIN])
    assert loads(guest) == [content(0)]
    assert guest.count("cancelled") == 0
    fine(guest)


# ------------------------------------------------------------- off, and resets
def test_off_with_works_in_flight_and_on_again(guest: ApfGuest) -> None:
    """D-9, I-1: what was told is never announced, and the wake-all comes instead."""
    guest.run([*SETUP, task(page(0)), *TOLD, disable(), enable(), IRQ_WINDOW, *LONG, IRQ_WINDOW, TASK_AGAIN, *TOLD, *WAIT, TASK_AGAIN])
    ready = [e.x2 for e in guest.log() if e.kind == IRQ and e.x1 == Reason.PAGE_READY]
    assert ready == [WAKE_ALL, WAKE_ALL, 2 << 12]
    assert guest.count("cancelled") == 1
    assert loads(guest) == [content(0)]
    fine(guest)


def test_off_between_ready_and_acknowledge(guest: ApfGuest) -> None:
    """B52: the line is low afterwards, and nothing is owed."""
    guest.run([*SETUP, task(page(0)), *TOLD, *LONG, disable(), IRQ_WINDOW, *clear(), enable(), IRQ_WINDOW])
    log = [e for e in guest.log() if e.kind == IRQ]
    assert [e.x2 for e in log] == [WAKE_ALL, 0, WAKE_ALL]  # the vector after the event (1023) is the one in between
    fine(guest)


def test_cpu_off_with_works_in_flight(pair: ApfGuest) -> None:
    off: Line = (psci.CPU_OFF,)
    second = [INIT_GIC, *REGISTER, enable(1), IRQ_WINDOW, task(page(1)), *clear(1), (Call.EVENT_COMPLETE_AND_RESUME, IRQ_OF_EL0), off]
    pair.run([cpu_on(1), *LONG, *LONG, *LONG], second)
    assert pair.log(1)[-1].kind in (IRQ, ENTERED)
    assert not pair.machine.vcpus[1].online
    assert pair.state(1).control == 0
    assert pair.pager.works == {}
    fine(pair)


def test_reset_with_works_in_flight(tmp_path_factory: pytest.TempPathFactory) -> None:
    guest = ApfGuest(tmp_path_factory.mktemp("reset"))
    guest.restart([*SETUP, task(page(0)), *TOLD, task(page(1)), *TOLD, (psci.SYSTEM_RESET,)])
    assert guest.machine.run().status == OK
    fine(guest)
    guest.machine.close()


# -------------------------------------------------------------- the host's luck
def test_a_worker_that_never_ends(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The others go on; the run ends when nobody else has anything to do."""
    folder = tmp_path_factory.mktemp("never")
    guest = ApfGuest(folder, inject=[f"apf.io:@{page(0) >> 12:#x}:delay=1000000000us"], max_cycles=10_000_000_000)
    guest.run([*SETUP, task(page(0)), *TOLD, task(page(1)), *TOLD, *WAIT, TASK_AGAIN])
    assert loads(guest) == [content(1)]
    assert list(guest.pager.ledger.away) == [1 << 12]
    fine(guest)


def test_a_page_that_is_lost(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Ready comes, and the task's next try is the architecture's memory error: an abort at EL0."""
    guest = ApfGuest(tmp_path_factory.mktemp("lost"), store=f"fail:read@{page(0) >> 12:#x},ram:")
    guest.run([*SETUP, task(page(0)), *TOLD, *WAIT, TASK_AGAIN])
    log = guest.log()
    assert sum(e.kind == IRQ and e.x1 == Reason.PAGE_READY for e in log) == 2
    assert guest.machine.vcpus[0].get("esr_el1") == 0x92000010
    assert guest.count("failed") == 1
    fine(guest)


def test_ids_wrap(guest: ApfGuest) -> None:
    """65535, then 1: zero is left out, and so is what is outstanding."""
    guest.restart([*SETUP, *(line for i in range(3) for line in (task(page(i)), *TOLD)), *WAIT * 3])
    machine, state = guest.machine, guest.state()
    state.id = 0xFFFF
    guest.pager.ledger.away[1 << 12] = [0, 0, 0]  # an old sleeper's
    machine.run()
    ready = [e.x2 for e in guest.log() if e.kind == IRQ and e.x1 == Reason.PAGE_READY]
    assert ready == [WAKE_ALL, 0xFFFF << 12, 2 << 12, 3 << 12]
    assert guest.state().id == 4


def test_many_things_at_once(guest: ApfGuest) -> None:
    """Everything that a guest can do wrong in a row, without an interrupt controller: no harm to the host."""
    lines: list[Line] = [
        enable(), ACKNOWLEDGE, task(page(0)), *clear(), *REGISTER, task(page(1)), ACKNOWLEDGE, disable(), enable(), task(page(2)),
        (Call.PRIVATE_RESET,), (Call.EVENT_COMPLETE, 0), (GIC,), IRQ_WINDOW, TASK_AGAIN, *clear(), disable(), (CALLED, 0),
    ]  # fmt: skip
    guest.run(lines)
    assert guest.pager.invariants() == []
