# SPDX-License-Identifier: GPL-2.0-or-later
"""Edges of windows, counts and lists (W13), what a failing list leaves behind in each profile (W5), and pages of other sizes."""

from __future__ import annotations

import pytest

from vmemu.errors import ConfigError
from vmemu.lab.tce_rig import ENTRIES, FULL, FUNCTION, GET, HARDWARE, INDIRECT, MASK, OK, P4, PARAMETER, PUT, STUFF, bench
from vmemu.protocols.tce.facility import LIOBN, WINDOW_BASE
from vmemu.protocols.tce.native import GIVEN, MAPPED, ffi
from vmemu.protocols.tce.wire import Call, Refusal, Token

PAGES = 64
OUTSIDE = PAGES << 12 | 3


def rw(page: int) -> int:
    return page << 12 | 3


def test_the_vectors_of_the_sheet() -> None:
    with bench(memory="512M", resident="4M") as b:
        assert b.put(3, 0x1234_5003) == OK
        data = bytes(b.host.page_bytes(b.tce.window, GIVEN, 0))
        assert data[24:32] == bytes.fromhex("0000000012345003")
        b.machine.write_guest(0x1234_5ABC, b"here")
        assert b.tce.card._bridge.read(b.at(3) + 0xABC, 4) == b"here"
        assert b.put(3, 0) == OK and b.tce.references() == 0
        assert b.stuff(0, 0, 512) == OK and b.stuff(0, 0, 513) == P4
        assert b.put(3, 0xDEAD_0FFC) == OK and b.get(3) == 0xDEAD_0FFC
        with pytest.raises(Exception, match="2 at"):
            b.tce.card._bridge.read(b.at(3), 4)
        b.check()


@pytest.mark.parametrize("level", [0, 1, 2])
def test_windows_and_counts_at_their_edges(level: int) -> None:
    """Papr; nothing wraps, and no call does more than 512 entries."""
    with bench(memory="256K") as b:
        for liobn in (0, MASK, 1 << 32, 1 << 63, LIOBN - 1, LIOBN | 1 << 32):
            assert b.call(PUT, liobn, b.at(0), rw(1), enter=level)[0] == PARAMETER
            assert b.call(GET, liobn, b.at(0), enter=level)[0] == PARAMETER
        for ioba in (b.at(-1), b.at(ENTRIES), MASK - 4095, 0, b.at(0) + 1, b.at(0) + 4095):
            assert b.call(PUT, LIOBN, ioba, rw(1), enter=level)[0] == PARAMETER
        assert b.put(ENTRIES - 1, rw(1), level) == OK
        for count, code in ((0, OK), (1, OK), (2, PARAMETER), (512, PARAMETER), (513, P4), (1 << 52, P4), (MASK, P4)):
            assert b.stuff(ENTRIES - 1, 0, count, level) == code
        for count, code in ((0, OK), (511, OK), (512, OK), (513, P4), (1 << 52, P4)):
            assert b.stuff(0, 0, count, level) == code
        for count in (513, 1 << 52, MASK):
            assert b.indirect(0, [0], level, count) == PARAMETER
        assert b.indirect(ENTRIES - 1, [0, 0], level) == PARAMETER
        assert b.indirect(0, [0] * 512, level) == OK
        assert b.call(INDIRECT, 1 << 63 | LIOBN, b.at(0), b.list_gpa, 1, level)[0] == FUNCTION
        for address in (b.list_gpa + 8, PAGES << 12, 1 << 60, MASK - 4095):
            assert b.call(INDIRECT, LIOBN, b.at(0), address, 1, level)[0] == PARAMETER
        assert b.call(STUFF, LIOBN, b.at(0), rw(2), 512, level)[0] == OK  # the same page everywhere, 512 references
        assert b.host.refs(int(b.page(2).frame)) == 512
        assert b.stuff(0, 0, 512, level) == OK
        assert not b.entries()
        b.check()


def test_a_list_on_the_page_that_it_maps_and_on_one_that_is_away() -> None:
    with bench(memory="256K") as b:
        assert b.indirect(0, [rw(b.pages - 1), rw(1), rw(1)]) == OK
        assert [b.get(i) for i in range(3)] == [rw(b.pages - 1), rw(1), rw(1)]
        b.stuff(0, 0, 3)
        b.machine.write_guest(10 << 12, rw(4).to_bytes(8, "big"))
        assert b.swap_out(10)
        assert b.call(INDIRECT, LIOBN, b.at(7), 10 << 12, 1)[0] == OK and b.refused is Refusal.NOT_PRESENT
        assert b.get(7) == rw(4)
        b.check()


@pytest.mark.parametrize(
    ("profile", "code", "left"),
    [("papr", PARAMETER, [9, 9, 9]), ("kvm-4.14", PARAMETER, [1, 9, 9]), ("kvm", OK, [1, PAGES, 2]), ("qemu", OK, [1, PAGES, 2])],
)
@pytest.mark.parametrize("level", [0, 1])
def test_a_list_with_an_address_outside_memory(profile: str, code: int, left: list[int], level: int) -> None:
    """LoPAR stores nothing; KVM of 2017 what came before; KVM since, and QEMU, take it, and DMA fails."""
    with bench(memory="256K", profile=profile) as b:
        b.stuff(0, 0, 3)
        for i in range(3):
            b.put(i, rw(9))
        assert b.indirect(0, [rw(1), OUTSIDE, rw(2)], level) == code
        assert [b.get(i) >> 12 for i in range(3)] == left
        if code == OK:
            with pytest.raises(Exception, match="2 at"):
                b.tce.card._bridge.read(b.at(1), 1)
        b.check()


@pytest.mark.parametrize(("profile", "left"), [("papr", [9, 9, 9]), ("kvm", [1, 0, 9]), ("qemu", [1, 9, 9])])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("lost", [False, True])
def test_a_list_whose_second_page_cannot_be_had(profile: str, left: list[int], level: int, lost: bool) -> None:
    """Too many pages are held, or the store cannot give one back. KVM clears the entry that failed, QEMU leaves it."""
    with bench(memory="256K", profile=profile) as b:
        b.touch(9)
        b.stuff(0, 0, 3)
        for i in range(3):
            b.put(i, rw(9))
        b.touch(1)
        if lost:
            b.page(2).state = 4  # BAD: the store could not give it back
        else:
            b.touch(2)
            b.host.ptr.limit = 2
        assert b.indirect(0, [rw(1), rw(2), rw(3)], level) in ((HARDWARE,) if lost else (FULL,))
        assert [b.get(i) >> 12 for i in range(3)] == left
        b.check()


def test_a_guest_cannot_pin_all_of_its_memory() -> None:
    """The rest keeps room to live; what was pinned stays, and goes when it is asked to."""
    with bench(memory="4M", resident="2M") as b:
        b.tce.loaded()
        codes = [b.put(i, rw(i)) for i in range(700)]
        pinned = codes.count(OK)
        assert set(codes) == {OK, FULL} and codes == [OK] * pinned + [FULL] * (700 - pinned)
        assert pinned == 512 - 128
        for page in range(700, 1000):  # the guest goes on
            b.machine.write_guest(page << 12, b"x")
        assert [b.put(i, 0) for i in range(pinned)] == [OK] * pinned and b.tce.references() == 0
        b.check()


def test_a_prefix_whose_page_cannot_be_had_comes_before_the_bad_entry() -> None:
    """KVM of 2017, entry by entry: the second page is lost, so that nobody looks at the third, which is bad."""
    with bench(memory="256K", profile="kvm-4.14") as b:
        b.touch(1)
        b.page(2).state = 4  # BAD
        assert b.indirect(0, [rw(1), rw(2), OUTSIDE], 1) == HARDWARE
        assert b.get(0) == rw(1) and b.get(1) == 0 and b.get(2) == 0
        b.check()


def test_stuff_with_permissions_and_poison() -> None:
    with bench(memory="256K", profile="kvm") as b:
        assert b.stuff(0, rw(1), 2) == PARAMETER  # B17
        assert b.stuff(0, 0, 4096) == OK  # no cap
        assert b.stuff(0, 0xDEAD_0000, 3) == OK and b.get(2) == 0xDEAD_0000 and b.tce.references() == 0
        b.check()


@pytest.mark.parametrize("shift", [16, 24])
def test_iommu_pages_that_are_larger_than_memory_pages(shift: int) -> None:
    """Each part has its own host page; real mode leaves them alone."""
    with bench(memory="32M", resident="32M") as b:
        table = b.host.add_table(77, 1 << 40, 8, shift)
        b.tce.kernel.set_limit()
        b.host.ptr.limit = MASK
        gpa = 1 << shift
        code, _ = b.call(PUT, 77, (1 << 40) + (3 << shift), gpa | 3)
        assert code == OK and b.refused is Refusal.PAGE_SIZE
        assert b.tce.references() == table.parts
        b.machine.write_guest(gpa + (5 << 12) + 7, b"part")
        data = bytearray(4)
        assert b.host.dma(77, (1 << 40) + (3 << shift) + (5 << 12) + 7, ffi.from_buffer("uint8_t[]", data), 4, write=False) == (0, 4)
        assert data == b"part"
        assert b.host.read(table, MAPPED, 3 * table.parts) & 3 == 3
        assert b.call(PUT, 77, (1 << 40) + (3 << shift), 0)[0] == OK and b.tce.references() == 0
        b.check()


def test_windows_that_cannot_be() -> None:
    """As KVM refuses them: sizes, alignment, the end of the bus, and a LIOBN that is taken."""
    with bench(memory="256K") as b:
        for base, size, shift in ((0, 0, 12), (0, 1, 11), (0, 1, 35), (4096, 1, 16), (WINDOW_BASE, 1 << 52, 12)):
            with pytest.raises(ConfigError, match="cannot be"):
                b.host.add_table(5, base, size, shift)
        with pytest.raises(ConfigError, match="taken"):
            b.host.add_table(LIOBN, 0, 1)


def test_the_last_writer_of_an_entry_wins() -> None:
    """W14: calls are atomic; PUT and STUFF on the same entry leave one of the two, and counts that agree."""
    for calls in ((rw(1), 0), (0, rw(1))):
        with bench(memory="256K") as b:
            for value in calls:
                b.put(4, value) if value else b.stuff(3, 0, 4)
            assert b.get(4) == calls[1] and b.tce.references() == bool(calls[1])
            b.check()


def test_the_arguments_of_a_call() -> None:
    """GET and PUT have no count: what is in r7 means nothing."""
    assert Call.of(Token.PUT, 1, 2, 3, 99).count == 1 and Call.of(Token.STUFF, 1, 2, 3, 99).count == 99
