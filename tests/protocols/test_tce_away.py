# SPDX-License-Identifier: GPL-2.0-or-later
"""W12: a call that names a page which is away is no success before the page is there and held."""

from __future__ import annotations

from typing import Any

import pytest

from vmemu import Machine
from vmemu.core import PageState
from vmemu.lab.tce_rig import HARDWARE, INDIRECT, MASK, OK, PUT, Bench, bench
from vmemu.protocols.tce.away import MOST_TRIES
from vmemu.protocols.tce.facility import LIOBN

BUSY = 9900


def rw(page: int) -> int:
    return page << 12 | 3


def agree(b: Bench, on: bool = True) -> None:
    """The client has negotiated cooperative memory over-commitment, or not."""
    board: Any = b.machine.board
    board.cas.agreed = bytes(board.cas.offered) if on else bytes(8)
    b.tce._see_agreement()


def pass_time(b: Bench) -> None:
    """Until the next event, which happens."""
    due = b.machine.queue.next_deadline()
    assert due is not None
    b.vcpu.add_cycles(max(b.machine.units(due) - b.vcpu.cycles, 0))
    b.machine.queue.run_due(due)


def put_away(b: Bench, *pages: int) -> None:
    for page in pages:
        b.touch(page)
        b.machine.write_guest(page << 12, b"page %d" % page)
        assert b.swap_out(page)


def test_busy_until_the_page_is_there() -> None:
    with bench(memory="256K", latency="nvme") as b:
        agree(b)
        put_away(b, 3)
        assert b.put(0, rw(3)) == BUSY and b.get(0) == 0 and b.tce.references() == 0
        assert b.put(0, rw(3)) == BUSY  # one request is enough
        assert len(b.tce.away.asked) == 1
        pass_time(b)
        assert b.put(0, rw(3)) == OK and b.get(0) == rw(3)
        assert b.tce.card._bridge.read(b.at(0), 6) == b"page 3"
        assert not b.swap_out(3)
        b.check()


def test_a_list_asks_for_all_of_its_pages_at_once() -> None:
    with bench(memory="256K", latency="nvme") as b:
        agree(b)
        put_away(b, 3, 4, 5)
        b.touch(2)
        assert b.indirect(0, [rw(2), rw(3), rw(4), rw(5)]) == BUSY
        assert len(b.tce.away.asked) == 3 and not b.entries() and b.tce.references() == 0
        while b.machine.queue.next_deadline() is not None:
            pass_time(b)
        code, delta = b.call(INDIRECT, LIOBN, b.at(0), b.list_gpa, 4)
        assert code == OK and (delta == 4 << 12 or b.refused == 0)
        b.check()


@pytest.mark.parametrize(("option", "agreed", "latency"), [("suspend", True, "nvme"), ("busy", False, "nvme"), ("busy", True, "none")])
def test_otherwise_the_vcpu_waits(option: str, agreed: bool, latency: str) -> None:
    """Long busy is for guests that know it, when there is something to wait for, and unless the host would rather wait."""
    with bench(memory="256K", latency=latency, tce_away=option) as b:
        agree(b, agreed)
        put_away(b, 3)
        before = b.vcpu.blocked_cycles
        assert b.put(0, rw(3)) == OK
        assert (b.vcpu.blocked_cycles > before) == (latency != "none")
        b.check()


def test_a_page_that_never_stays_is_waited_for_in_the_end() -> None:
    """Retries are bounded: whoever takes the page away each time loses."""
    with bench(memory="256K", latency="nvme") as b:
        agree(b)
        put_away(b, 3)
        codes = []
        for _ in range(MOST_TRIES + 1):
            codes.append(b.put(0, rw(3)))
            if codes[-1] == OK:
                break
            pass_time(b)
            assert b.swap_out(3)
        assert codes == [BUSY] * MOST_TRIES + [OK]
        b.check()


def test_a_lost_page_is_an_error_in_the_end() -> None:
    with bench(memory="256K", latency="nvme") as b:
        agree(b)
        put_away(b, 3)
        b.page(3).crc ^= 1
        assert b.put(0, rw(3)) == BUSY
        pass_time(b)
        assert b.page(3).state == PageState.BAD
        assert b.put(0, rw(3)) == HARDWARE and b.tce.references() == 0
        b.check()


def test_what_a_call_has_changed_is_told() -> None:
    """r4: signed change in bytes that are mapped for I/O, in CMO mode alone (LoPAR 12.3.3)."""
    with bench(memory="256K") as b:
        for on in (True, False):
            agree(b, on)
            for value, delta in ((rw(1), 4096), (rw(2), 0), (0xFFC, -4096 & MASK), (0, 0)):
                assert b.call(PUT, LIOBN, b.at(0), value, enter=1) == (OK, delta if on else None)
        agree(b)
        b.put(5, rw(9), enter=1)
        b.touch(1)
        assert b.host.real_call(0, PUT, LIOBN, b.at(0), rw(1))[0] == 0 and int(b.host.ptr.delta) == 1


def test_a_guest_meets_it() -> None:
    """dma-net has agreed, its pages are away now and then: the same bytes come back, and no byte less."""
    options: dict[str, Any] = {"isa": "ppc64", "memory": "16M", "resident": "4M", "latency": "nvme"}
    busy = Machine.boot("dma-net", append="packets=600 pages=1500 area=256 style=1", **options).run()
    assert busy.status == 0 and b"dma-net: PASS" in busy.output
    assert busy.extra["tce"]["long_busy"] > 0 and busy.extra["tce"]["violations"] == []
