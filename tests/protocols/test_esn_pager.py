# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation and subvention on real CPUs, byte for byte. V1 to V16 are the invariants that docs/esn.md lists."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.partition import (
    BRANCH_SELF,
    CODE,
    DCBZ,
    H_CEDE,
    H_CPPR,
    H_EOI,
    H_PAGE_INIT,
    H_PROD,
    H_REGISTER_VPA,
    H_VIO_SIGNAL,
    H_XIRR,
    KCODE,
    KERNEL_MSR,
    LBZ,
    LD,
    LDARX,
    LMW,
    LWZU,
    REAL_MSR,
    SC1,
    SNS,
    STB,
    USER_MSR,
    Partition,
)  # fmt: skip

from vmemu.core import lib
from vmemu.errors import ConfigError
from vmemu.machine import snapshot
from vmemu.machine.result import STALLED
from vmemu.protocols.esn_pseries.wire import SOURCE, UNIT

PAGE = 0x30000
Maker = Callable[..., Partition]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Maker]:
    made = []

    def maker(*args: Any, **options: Any) -> Partition:
        made.append(Partition(tmp_path, *args, **options))
        return made[-1]

    yield maker
    for partition in made:
        assert not partition.esn.invariants()
        partition.machine.close()


# ------------------------------------------------------------- golden: registration
def test_registration_answers(make: Maker) -> None:
    p = make()
    assert p.word(p.vpa(0) + 0x100, 4) % 2 == 0  # running: the dispatch count is even
    assert p.hcall(0, 0x2F8, 0x5000, 0xFF)[0] == -55
    assert p.hcall(0, 0x2F8, 0x5000, 0x1002)[0] == -55
    assert p.hcall(0, 0x2F8, 0x5010, 0x1000)[0] == -4
    assert p.hcall(0, 0x2F8, -1, 77) == (0, UNIT, SOURCE)  # none registered, length ignored
    assert p.hcall(0, 0x2F8, 0x5000, 0x1000) == (0, 0x71000002, 0x1002)
    assert p.esn.sns.area is not None
    assert p.esn.sns.area.entries == 2047
    assert p.hcall(0, 0x2F8, 0x6000, 0x1000)[0] == 1  # busy
    assert p.hcall(0, 0x41C, 0x6000, 0x1000)[0] == -2
    assert p.hcall(0, 0x2F8, -1, 0)[0] == 0
    assert p.hcall(0, 0x2F8, -1, 0)[0] == 0
    assert p.hcall(0, 0x2F8, 0x3FF000, 0x1000)[0] == 0  # the last page
    p = make("rfc")
    assert p.hcall(0, 0x41C, 0x5000, 0x1000) == (0, 0x5000, 0x1002)  # r4 as it was
    assert p.hcall(0, 0x2F8, 0x5000, 0x1000)[0] == -2
    assert p.hcall(0, H_VIO_SIGNAL, UNIT, 0)[0] == -4  # no such unit there


def test_no_call_ever_answers_too_hard(make: Maker) -> None:
    """V13: 9999 is KVM's own, and must never reach a guest."""
    p = make()
    for args in ((0x5000, 0x1000), (0x5000, 0x1000), (-1, 0), (0x5001, 0), (1 << 63, 256), (0x3FF000, 0x1001)):
        assert p.hcall(0, 0x2F8, *args)[0] in (0, 1, -4, -55)


def test_cmo_comes_first(make: Maker) -> None:
    p = make()
    p.board.cas.reset()
    assert p.hcall(0, 0x2F8, SNS, 0x1000)[0] == -2
    assert p.hcall(0, 0x2F8, -1, 0)[0] == -2
    off = make(cmo="off")
    assert "hcall-cmo" not in off.board.hypertas
    assert "hcall-esn" in off.board.hypertas
    rfc = make("rfc")
    rfc.board.cas.reset()
    assert rfc.hcall(0, 0x41C, SNS, 0x1000)[0] == 0
    assert "hcall-esn" not in rfc.board.hypertas


def test_options_belong_to_ppc64(tmp_path: Path) -> None:
    from vmemu.machine.machine import Machine

    for options in ({"apf": "papr"}, {"apf": "rfc"}, {"cmo": "off"}):
        with pytest.raises(ConfigError, match="not for x86_64"):
            Machine.boot("hello", isa="x86_64", **options)


# -------------------------------------------------------------------- golden: faults
def test_golden_load(make: Maker) -> None:
    """User load at 0x10000 of EA 0x30008, number 0x0102 (V12)."""
    p = make()
    p.register_sns()
    p.esn.numbers.next = 0x0102
    p.expropriate(PAGE, b"01234567\xab")
    taken = p.touch(0, 0x30008)
    assert (taken.vector, taken.srr0, taken.srr1) == (0x300, 0x10000, 0x8000_0000_0002_F032)
    assert (taken.dar, taken.dsisr) == (0x30008, 0x40000000)
    assert p.machine.read_guest(p.vpa(0) + 0x17D, 3) == b"\x01\x01\x02"
    assert p.word(p.vpa(0) + 0x118, 8) == 0
    assert p.cpu(0).get("r5") == 0x55
    p.restore(PAGE)
    assert p.machine.read_guest(0x5000, 6) == b"\x80\x00\x01\x02\x00\x00"
    assert p.pulses == 1
    assert p.retry(0).vector is None
    assert p.cpu(0).get("r5") == 0xAB
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.restore(PAGE)
    assert p.ring() == [0x0102, 0x0103]
    assert p.pulses == 1  # not armed: no interrupt until byte 0 becomes 0x00
    p.machine.write_guest(SNS, b"\0")
    p.expropriate(PAGE)
    p.touch(0, PAGE)
    p.restore(PAGE)
    assert (p.ring(), p.pulses) == ([0x0102, 0x0103, 0x0104], 2)


@pytest.mark.parametrize("msr", [USER_MSR, KERNEL_MSR, KERNEL_MSR | 0x8000, REAL_MSR])
@pytest.mark.parametrize("access", ["load", "store", "fetch"])
def test_every_access_in_every_state(make: Maker, access: str, msr: int) -> None:
    """V12: the image describes the access. Neither MSR[PR] nor MSR[EE] is asked (LoPAR R1-7, R1-8)."""
    p = make()
    p.register_sns()
    p.cpu(0).set("dar", 0x1234)
    if access == "fetch":
        p.machine.write_guest(PAGE, struct.pack(">I", 0x60000000))
        p.take(PAGE)
        taken = p.touch(0, 0x31000, msr=msr, pc=PAGE)
        assert (taken.vector, taken.srr0, taken.dar) == (0x400, PAGE, 0x1234)
        assert taken.srr1 == msr & ~0x783F0000 | 0x40020000
    else:
        p.expropriate(PAGE)
        taken = p.touch(0, PAGE + 5, LBZ if access == "load" else STB, msr=msr)
        assert (taken.vector, taken.srr0, taken.srr1) == (0x300, CODE, msr & ~0x783F0000 | 0x20000)
        assert (taken.dar, taken.dsisr) == (PAGE + 5, 0x40000000 if access == "load" else 0x42000000)
    assert p.told(0) == (1, 1)


@pytest.mark.parametrize(
    ("insn", "address", "size"),
    [(LWZU, PAGE + 0x10, 4), (LD, PAGE - 4, 8), (LMW, PAGE - 8, 16), (LDARX, PAGE + 8, 8), (DCBZ, PAGE + 0x80, 128)],
)
def test_an_instruction_that_faults_leaves_no_trace(make: Maker, insn: int, address: int, size: int) -> None:
    """V12: no partial effect, also where only the second page is away; then it completes."""
    p = make()
    p.register_sns()
    p.machine.write_guest(PAGE - 0x1000, bytes(range(256)) * 16)
    p.expropriate(PAGE, bytes(range(256)))
    before = {f"r{i}": p.cpu(0).get(f"r{i}") for i in range(32)} | {"r5": 0x55, "r6": address} | {f"r{i}": 0x77 for i in range(28, 32)}
    data = p.machine.memory.peek(p.index(PAGE))
    taken = p.touch(0, address, insn)
    assert taken.expropriated
    assert PAGE <= taken.dar < PAGE + 0x1000
    assert {name: p.cpu(0).get(name) for name in before} == before
    assert p.machine.memory.peek(p.index(PAGE)) == data
    p.restore(PAGE)
    assert p.retry(0).vector is None
    if insn == LWZU:
        assert p.cpu(0).get("r6") == address + 8


def test_an_access_across_two_absent_pages(make: Maker) -> None:
    p = make()
    p.register_sns()
    for page in (PAGE, PAGE + 0x1000):
        p.expropriate(page)
    seen = set()
    taken = p.touch(0, PAGE + 0xFFC, LD)
    for _ in range(2):
        assert taken.expropriated
        seen.add(taken.dar & ~0xFFF)
        p.restore(taken.dar)
        taken = p.retry(0)
    assert taken.vector is None
    assert seen == {PAGE, PAGE + 0x1000}
    assert p.ring() == [1, 2]


def test_an_absent_page_table_page(make: Maker) -> None:
    """Notified like any other page: the number is the table's."""
    p = make()
    p.register_sns()
    p.cpu(0).flush_tlb()
    p.take(0x42000)
    taken = p.touch(0, PAGE)
    assert taken.expropriated
    assert p.away() == [0x42000]
    p.restore(0x42000)
    assert p.ring() == [p.told(0)[1]]
    assert p.retry(0).vector is None


def test_code_that_runs_into_an_absent_page(make: Maker) -> None:
    """One block over two pages: the interrupt names the first instruction that is away, and what went before has run."""
    p = make()
    p.register_sns()
    addi = 0x38C60001  # addi r6, r6, 1
    p.machine.write_guest(PAGE + 0xFF8, struct.pack(">4I", addi, addi, addi, BRANCH_SELF))
    p.take(PAGE + 0x1000)
    vcpu = p.cpu(0)
    for name, value in (("r6", 0), ("msr", USER_MSR), ("pc", PAGE + 0xFF8)):
        vcpu.set(name, value)
    for _ in range(3):
        p.step(0)
    assert (vcpu.get("pc"), vcpu.get("srr0"), vcpu.get("r6")) == (0x400, PAGE + 0x1000, 2)
    p.restore(PAGE + 0x1000)
    assert p.retry(0).vector is None
    assert vcpu.get("r6") == 3


def test_the_rfcs_image(make: Maker) -> None:
    """Defects A4, A9, A11, A12 bit for bit."""
    p = make("rfc")
    p.register_sns()
    p.cpu(0).set("dar", 0xBAD0)
    p.expropriate(PAGE)
    assert p.touch(0, PAGE, STB, msr=KERNEL_MSR).vector is None  # the kernel waits
    assert p.esn.ledger.sync == {"kernel": 1}
    p.expropriate(PAGE)
    taken = p.touch(0, PAGE + 1, STB)
    assert (taken.vector, taken.dar, taken.dsisr, taken.srr1) == (0x300, 0xBAD0, 0x40000000, 0x8000_0000_0002_F032)
    assert p.machine.read_guest(p.vpa(0) + 0x118, 2) == b"\x00\x01"
    assert p.machine.read_guest(p.vpa(0) + 0x17D, 3) == bytes(3)
    p.machine.write_guest(0x31000, struct.pack(">I", 0x60000000))
    p.take(0x31000)
    taken = p.touch(0, 0, pc=0x31000)
    assert (taken.vector, taken.srr0, taken.srr1 & 0x783F0000) == (0x300, 0x31000, 0x20000)


# --------------------------------------------------------------- who is told, and what
def test_one_number_for_one_page(make: Maker) -> None:
    """V3: every CPU that touches a page is told the same number, and one event says that it is back (R1-6)."""
    p = make(smp=4)
    p.register_sns()
    p.expropriate(PAGE)
    p.expropriate(0x31000)
    for cpu in range(4):
        assert p.touch(cpu, PAGE + cpu).dar == PAGE + cpu
        assert p.told(cpu) == (1, 1)
    assert p.touch(3, 0x31000).expropriated
    assert p.told(3) == (1, 2)
    assert p.touch(3, PAGE).expropriated
    assert p.told(3) == (1, 1)
    assert p.told(2) == (1, 1)  # V11: only the CPU that is notified sees its fields change
    p.restore(PAGE)
    assert p.ring() == [1]
    for cpu in range(4):
        assert p.touch(cpu, PAGE).vector is None
    p.restore(0x31000)
    assert p.ring() == [1, 2]
    assert p.esn.ledger.count["notified"] == p.esn.ledger.count["ready"] == 2


def test_fields_change_with_a_notification_and_with_nothing_else(make: Maker) -> None:
    """V11."""
    p = make(smp=2)
    p.register_sns()
    for page in (PAGE, 0x31000, 0x32000):
        p.expropriate(page)
    p.touch(0, PAGE)
    for action in (
        lambda: p.touch(1, 0x31000), lambda: p.restore(PAGE), lambda: p.retry(0), lambda: p.hcall(0, H_PROD, 1),
        lambda: p.hcall(0, H_VIO_SIGNAL, UNIT, 0), lambda: p.restore(0x31000),
    ):  # fmt: skip
        action()
        assert p.told(0) == (1, 1)
    p.machine.write_guest(p.vpa(0) + 0xB9, b"\0")
    assert p.touch(0, 0x32000).vector is None  # waits
    assert p.told(0) == (1, 1)


def test_nobody_is_told_who_does_not_listen(make: Maker) -> None:
    """V10: without the bit, a VPA, an area, or on a bolted page the access completes, and SRR1 bit 46 is never set."""
    p = make()
    p.expropriate(PAGE)
    assert p.touch(0, PAGE).vector is None  # no area
    p.register_sns()
    p.machine.write_guest(p.vpa(0) + 0xB9, b"\xfd")
    p.expropriate(PAGE)
    assert p.touch(0, PAGE).vector is None
    p.machine.write_guest(p.vpa(0) + 0xB9, b"\x02")
    for address in (SNS + 0x100, p.vpa(0) + 0x200):
        p.take(address)
        assert p.touch(0, address).vector is None
    p.expropriate(PAGE)
    p.hcall(0, H_REGISTER_VPA, 5 << 45, 0, 0)
    assert p.touch(0, PAGE).vector is None
    assert p.esn.ledger.sync == {"no SNS area": 1, "not enabled": 1, "bolted": 2, "no VPA": 1}
    assert not p.esn.works
    assert p.pulses == 0
    free = make(bolt="none")
    free.register_sns()
    free.take(SNS)
    assert free.touch(0, SNS + 0x100).expropriated


def test_a_vpa_that_is_away_and_one_that_is_lost(make: Maker) -> None:
    p = make(smp=2)
    p.register_sns()
    p.take(p.vpa(0))
    p.expropriate(PAGE)
    assert p.touch(0, PAGE).expropriated
    assert p.told(0) == (1, 1)
    p.machine.core.mark_bad(p.index(p.vpa(1)))
    p.expropriate(0x31000)
    assert p.touch(1, 0x31000).vector is None


def test_the_64th_page_of_a_cpu_waits(make: Maker) -> None:
    """The generic queue is full: synchronous, and the VPA is as it was (V11). The RFC names a number first (B48)."""
    for profile in ("papr", "rfc"):
        p = make(profile)
        p.register_sns()
        pages = [0x100000 + 0x1000 * i for i in range(65)]
        for page in pages:
            p.expropriate(page)
        for i, page in enumerate(pages[:64]):
            assert p.touch(0, page).expropriated
            assert p.told(0) == (1, i + 1)
        assert p.touch(0, pages[64]).vector is None
        assert p.esn.ledger.sync == {"queue full": 1}
        assert p.told(0) == (1, 64 if profile == "papr" else 65)
        assert p.ring() == list(range(1, 65))  # while it waited


def test_a_full_ring_makes_faults_wait(make: Maker) -> None:
    """V6: entries in use plus events under way never exceed the ring, and it does not overflow (R1-2)."""
    p = make(smp=3)
    p.register_sns(256)
    pages = [0x100000 + 0x1000 * i for i in range(130)]
    for page in pages:
        p.expropriate(page)
    for i, page in enumerate(pages[:127]):
        if i == 60:
            for done in pages[:60]:
                p.restore(done)
        assert p.touch(i % 3, page).expropriated
    for cpu in range(3):  # whoever it is waits; 60 in the ring and 67 under way, then all 127 in the ring
        assert p.touch(cpu, pages[127 + cpu]).vector is None
    assert p.esn.ledger.sync == {"ring full": 3}
    assert len(p.ring()) == 127
    assert p.word(SNS, 2) == 0x8000  # no overflow
    p.machine.write_guest(SNS + 2 + 2 * 7, b"\0\0")  # cleared out of order: one entry is free, and it is not the next one
    p.expropriate(PAGE)
    assert p.touch(0, PAGE).expropriated
    p.expropriate(0x31000)
    assert p.touch(1, 0x31000).vector is None
    assert p.word(SNS + 1, 1) == 0x80
    assert p.esn.events.lost == {"the guest's ring": 1}
    assert "overflow" in str(p.esn.lines())


def test_numbers_skip_what_is_under_way_or_in_the_ring(make: Maker) -> None:
    """V3, V4 near the end of the circle."""
    p = make()
    p.register_sns()
    p.esn.numbers.next = 0xFFFE
    pages = [0x100000 + 0x1000 * i for i in range(6)]
    for page in pages:
        p.expropriate(page)
    for i, number in enumerate((0xFFFE, 0xFFFF, 1)):
        assert p.touch(0, pages[i]).expropriated
        assert p.told(0)[1] == number
    p.restore(pages[1])  # 0xffff stays in the ring
    p.esn.numbers.next = 0xFFFE
    assert p.touch(0, pages[3]).expropriated
    assert p.told(0)[1] == 2
    p.machine.write_guest(SNS + 2, b"\0\0")
    p.esn.numbers.next = 0xFFFE
    assert p.touch(0, pages[4]).expropriated
    assert p.told(0)[1] == 0xFFFF


# ---------------------------------------------------------------------- interrupts
def interrupt_pending(p: Partition) -> bool:
    return p.board.xics.sources[SOURCE].pending


def fault_and_back(p: Partition, page: int = PAGE, cpu: int = 0) -> None:
    p.expropriate(page)
    assert p.touch(cpu, page).expropriated
    p.restore(page)


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
