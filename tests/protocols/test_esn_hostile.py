# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests of any manners against the platform: areas anywhere, junk in rings, flips, registrations taken back amid page-ins, handlers
that fault. Whatever they do, the platform keeps its own books, tells nobody what is not so, and goes on.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vmemu.lab.esn_rig import (
    BRANCH_SELF,
    CODE,
    H_PAGE_INIT,
    H_PROD,
    H_REGISTER_VPA,
    H_VIO_SIGNAL,
    KERNEL_MSR,
    LBZ,
    LD,
    REAL_MSR,
    SNS,
    STB,
    USER_MSR,
    Partition,
)  # fmt: skip
from vmemu.machine.result import FAILED
from vmemu.protocols.esn_pseries.sns import Post
from vmemu.protocols.esn_pseries.wire import UNIT

CPUS = 3
PAGES = [0x100000 + 0x1000 * i for i in range(8)]
ADDRESSES = [SNS, 0x6000, 0x20000, 0x21000, 0x3FF000, 0x400000, SNS + 1, SNS + 0x80, 0, 1 << 63, (1 << 64) - 4096, PAGES[0]]
LENGTHS = [0, 1, 2, 254, 255, 256, 257, 4094, 4095, 4096, 4098, 0x10000, 0x10002, 1 << 63, (1 << 64) - 1]

cpus = st.integers(0, CPUS - 1)
pages = st.sampled_from(PAGES)


class HostileMachine(RuleBasedStateMachine):
    """V1, V2, V4, V5, V7, V8, V13 all along; `profile` is a subclass's."""

    profile = "papr"

    @initialize(number=st.sampled_from([1, 0xFFF8, 0xFFFF]))
    def boot(self, number: int) -> None:
        self.p = Partition.begun(self.profile, smp=CPUS, bugs=("esn-replace-area",) if number == 1 else ())
        esn = self.p.esn
        esn.numbers.next = number
        self.posts = 0
        post = esn.sns.post

        def watched(number: int) -> Post:
            area = esn.sns.area
            assert area is not None
            page = self.backed.pop(0) if self.backed else None
            assert page is None or self.p.resident(page)  # V2
            if self.profile == "papr":
                assert number != 0  # V4
            before = self.p.machine.read_guest(area.base, 2 + 2 * area.entries)
            outcome = post(number)
            after = self.p.machine.read_guest(area.base, 2 + 2 * area.entries)
            changed = [i for i in range(len(before)) if before[i] != after[i]]
            if changed and changed[0] >= 2:
                entry = changed[0] // 2 * 2
                assert before[entry : entry + 2] == b"\0\0"  # V5
                assert set(changed) <= {entry, entry + 1}
            self.posts += not outcome.lost
            return outcome

        esn.sns.post = watched  # type: ignore[method-assign]
        self.backed: list[int] = []
        for page in PAGES:
            self.p.expropriate(page)
        self.p.register_sns(256)

    def teardown(self) -> None:
        if not hasattr(self, "p"):
            return
        p = self.p
        for page in p.away():
            p.restore(page)
        assert not p.esn.works
        assert not p.esn.numbers.number_of  # V1: nothing is owed to anybody
        assert not p.esn.ledger.away or p.esn.events.lost
        assert not p.esn.ledger.problems
        p.machine.close()

    # ---------------------------------------------------------------- the area
    @rule(address=st.sampled_from(ADDRESSES), length=st.sampled_from(LENGTHS))
    def register(self, address: int, length: int) -> None:
        before = self.p.esn.sns.save()
        status = self.p.hcall(0, self.p.esn.rules.token, address, length)[0]
        assert status in (0, 1, -4, -55)
        assert status == 0 or self.p.esn.sns.save() == before  # V13

    @rule()
    def register_properly(self) -> None:
        if self.p.hcall(0, self.p.esn.rules.token, SNS, 256)[0] == 0:
            self.p.hcall(0, H_VIO_SIGNAL, UNIT, 1)

    @rule()
    def deregister(self) -> None:
        assert self.p.hcall(1, self.p.esn.rules.token, -1, 0)[0] == 0

    @rule(bits=st.sampled_from([0x80, 0x01, 0x7F, 0xFF]))
    def flip(self, bits: int) -> None:
        at = SNS if self.p.esn.sns.area is None else self.p.esn.sns.area.base
        self.p.machine.write_guest(at, bytes([self.p.word(at, 1) ^ bits]))

    @rule(at=st.integers(0, 300), junk=st.binary(min_size=1, max_size=6))
    def scribble(self, at: int, junk: bytes) -> None:
        base = SNS if self.p.esn.sns.area is None else self.p.esn.sns.area.base
        self.p.machine.write_guest(base + at, junk)

    @rule()
    def clear(self) -> None:
        area = self.p.esn.sns.area
        if area is not None:
            self.p.machine.write_guest(area.base + 1, bytes(min(area.size, 4096) - 1))

    # -------------------------------------------------------------- VPAs and calls
    @rule(cpu=cpus, flags=st.sampled_from([0, 1, 2, 0xFF]))
    def listen(self, cpu: int, flags: int) -> None:
        self.p.machine.write_guest(self.p.vpa(cpu) + 0xB9, bytes([flags]))

    @rule(cpu=cpus, sub=st.sampled_from([1, 1, 5]), address=st.sampled_from([0x20000, 0x21000, SNS, 0x20080]))
    def vpa(self, cpu: int, sub: int, address: int) -> None:
        self.p.machine.write_guest(address + 4, b"\x02\x80")
        assert self.p.hcall(cpu, H_REGISTER_VPA, sub << 45, cpu, address)[0] in (0, -4)

    @rule(unit=st.sampled_from([UNIT, UNIT + 1]), mode=st.integers(0, 2))
    def vio(self, unit: int, mode: int) -> None:
        assert self.p.hcall(0, H_VIO_SIGNAL, unit, mode)[0] in (0, -4)

    @rule(page=pages, state=st.integers(8, 15))
    def usage(self, page: int, state: int) -> None:
        assert self.p.hcall(0, H_PAGE_INIT, state << 32, page, 0)[0] == 0

    @rule(cpu=cpus)
    def stop(self, cpu: int) -> None:
        self.p.machine.set_online(cpu, False)

    # -------------------------------------------------------------------- pages
    @rule()
    def expropriate_all(self) -> None:
        for page in PAGES:
            self.expropriate(page)

    @rule(page=pages)
    def expropriate(self, page: int) -> None:
        if self.p.resident(page):
            self.p.expropriate(page)

    @rule(page=st.sampled_from([SNS, 0x20000, 0x21000]))
    def expropriate_a_structure(self, page: int) -> None:
        if self.p.resident(page):
            self.p.take(page)

    @rule(cpu=cpus, wanted=st.lists(pages, min_size=2, max_size=6, unique=True))
    def touch_many(self, cpu: int, wanted: list[int]) -> None:
        for page in wanted:
            if not self.p.resident(page):
                self.touch(cpu, page, LBZ, USER_MSR)

    @rule(cpu=cpus, page=pages, insn=st.sampled_from([LBZ, STB, LD]), msr=st.sampled_from([USER_MSR, KERNEL_MSR, REAL_MSR]))
    def touch(self, cpu: int, page: int, insn: int, msr: int) -> None:
        listening = self.p.esn.sns.area is not None
        self.backed.clear()
        taken = self.p.touch(cpu, page + (4092 if insn == LD else 8), insn, msr=msr)
        assert taken.vector in (None, 0x300)
        if taken.expropriated:
            assert listening
            assert self.p.board.vpa.peek(cpu, 0xB9, 1)[0] & 2  # V10
            assert not msr & ~USER_MSR or self.profile == "papr" or msr == USER_MSR
        else:
            assert taken.vector is None

    @rule(which=st.integers(0, 7))
    def restore(self, which: int) -> None:
        away = self.p.away()
        if away:
            page = away[which % len(away)]
            self.backed = [page]
            self.p.restore(page)
            assert self.p.resident(page)

    @rule(cpu=cpus)
    def prod(self, cpu: int) -> None:
        assert self.p.hcall(0, H_PROD, cpu)[0] == 0

    @rule()
    def save_and_load(self) -> None:
        state = self.p.esn.save()
        self.p.esn.load(state)
        assert self.p.esn.save() == state

    @invariant()
    def books_are_kept(self) -> None:
        if hasattr(self, "p"):
            assert not [text for text in self.p.esn.invariants() if "overflowed" not in text]
            assert self.p.pulses <= self.posts  # V8
            if self.profile == "papr":
                told = {w.token for w in self.p.esn.works.values() if w.injected and not w.done}
                assert told == set(self.p.esn.numbers.page_of)  # V1


class HostileRfcMachine(HostileMachine):
    profile = "rfc"


TestHostile = HostileMachine.TestCase
TestHostileRfc = HostileRfcMachine.TestCase
TestHostile.settings = settings(max_examples=20, stateful_step_count=50, deadline=None)
TestHostileRfc.settings = settings(max_examples=10, stateful_step_count=50, deadline=None)


@given(st.lists(st.tuples(st.sampled_from(PAGES), st.integers(0, CPUS - 1)), min_size=1, max_size=30), st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_completions_in_any_order(touches: list[tuple[int, int]], rng: object) -> None:
    """V1, V3: whatever is told comes back once, in the order in which pages do."""
    p = Partition.begun(smp=CPUS)
    p.register_sns()
    for page in PAGES:
        p.expropriate(page)
    numbers: dict[int, int] = {}
    for page, cpu in touches:
        assert p.touch(cpu, page).expropriated
        assert numbers.setdefault(page, p.told(cpu)[1]) == p.told(cpu)[1]
    order = p.away()
    assert set(order) == {page for page, _ in touches}
    rng.shuffle(order)  # type: ignore[attr-defined]
    for page in order:
        p.restore(page)
    assert p.ring() == [numbers[page] for page in order]
    assert p.pulses == 1
    p.machine.close()


@pytest.mark.parametrize("profile", ["papr", "rfc"])
def test_a_fault_in_the_handlers_own_stack(profile: str) -> None:
    """The handler's first instruction faults: PAPR tells it of that too, and the guest dies of it; the RFC has the kernel wait."""
    p = Partition.begun(profile)
    p.register_sns()
    stack, page = 0x32000, 0x30000
    p.machine.write_guest(0x300, struct.pack(">II", 0xE9210000, BRANCH_SELF))  # ld r9, 0(r1)
    p.cpu(0).set("r1", stack)
    p.expropriate(page)
    p.expropriate(stack, b"\0\0\0\0\0\0\0\x2a")
    p.cpu(0).online = True
    p.machine.write_guest(CODE, struct.pack(">I", LBZ))
    for name, value in (("r6", page), ("msr", USER_MSR), ("pc", CODE)):
        p.cpu(0).set(name, value)
    if profile == "rfc":
        p.step(0)
        assert p.cpu(0).get("r9") == 0x2A
        assert p.esn.ledger.sync == {"kernel": 1}
    else:
        result = p.machine.run()
        assert result.status == FAILED
        assert "repeats" in result.reason
        assert p.cpu(0).get("srr0") == 0x300
        assert p.told(0) == (1, 2)
    assert not p.esn.invariants()
    p.machine.close()


def test_a_kernel_that_is_not_bolted() -> None:
    """The vector's own page is away: an ISI whose handler is away too. The guest's choice (--bolt none), and its end."""
    p = Partition.begun(bolt="none")
    p.register_sns()
    p.expropriate(0x30000)
    p.machine.write_guest(0, struct.pack(">I", BRANCH_SELF) * 0x400)
    p.take(0)
    p.cpu(0).online = True
    p.machine.write_guest(CODE, struct.pack(">I", LBZ))
    for name, value in (("r6", 0x30000), ("msr", USER_MSR), ("pc", CODE)):
        p.cpu(0).set(name, value)
    result = p.machine.run()
    assert result.status == FAILED
    assert "repeats" in result.reason
    p.machine.close()
