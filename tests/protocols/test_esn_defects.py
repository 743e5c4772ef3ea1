# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known to go wrong between partition and platform, guests of the other profile, and saved states."""

from __future__ import annotations

import json
import struct

import pytest

from vmemu.core import lib
from vmemu.lab.esn_rig import (
    BRANCH_SELF,
    H_CEDE,
    H_PROD,
    H_VIO_SIGNAL,
    KCODE,
    PAGE,
    REAL_MSR,
    SC1,
    SNS,
    Maker,
    fault_and_back,
)  # fmt: skip
from vmemu.machine import snapshot
from vmemu.machine.result import STALLED
from vmemu.protocols.esn_pseries.wire import UNIT


# --------------------------------------------------------------------- what is known to go wrong
def test_the_rfc_loses_by_name(make: Maker) -> None:
    """A5, A6, A7: each loss has its cause."""
    p = make("rfc", smp=3)
    p.register_sns(256)
    p.machine.write_guest(SNS, b"\x80")
    fault_and_back(p)
    assert p.esn.events.lost == {"A7": 1}
    p.machine.write_guest(SNS, b"\x01")
    pages = [0x100000 + 0x1000 * i for i in range(128)]
    for page in pages:
        p.expropriate(page)
    for i, page in enumerate(pages):
        assert p.touch(i % 3, page).expropriated
    for page in pages:
        p.restore(page)
    assert p.esn.events.lost == {"A6": 1, "A7": 1}
    assert p.word(SNS + 1, 1) == 1
    text = str(p.esn.stalled())
    assert "A6" in text
    assert "A7" in text
    wrap = make("rfc")
    wrap.register_sns()
    wrap.esn.numbers.next = 0xFFFF
    for _ in range(3):
        fault_and_back(wrap)
    assert wrap.ring() == [0xFFFF]  # 0, then 1, which nobody will find
    assert wrap.esn.events.lost == {"A5": 2}
    assert wrap.pulses == 3


def test_the_rfc_gives_a_page_many_numbers(make: Maker) -> None:
    """B48."""
    p = make("rfc", smp=2)
    p.register_sns()
    p.expropriate(PAGE)
    for number, cpu in enumerate((0, 1, 0), 1):
        assert p.touch(cpu, PAGE).expropriated
        assert p.told(cpu)[1] == number
    p.restore(PAGE)
    assert p.ring() == [1, 2, 3]


def test_an_area_that_lives_on(make: Maker) -> None:
    """A13: after deregistration the ring is written all the same; OWN is violated."""
    p = make("rfc", bugs=("esn-deregister-live",))
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.hcall(0, 0x41C, -1, 0)
    p.restore(PAGE)
    assert p.ring() == [1]
    assert any("OWN" in text for text in p.esn.invariants())
    p.esn.ledger.problems.clear()


def test_an_interrupt_without_a_kick_waits(make: Maker) -> None:
    """B45: until the CPU that faulted leaves its guest by itself."""
    p = make("rfc", bugs=("esn-no-kick",))
    p.register_sns()
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.cpu(0).set("pc", KCODE + 4)
    p.restore(PAGE)
    assert (p.ring(), p.pulses) == ([1], 0)
    p.step(0)
    assert p.pulses == 0
    p.hcall(0, H_PROD, 0)
    assert p.pulses == 1


# ---------------------------------------------------------- a guest of the other profile
def test_an_rfc_guest_on_a_papr_host_is_diagnosed(make: Maker) -> None:
    """A3: armed by 0x01, whose trigger bit never moves: no interrupt ever."""
    p = make()
    assert p.hcall(0, 0x41C, SNS, 0x1000)[0] == -2
    assert "0x41c" in str(p.esn.lines())
    p = make(bugs=("esn-any-opcode",))
    assert p.hcall(0, 0x41C, SNS, 0x1000)[0] == 0
    p.hcall(0, H_VIO_SIGNAL, UNIT, 1)
    p.machine.write_guest(SNS, b"\x01")
    fault_and_back(p)
    for name, value in (("msr", REAL_MSR), ("pc", KCODE), ("r3", H_CEDE)):
        p.cpu(0).set(name, value)
    p.cpu(0).online = True
    result = p.machine.run()
    assert result.status == STALLED
    for text in ("vCPU 0", "no interrupt was ever due", "A2", "A3", "0x80"):
        assert text in result.reason


def test_a_papr_guest_on_an_rfc_host_is_diagnosed(make: Maker) -> None:
    """A7: armed by 0x80, which is not exactly 0x01: every event is dropped."""
    p = make("rfc", bugs=("esn-any-opcode",))
    assert p.hcall(0, 0x2F8, SNS, 0x1000)[0] == 0
    p.machine.write_guest(SNS, b"\x80")
    fault_and_back(p)
    p.machine.write_guest(KCODE, struct.pack(">II", SC1, BRANCH_SELF))
    for name, value in (("msr", REAL_MSR), ("pc", KCODE), ("r3", H_CEDE)):
        p.cpu(0).set(name, value)
    p.cpu(0).online = True
    result = p.machine.run()
    assert result.status == STALLED
    for text in ("vCPU 0", "A7", "token 0x1 of vCPU 0"):
        assert text in result.reason


# --------------------------------------------------------------------------- state
@pytest.mark.parametrize("profile", ["papr", "rfc"])
def test_snapshots_with_pages_away(make: Maker, profile: str) -> None:
    """Toggle, fill pointer, numbers, what is under way: all of it comes back, and the future is the same."""
    p = make(profile, smp=2)
    p.register_sns()
    pages = [0x100000 + 0x1000 * i for i in range(8)]
    for page in pages:
        p.expropriate(page)
    for page in pages[:4]:
        p.touch(0, page)
    p.restore(pages[2])
    saved = snapshot.take(p.machine)
    json.dumps(p.esn.save())

    def future() -> tuple[object, ...]:
        p.touch(1, pages[5])
        p.restore(pages[0])
        p.arm()
        p.restore(pages[5])
        p.restore(pages[1])
        return p.ring(), p.told(1), p.machine.read_guest(SNS, 2), json.dumps(p.esn.save(), sort_keys=True), p.esn.sns.armed

    first = future()
    snapshot.restore(p.machine, saved)
    assert future() == first
    assert lib.s2_index(p.machine.core.ptr, SNS) >= 0
