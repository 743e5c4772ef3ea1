# SPDX-License-Identifier: GPL-2.0-or-later
"""The SNS area and correlation numbers against a model written from LoPAR's text alone. V3 to V9: invariants of the option."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vmemu.devices.papr import H_BUSY, H_P2, H_PARAMETER, Refused
from vmemu.protocols.esn_pseries.numbers import Numbers
from vmemu.protocols.esn_pseries.sns import Post, Sns
from vmemu.protocols.esn_pseries.wire import DSI, ISI, PAPR, RFC, Defect, Profile, interrupt

SIZE = 0x8000
BASE = 0x5000


class Ram:
    """32 KiB of a partition's memory."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)

    def is_ram(self, at: int, size: int) -> bool:
        return at >= 0 and at + size <= SIZE

    def read(self, at: int, size: int) -> bytes:
        assert self.is_ram(at, size)
        return bytes(self.data[at : at + size])

    def write(self, at: int, data: bytes) -> None:
        assert self.is_ram(at, len(data))
        self.data[at : at + len(data)] = data

    def sns(self, profile: Profile = PAPR, **options: bool) -> Sns:
        return Sns(profile, self.is_ram, self.read, self.write, **options)


def refusal(call: Callable[[], object]) -> int:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.code


# ---------------------------------------------------------------- registration
@pytest.mark.parametrize(
    ("address", "size", "papr", "rfc"),
    [
        (0x5000, 0x1000, 0, 0), (0x5000, 0xFF, H_P2, H_P2), (0x5000, 0x1002, H_P2, 0), (0x5010, 0x1000, H_PARAMETER, H_PARAMETER),
        (0x5000, 254, H_P2, H_P2), (0x5000, 256, 0, 0), (0x5000, 257, H_P2, 0), (0x5000, 4094, 0, 0),
        (0x7000, 4096, 0, 0), (0x7000, 4098, H_P2, H_P2), (0x8000, 4096, -4, -4),
        (0x5001, 255, H_PARAMETER, H_PARAMETER), (1 << 60, 4096, H_PARAMETER, H_PARAMETER), (0, 256, 0, 0),
        (0x5000, 0, H_P2, H_P2), (0x5000, (1 << 64) - 2, H_P2, H_P2), (0x5000, 0x10002, H_P2, H_P2),
    ],
)  # fmt: skip
def test_registration_edges(address: int, size: int, papr: int, rfc: int) -> None:
    """V13: a failed call changes nothing; lengths and alignments on both sides of every limit."""
    for profile, expected in ((PAPR, papr), (RFC, rfc)):
        ram = Ram()
        sns = ram.sns(profile)
        if expected:
            assert refusal(lambda sns=sns: sns.register(address, size)) == expected
            assert sns.area is None
        else:
            sns.register(address, size)
            assert sns.area is not None
            assert sns.area.entries == (size - 2) // 2
        assert not any(ram.data)


def test_registering_again_is_busy_and_changes_nothing() -> None:
    """LoPAR is silent; V13."""
    ram = Ram()
    sns = ram.sns()
    sns.register(BASE, 256)
    before = sns.save()
    for address in (BASE, 0x6000):
        assert refusal(lambda address=address: sns.register(address, 4096)) == H_BUSY
    assert refusal(lambda: sns.register(BASE + 1, 4096)) == H_PARAMETER
    assert sns.save() == before
    other = ram.sns(replace=True)
    other.register(BASE, 256)
    other.register(0x6000, 4096)
    assert other.area is not None
    assert other.area.base == 0x6000
    sns.deregister()
    sns.deregister()
    sns.register(0x6000, 4096)


def test_golden_post() -> None:
    """Page back, trigger 0x80, toggle 0: the entry, one interrupt; the second gives none until byte 0 becomes 0x00."""
    ram = Ram()
    sns = ram.sns()
    sns.register(BASE, 4096)
    assert not sns.armed
    ram.data[BASE] = 0x80
    assert sns.armed
    assert sns.post(0x0102) is Post.SIGNAL
    assert ram.data[BASE : BASE + 6] == bytes([0x80, 0, 1, 2, 0, 0])
    assert sns.area is not None
    assert sns.area.toggle == 1
    assert sns.post(0x0103) is Post.QUIET
    ram.data[BASE] = 0x00
    assert sns.post(0x0104) is Post.SIGNAL
    assert ram.data[BASE : BASE + 10] == bytes([0, 0, 1, 2, 1, 3, 1, 4, 0, 0])


def test_a_full_ring_takes_no_more_notifications() -> None:
    """2047 entries that nobody clears and one more fault: synchronous, and byte 1 stays 0 (V6)."""
    ram = Ram()
    sns = ram.sns()
    sns.register(BASE, 4096)
    for number in range(1, 2048):
        assert sns.room(0)
        sns.post(number)
    assert not sns.room(0)
    assert ram.data[BASE + 1] == 0
    assert sns.uncleared(1)
    ram.write(BASE + 2, b"\0\0")
    assert sns.room(0)
    assert not sns.room(1)
    assert not sns.uncleared(1)
    assert sns.post(9999) is Post.QUIET
    assert sns.post(10000) is Post.OVERFLOW  # an event that nobody made room for
    assert ram.data[BASE + 1] == 0x80
    ram.write(BASE + 1, bytes(4095))  # only registering again ends it
    assert sns.post(1) is Post.OVERFLOWED
    assert not any(ram.data[BASE + 1 : BASE + 4096])


def test_the_rfc_drops_what_it_cannot_deliver() -> None:
    """Defects A2, A3, A7: bits 0x01; an interrupt for every event; only a control byte of exactly 1 will do."""
    ram = Ram()
    sns = ram.sns(RFC)
    sns.register(BASE, 256)
    for control in (0x00, 0x80, 0x81, 0x03):
        ram.data[BASE] = control
        assert sns.post(5) is Post.NOT_ARMED
        assert not any(ram.data[BASE + 1 : BASE + 256])
    ram.data[BASE] = 1
    for number in range(127):
        assert sns.room(200)  # A6: how many are under way does not count
        assert sns.post(number + 1) is Post.SIGNAL
    assert not sns.room(0)
    assert sns.post(7) is Post.OVERFLOW
    assert ram.data[BASE + 1] == 0x01
    ram.write(BASE + 2, b"\0\0")
    assert sns.post(8) is Post.SIGNAL


def test_the_rfc_writes_in_the_hosts_byte_order() -> None:
    """Defect A17: on a little-endian host a big-endian guest reads another number."""
    for little, expected in ((False, b"\x01\x02"), (True, b"\x02\x01")):
        ram = Ram()
        sns = ram.sns(Profile("rfc", RFC.defects, little))
        sns.register(BASE, 256)
        ram.data[BASE] = 1
        sns.post(0x0102)
        assert ram.read(BASE + 2, 2) == expected


# ---------------------------------------------------------------------- numbers
def test_rfc_numbers_pass_through_zero() -> None:
    """Defect A5, and B48: a page has a new one each time."""
    numbers = Numbers(RFC)
    numbers.next = 0xFFFF
    assert [numbers.take(7, lambda n: False) for _ in range(3)] == [0xFFFF, 0, 1]
    assert numbers.of(7) is None


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=200),
    st.integers(1, 0xFFFF),
    st.sets(st.integers(1, 0xFFFF), max_size=20),
)
def test_numbers_name_one_page_each(steps: list[tuple[bool, int]], start: int, ring: set[int]) -> None:
    """V3, V4: never 0, no two pages have one, the same page keeps its own, none that the ring still shows."""
    numbers = Numbers(PAPR)
    numbers.next = start
    model: dict[int, int] = {}
    for take, page in steps:
        if take and page not in model:
            assert numbers.any_free(ring.__contains__)
            number = numbers.take(page, ring.__contains__)
            assert 1 <= number <= 0xFFFF
            assert number not in model.values()
            assert number not in ring
            model[page] = number
        elif not take and page in model:
            numbers.give_back(model.pop(page))
        assert numbers.of(page) == model.get(page)
        assert len(numbers) == len(model)
        other = Numbers(PAPR)
        other.load(numbers.save())
        assert other.number_of == numbers.number_of == model


def test_no_number_is_free() -> None:
    numbers = Numbers(PAPR)
    assert not numbers.any_free(lambda n: True)
    assert numbers.any_free(lambda n: n != 0xFFFF)
    assert numbers.take(1, lambda n: n != 0xFFFF) == 0xFFFF


# ------------------------------------------------------------------- interrupts
@pytest.mark.parametrize("access", [0, 1, 2])
def test_interrupt_images(access: int) -> None:
    """V12, and what the RFC makes of it (A11, A12)."""
    image = interrupt(PAPR, 0x30008, access, 0xDEAD)
    if access == 2:
        assert (image.vector, image.srr1, image.dar) == (ISI, 0x40020000, None)
    else:
        assert (image.vector, image.srr1, image.dar, image.dsisr) == (DSI, 0x20000, 0x30008, (0x40000000, 0x42000000)[access])
    image = interrupt(RFC, 0x30008, access, 0xDEAD)
    assert (image.vector, image.srr1, image.dar, image.dsisr) == (DSI, 0x20000, 0xDEAD, 0x40000000)


def test_fields_of_the_vpa() -> None:
    assert PAPR.vpa_fields(0x0102, True) == (0x17D, b"\x01\x01\x02")
    assert PAPR.vpa_fields(0, False) == (0x17D, b"\0\0\0")
    assert RFC.vpa_fields(0x0102, True) == (0x118, b"\x01\x02")


def test_every_defect_can_be_had_alone() -> None:
    for defect in Defect:
        profile = Profile(defect.name, frozenset((defect,)))
        assert profile.has(defect)
        assert (profile.token, profile.mask, profile.number_offset) != (RFC.token, RFC.mask, RFC.number_offset)


# ------------------------------------------------------------------ state machine
class RingMachine(RuleBasedStateMachine):
    """A guest of any manners beside a platform; the model follows LoPAR's six steps on the bytes themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.ram = Ram()
        self.sns = self.ram.sns()
        self.registered = False
        self.armed_before = 0
        self.signals = 0
        self.arms = 0

    @precondition(lambda self: not self.registered)
    @rule(entries=st.sampled_from([127, 128, 2047]), control=st.integers(0, 255), junk=st.binary(max_size=8))
    def register(self, entries: int, control: int, junk: bytes) -> None:
        self.ram.write(BASE, bytes(4096))
        self.ram.write(BASE + 2, junk)
        self.ram.data[BASE] = control
        self.sns.register(BASE, 2 + 2 * entries)
        self.registered = True
        self.entries, self.fill, self.overflow = entries, 0, False
        self.toggle = control >> 7

    @precondition(lambda self: self.registered)
    @rule()
    def deregister(self) -> None:
        self.sns.deregister()
        self.registered = False
        self.ram.write(BASE, bytes(4096))

    @precondition(lambda self: self.registered)
    @rule(count=st.integers(1, 150), number=st.integers(1, 0xFFFF))
    def post(self, count: int, number: int) -> None:
        for _ in range(count):
            before = bytes(self.ram.data)
            at = BASE + 2 + 2 * self.fill
            trigger = before[BASE] >> 7
            got = self.sns.post(number)
            after = bytes(self.ram.data)
            changed = {i for i in range(SIZE) if before[i] != after[i]} if before != after else set()
            if self.overflow:  # V7
                assert got is Post.OVERFLOWED
                assert not changed
                return
            if before[at] or before[at + 1]:  # V5
                assert got is Post.OVERFLOW
                assert changed <= {BASE + 1}
                assert after[BASE + 1] == before[BASE + 1] | 0x80
                self.overflow = True
                return
            assert changed <= {at, at + 1}
            assert after[at : at + 2] == number.to_bytes(2, "big")
            self.fill = (self.fill + 1) % self.entries
            assert (got is Post.SIGNAL) == (self.toggle != trigger)  # V8: once for each arm
            self.toggle = trigger

    @precondition(lambda self: self.registered)
    @rule(start=st.integers(0, 2046), count=st.integers(1, 200))
    def clear(self, start: int, count: int) -> None:
        for i in range(start, min(start + count, self.entries)):
            self.ram.write(BASE + 2 + 2 * i, b"\0\0")

    @precondition(lambda self: self.registered)
    @rule(at=st.integers(0, 4095), junk=st.binary(min_size=1, max_size=4))
    def scribble(self, at: int, junk: bytes) -> None:
        junk = junk[: 2 + 2 * self.entries - at] if at < 2 + 2 * self.entries else b""
        self.ram.write(BASE + at, junk)

    @precondition(lambda self: self.registered)
    @rule(times=st.integers(1, 3))
    def flip(self, times: int) -> None:
        for _ in range(times):
            self.ram.data[BASE] ^= 0x80

    @precondition(lambda self: self.registered)
    @rule(outstanding=st.integers(0, 3000))
    def ask_for_room(self, outstanding: int) -> None:
        used = sum(1 for i in range(self.entries) if any(self.ram.read(BASE + 2 + 2 * i, 2)))
        if not self.sns.room(outstanding):
            assert used + outstanding >= self.entries

    @rule()
    def save_and_load(self) -> None:
        other = self.ram.sns()
        other.load(self.sns.save())
        assert other.save() == self.sns.save()
        self.sns = other

    @invariant()
    def knows_itself(self) -> None:
        area = self.sns.area
        assert (area is not None) == self.registered
        if area is not None:
            assert (area.fill, area.overflow) == (self.fill, self.overflow)
            assert area.toggle == self.toggle
            assert self.sns.armed == (not self.overflow and self.toggle != self.ram.data[BASE] >> 7)
            assert len(area.held) <= area.entries
            assert area.entry_of == {n: i for i, n in area.held.items()} or len(set(area.held.values())) < len(area.held)


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


@given(st.lists(st.tuples(st.sampled_from(["post", "drain", "clear one"]), st.integers(1, 40)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_guest_that_drains_arms_and_looks_again_misses_nothing(steps: list[tuple[str, int]]) -> None:
    """V1, V6, V9: posted numbers come out once each and in order; after draining, arming and looking again an interrupt tells of
    whatever comes later; the ring never overflows while the platform asks for room first."""
    ram = Ram()
    sns = ram.sns()
    sns.register(BASE, 256)
    head, number, expected, got, told = 0, 0, [], [], True

    def drain(limit: int) -> None:
        nonlocal head
        while limit and any(ram.read(BASE + 2 + 2 * head, 2)):
            got.append(int.from_bytes(ram.read(BASE + 2 + 2 * head, 2), "big"))
            ram.write(BASE + 2 + 2 * head, b"\0\0")
            head = (head + 1) % 127
            limit -= 1

    for what, count in steps:
        if what == "drain":
            drain(1000)
            if not sns.armed:
                ram.data[BASE] ^= 0x80
            told = False
        elif what == "clear one":
            drain(1)
        else:
            for _ in range(count):
                if sns.room(0):
                    number += 1
                    expected.append(number)
                    told = sns.post(number) is Post.SIGNAL or told
        assert ram.data[BASE + 1] == 0
        assert told or got == expected  # nothing waits that nobody was told of
    drain(1000)
    assert got == expected
