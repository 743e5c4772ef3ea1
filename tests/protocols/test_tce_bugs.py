# SPDX-License-Identifier: GPL-2.0-or-later
"""Each switch of the bug zoo breaks what its scenario shows, and the scenario is clean without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vmemu.bugs import known
from vmemu.devices.netcard import DmaError
from vmemu.errors import EngineError
from vmemu.lab.tce_rig import OK, PARAMETER, PUT, Bench, bench
from vmemu.protocols.tce.bugs import ABOVE, REAL
from vmemu.protocols.tce.facility import LIOBN


def rw(page: int) -> int:
    return page << 12 | 3


def absent(b: Bench) -> str:
    b.put(5, rw(9), enter=1)
    b.touch(3)
    assert b.swap_out(3)
    return "" if b.put(0, rw(3)) == OK and b.get(0) == rw(3) else "W4: success, and nothing is mapped"


def all_ones(b: Bench) -> str:
    b.make_compound([2, 3])
    assert b.put(0, rw(3)) == OK
    try:
        b.tce.card._bridge.read(b.at(0), 4)
    except DmaError:
        return "W7: mapped, and the device cannot reach it"
    b.put(0, 0)
    return ""


def page_out(b: Bench) -> str:
    b.make_compound([2, 3])
    code = b.put(0, rw(3))
    return "" if code == OK else f"a good call returned {code}"


def bad_list(b: Bench) -> str:
    b.put(5, rw(9), enter=1)
    b.touch(1)
    assert b.indirect(0, [rw(1), rw(2) | 0x100]) == PARAMETER
    return "; ".join(b.tce.invariants())


def stale_marker(b: Bench) -> str:
    b.touch(3)
    assert b.put(0, rw(3)) == OK  # the table's page is missing: put-tce
    code, _ = b.call(PUT, LIOBN, b.at(1) + 8, rw(4))
    return "; ".join(b.tce.invariants()) if code == PARAMETER else f"W4: a misaligned call returned {code}"


def replace(b: Bench) -> str:
    b.put(0, rw(9), enter=1)
    b.touch(3)
    assert b.put(0, 3 << 12 | 1) == OK
    return "; ".join(b.tce.invariants())


def wrap(b: Bench) -> str:
    return "" if b.stuff((1 << 16) - 1, 0, 1 << 52) < 0 else "W13: 2^52 entries were cleared"


def clear_first(b: Bench) -> str:
    for page in (1, 2, 9):
        b.touch(page)
    b.put(0, rw(9))
    assert b.indirect(0, [rw(1), 1 << 40 | 3]) == PARAMETER
    return "" if b.get(0) == rw(9) else "W5: a failing call changed the table"


def compound(b: Bench) -> str:
    b.make_compound([2, 3])
    b.put(0, rw(3))
    b.put(0, 0)
    return "; ".join(b.tce.invariants())


def no_flush(b: Bench) -> str:
    b.put(0, rw(3))
    b.tce.card._bridge.write(b.at(0), b"one")
    b.put(0, 0)
    try:
        b.tce.card._bridge.write(b.at(0), b"two")
    except DmaError:
        return ""
    return "; ".join(b.tce.invariants())


def last_reference(b: Bench) -> str:
    b.touch(3)
    b.put(0, rw(3))
    b.discard(3)
    b.put(0, 0)
    return "; ".join(b.tce.invariants())


def rollback(b: Bench) -> str:
    b.touch(1)
    b.put(5, rw(9))
    b.page(2).state = 4  # lost
    assert b.indirect(0, [rw(1), rw(2)]) < 0
    return "; ".join(b.tce.invariants())


def half_list(b: Bench) -> str:
    b.put(5, rw(9), enter=1)
    assert b.indirect(0, [rw(1), 1 << 40 | 3]) == PARAMETER
    return "W5: a failing call changed the table" if b.get(0) else ""


def stuff(b: Bench) -> str:
    return "" if b.stuff(0, rw(3), 2) == OK else "W4: a good call was refused"


def wide(b: Bench) -> str:
    return "W4: another's window" if b.call(PUT, 1 << 32 | LIOBN, b.at(0), rw(3))[0] == OK else ""


SCENARIOS: dict[str, tuple[Callable[[Bench], str], str]] = {
    "tce-absent-success": (absent, "W4"),
    "tce-all-ones": (all_ones, "W7"),
    "tce-page-out": (page_out, "returned -1"),
    "tce-list-leak": (bad_list, "W1"),
    "tce-stale-marker": (stale_marker, "W4"),
    "tce-early-drop": (replace, "W6"),
    "tce-window-wrap": (wrap, "died in real mode: access to"),
    "tce-lock-leak": (bad_list, "waits for ever"),
    "tce-clear-first": (clear_first, "W5"),
    "tce-dirty-compound": (compound, "died in real mode: the head"),
    "tce-no-flush": (no_flush, "W7"),
    "tce-free-in-real": (last_reference, "died in real mode: a page was released"),
    "tce-rollback": (rollback, "W1"),
    "tce-half-list": (half_list, "W5"),
    "tce-stuff-refused": (stuff, "W4"),
    "tce-wide-liobn": (wide, "W4"),
}


def outcome(scenario: Callable[[Bench], str], bugs: list[str]) -> str:
    with bench(memory="256K", bugs=bugs) as b:
        try:
            return scenario(b)
        except EngineError as error:
            return str(error)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_bug_is_seen(name: str) -> None:
    scenario, sign = SCENARIOS[name]
    assert outcome(scenario, []) == ""
    assert sign in outcome(scenario, [name])


def test_every_bug_has_a_scenario() -> None:
    assert set(SCENARIOS) == {*REAL, *ABOVE} == {name for name in known() if name.startswith("tce-")}
