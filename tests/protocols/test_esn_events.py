# SPDX-License-Identifier: GPL-2.0-or-later
"""Subvention on real CPUs: interrupts, events in the ring, pages not worth keeping, time. V1 to V16 are those of docs/esn.md."""

from __future__ import annotations

import struct

import pytest

from vmemu.lab.esn_rig import (
    BRANCH_SELF,
    H_CEDE,
    H_CPPR,
    H_EOI,
    H_PAGE_INIT,
    H_REGISTER_VPA,
    H_VIO_SIGNAL,
    H_XIRR,
    KCODE,
    PAGE,
    REAL_MSR,
    SC1,
    SNS,
    Maker,
    fault_and_back,
)  # fmt: skip
from vmemu.protocols.esn_pseries.wire import UNIT


# ---------------------------------------------------------------------- interrupts
def test_one_interrupt_for_each_arm(make: Maker) -> None:
    """V8: none before it is armed, at most one for each time; none while H_VIO_SIGNAL has it off, or masked."""
    p = make()
    p.register_sns(arm=False)
    fault_and_back(p)
    assert p.pulses == 0
    p.arm()
    for _ in range(3):
        fault_and_back(p)
    assert p.pulses == 1
    p.arm()
    p.arm()  # flipped twice: as it was
    fault_and_back(p)
    assert p.pulses == 1
    assert p.hcall(0, H_VIO_SIGNAL, UNIT, 0)[0] == 0
    p.arm()
    fault_and_back(p)
    assert p.pulses == 1
    assert not p.esn.sns.armed  # it was due, and is spent
    assert p.hcall(0, H_VIO_SIGNAL, UNIT, 2)[0] == -4
    for reserved in (0x7F, 0xFF):  # reserved bits of byte 0 say nothing
        p.machine.write_guest(SNS, bytes([reserved & ~0x80 | p.word(SNS, 1) & 0x80]))
        fault_and_back(p)
    assert p.pulses == 1
    assert p.esn.events.summary()["masked"] == 1


def test_an_interrupt_through_xics(make: Maker) -> None:
    """V15: a ceded CPU wakes for it; accepted, ended, and after the end the next."""
    p = make(smp=2)
    p.register_sns()
    assert p.hcall(0, H_CPPR, 0xFF)[0] == 0
    p.expropriate(PAGE)
    p.expropriate(0x31000)
    p.touch(1, PAGE)
    p.touch(1, 0x31000)
    count = p.word(p.vpa(0) + 0x100, 4)
    vcpu = p.cpu(0)
    vcpu.online = True
    p.machine.write_guest(KCODE, struct.pack(">II", SC1, BRANCH_SELF))
    vcpu.set("msr", REAL_MSR)
    vcpu.set("pc", KCODE)
    vcpu.set("r3", H_CEDE)
    p.step(0)
    assert vcpu.halted
    assert p.word(p.vpa(0) + 0x100, 4) == count + 1  # V16: odd while it is not dispatched
    p.restore(PAGE)
    assert vcpu.runnable
    assert p.word(p.vpa(0) + 0x100, 4) == count + 2
    p.step(0)
    assert vcpu.get("pc") == 0x500
    assert p.hcall(0, H_XIRR)[1] == 0xFF001002
    p.arm()
    p.restore(0x31000)
    assert p.pulses == 2
    assert p.hcall(0, H_XIRR)[1] == 0x05000000
    assert p.hcall(0, H_EOI, 0xFF001002)[0] == 0
    assert p.hcall(0, H_XIRR)[1] == 0xFF001002
    assert p.hcall(0, H_EOI, 0x1003)[0] == -4


def test_a_source_that_signals_only_after_its_end(make: Maker) -> None:
    """LoPAR's pulse rule for virtual devices, as a switch: what is due before H_EOI is forgotten, and the arm is spent."""
    p = make(bugs=("esn-pulse-rule",))
    p.register_sns()
    p.hcall(0, H_CPPR, 0xFF)
    fault_and_back(p)
    assert p.hcall(0, H_XIRR)[1] == 0xFF001002
    p.arm()
    fault_and_back(p)
    assert p.pulses == 1
    assert not p.esn.sns.armed
    assert p.hcall(0, H_EOI, 0xFF001002)[0] == 0
    assert p.hcall(0, H_XIRR)[1] == 0xFF000000
    p.arm()
    fault_and_back(p)
    assert p.hcall(0, H_XIRR)[1] == 0xFF001002


def test_the_decrementer_works_while_pages_are_away(make: Maker) -> None:
    """V15."""
    p = make()
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.board.decrementer.write_dec(0, 1000)
    p.machine.write_guest(KCODE, struct.pack(">II", SC1, BRANCH_SELF))
    for name, value in (("msr", REAL_MSR), ("pc", KCODE), ("r3", H_CEDE)):
        p.cpu(0).set(name, value)
    p.step(0)
    assert p.cpu(0).halted
    p.step(0)
    assert p.cpu(0).get("pc") == 0x900
    assert p.away() == [PAGE]


@pytest.mark.parametrize(("action", "posted", "pulses"), [("drop", 1, 0), ("duplicate", 1, 2), ("delay=1us", 1, 1)])
def test_interrupts_that_go_wrong(make: Maker, action: str, posted: int, pulses: int) -> None:
    p = make(inject=(f"esn.irq:1:{action}",))
    p.register_sns()
    fault_and_back(p)
    p.machine.queue.run_due(p.machine.now() + 10_000_000)
    assert (len(p.ring()), p.pulses) == (posted, pulses)


@pytest.mark.parametrize(("action", "ring"), [("drop", []), ("duplicate", [1, 1])])
def test_posts_that_go_wrong(make: Maker, action: str, ring: list[int]) -> None:
    p = make(inject=(f"esn.post:1:{action}",))
    p.register_sns()
    fault_and_back(p)
    assert p.ring() == ring
    if action == "drop":
        assert p.esn.events.lost == {"injected": 1}
        assert "wake-up lost by injected" in str(p.esn.stalled())


# ------------------------------------------------------------------- events in the ring
def test_every_number_is_posted_once_and_not_before_its_page_is_there(make: Maker) -> None:
    """V1, V2, V5: in the order of completion, without gaps; a retry after the event does not fault."""
    p = make(smp=2)
    p.register_sns()
    pages = [0x100000 + 0x1000 * i for i in range(20)]
    for page in pages:
        p.expropriate(page)
    for i, page in enumerate(pages):
        assert p.touch(i % 2, page).expropriated
    assert p.ring() == []
    order = pages[::2] + pages[1::2][::-1]
    for i, page in enumerate(order):
        assert not p.resident(page)
        p.restore(page)
        assert p.resident(page)
        assert p.ring() == [pages.index(q) + 1 for q in order[: i + 1]]
        assert p.touch(0, page).vector is None


def test_a_page_that_goes_again_before_its_waiter_runs(make: Maker) -> None:
    """A new number: the old one has been posted."""
    p = make()
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.restore(PAGE)
    p.take(PAGE)
    assert p.retry(0).expropriated
    assert p.told(0) == (1, 2)
    p.restore(PAGE)
    assert p.ring() == [1, 2]


def test_deregistration_with_pages_away(make: Maker) -> None:
    """V1's exception: restores end, nothing is posted; a fault meanwhile waits; registered anew, it has a new number."""
    p = make(smp=2)
    p.register_sns()
    for page in (PAGE, 0x31000, 0x32000):
        p.expropriate(page)
        p.touch(0, page)
    assert p.hcall(0, 0x2F8, -1, 0)[0] == 0
    before = p.machine.read_guest(SNS, 0x1000)
    p.restore(PAGE)
    assert p.machine.read_guest(SNS, 0x1000) == before
    assert p.esn.ledger.count["cancelled"] == 3
    p.register_sns()
    assert p.touch(1, 0x32000).expropriated  # still under way: told anew
    assert p.told(1) == (1, 4)
    p.restore(0x32000)
    assert p.ring() == [4]
    p.hcall(0, 0x2F8, -1, 0)
    assert p.touch(1, 0x31000).vector is None  # waits for what is under way
    assert p.ring_at(SNS) == [4]
    assert not p.esn.works


def test_a_vpa_is_taken_back_with_pages_away(make: Maker) -> None:
    """The events belong to the partition, and come."""
    p = make()
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    assert p.hcall(0, H_REGISTER_VPA, 5 << 45, 0, 0)[0] == 0
    p.expropriate(0x31000)
    assert p.touch(0, PAGE).vector is None  # waits for what is under way
    assert p.ring() == [1]
    assert p.touch(0, 0x31000).vector is None
    assert p.esn.ledger.sync == {"no VPA": 2}


def test_a_cpu_that_stops_with_pages_away(make: Maker) -> None:
    p = make(smp=2)
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(1, PAGE)
    p.touch(0, PAGE)
    p.machine.set_online(1, False)
    p.restore(PAGE)
    assert p.ring() == [1]


def test_a_lost_page_ends_in_a_machine_check(make: Maker) -> None:
    """LoPAR: unrecoverable failures are machine checks. The waiter is woken, tries again, and is told."""
    p = make(store="fail:read@0x30,ram:")
    p.register_sns()
    p.machine.write_guest(PAGE, b"x")
    index = p.index(PAGE)
    p.machine.memory._make_room(None) if False else None
    slot = p.machine.memory._take_slot(index)
    p.machine.memory.store.put(slot, bytes(p.machine.core.frame_bytes(index)))  # type: ignore[union-attr]
    p.machine.core.evicted(None, index, slot)
    p.cpu(0).flush_tlb()
    assert p.touch(0, PAGE).expropriated
    p.restore(PAGE)
    assert p.ring() == [1]
    taken = p.retry(0)
    assert (taken.vector, taken.dar) == (0x200, PAGE)


# -------------------------------------------------------------- pages not worth keeping
@pytest.mark.parametrize("state", [0xC, 0xD, 0xE, 0xF])
def test_discarded_pages_come_back_as_zeros(make: Maker, state: int) -> None:
    """R1-3 and R1-4: flag 0, number 0, nothing under way, nothing posted (V4)."""
    p = make()
    p.register_sns()
    p.machine.write_guest(PAGE, b"\xff" * 4096)
    assert p.hcall(0, H_PAGE_INIT, state << 32, PAGE, 0)[0] == 0
    assert p.word(PAGE, 1) == 0xFF  # still there
    p.take(PAGE)
    taken = p.touch(0, PAGE + 3)
    assert taken.expropriated
    assert p.told(0) == (0, 0)
    assert not p.esn.works
    assert p.retry(0).vector is None
    assert p.cpu(0).get("r5") == 0
    assert p.machine.read_guest(PAGE, 4096) == bytes(4096)
    assert p.ring() == []
    p.expropriate(PAGE)
    p.hcall(0, H_PAGE_INIT, 0x8 << 32, PAGE, 0)  # active again
    assert p.touch(0, PAGE).expropriated
    assert p.told(0) == (1, 1)


def test_pages_that_are_latent_or_not_listened_for_are_kept(make: Maker) -> None:
    p = make()
    p.register_sns()
    p.machine.write_guest(PAGE, b"\x42")
    p.hcall(0, H_PAGE_INIT, 0xA << 32, PAGE, 0)
    p.take(PAGE)
    assert p.touch(0, PAGE).expropriated
    assert p.told(0) == (1, 1)
    p.restore(PAGE)
    p.hcall(0, H_PAGE_INIT, 0xC << 32, PAGE, 0)
    p.take(PAGE)
    p.hcall(0, 0x2F8, -1, 0)  # ESN off: it counts as active
    assert p.touch(0, PAGE).vector is None
    assert p.cpu(0).get("r5") == 0x42


def test_number_zero_for_pages_that_are_back(make: Maker) -> None:
    """LoPAR R1-4 allows it; a switch, since nobody needs to be told."""
    p = make(bugs=("esn-number-zero",), smp=2)
    p.machine.write_guest(SNS + 2, b"\1" * 254)  # an area that the guest has not cleared
    assert p.hcall(0, 0x2F8, SNS, 256)[0] == 0
    p.expropriate(PAGE, b"\x42")
    assert p.touch(0, PAGE).expropriated  # the ring is full: restored first, then told
    assert p.told(0) == (1, 0)
    assert p.retry(0).vector is None
    assert p.cpu(0).get("r5") == 0x42
    assert not p.esn.works


# --------------------------------------------------------------------------- time
def test_waiting_is_counted(make: Maker) -> None:
    """V16: time is run or waited; the VPA counts the waits in ticks of the time base."""
    p = make(latency="nvme")
    vcpu = p.cpu(0)
    before = vcpu.cycles, vcpu.blocked_cycles, vcpu.idle_cycles
    p.expropriate(PAGE)
    assert p.touch(0, PAGE).vector is None
    blocked = vcpu.blocked_cycles - before[1]
    assert blocked >= 85_000 * 2 * 64  # nvme: 85 us at 2 GHz
    assert vcpu.cycles - before[0] - blocked < 10_000 * 64
    assert vcpu.idle_cycles == before[2]
    assert p.word(p.vpa(0) + 0x108, 8) == 1
    assert p.word(p.vpa(0) + 0x110, 8) == p.board.ticks(blocked)
    p.register_sns()
    p.expropriate(PAGE)
    blocked = vcpu.blocked_cycles
    assert p.touch(0, PAGE).expropriated
    assert vcpu.blocked_cycles == blocked  # told, not blocked
    assert p.word(p.vpa(0) + 0x108, 8) == 1
