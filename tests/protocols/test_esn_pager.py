# SPDX-License-Identifier: GPL-2.0-or-later
"""Expropriation on real CPUs, byte for byte: registration, interrupt images, who is told and what. V1 to V16 are those of docs/esn.md."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from vmemu.errors import ConfigError
from vmemu.lab.esn_rig import (
    BRANCH_SELF,
    CODE,
    DCBZ,
    H_PROD,
    H_REGISTER_VPA,
    H_VIO_SIGNAL,
    KERNEL_MSR,
    LBZ,
    LD,
    LDARX,
    LMW,
    LWZU,
    PAGE,
    REAL_MSR,
    SNS,
    STB,
    USER_MSR,
    Maker,
)  # fmt: skip
from vmemu.protocols.esn_pseries.wire import SOURCE, UNIT


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
