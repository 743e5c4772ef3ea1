# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of DMA windows: a partition that makes a few calls, a host that moves pages meanwhile, a device that comes and goes.

There is no guest: who calls what, which pages are where and what the device does are the explorer's decisions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmemu.core import PageFlag, PageState
from vmemu.devices.netcard import DmaError
from vmemu.lab.explore.scenario import Scenario
from vmemu.lab.tce_rig import PUT, Bench
from vmemu.lab.zoo.case import Case
from vmemu.protocols.tce.facility import LIOBN

if TYPE_CHECKING:
    from vmemu.clock.choices import Choices
    from vmemu.lab.explore.actions import Ask
    from vmemu.machine.machine import Machine

STEPS, INDEXES = 5, 2
#: Pages that entries name, and that may become one compound page.
PAGES = (2, 3)
READ, BOTH, RESERVED = 1, 3, 0x100
FAR = 1 << 40  # no memory


def _entry(ask: Ask, page: int = PAGES[0]) -> int:
    """What a call asks for: that page, for reading and writing, unless decided otherwise."""
    kinds = (page << 12 | BOTH, FAR | BOTH, page << 12 | BOTH | RESERVED, page << 12 | READ)
    return kinds[ask("entry", len(kinds))]


def _put(b: Bench, ask: Ask) -> None:
    b.put(ask("index", INDEXES), _entry(ask))


def _unmap(b: Bench, ask: Ask) -> None:
    b.put(ask("index", INDEXES), 0)


def _list(b: Bench, ask: Ask) -> None:
    b.indirect(0, [_entry(ask), _entry(ask, PAGES[1])])


def _stuff(b: Bench, ask: Ask) -> None:
    b.stuff(0, _entry(ask), 2)


def _hostile(b: Bench, ask: Ask) -> None:
    """Arguments that no good kernel gives."""
    which = ask("hostile", 3)
    if which == 0:
        b.stuff((1 << 16) - 1, 0, 1 << 52)
    elif which == 1:
        b.call(PUT, LIOBN, b.at(1) + 8, 2 << 12 | BOTH)
    else:
        b.call(PUT, 1 << 32 | LIOBN, b.at(1), 2 << 12 | BOTH)


def _device(b: Bench) -> None:
    """The card stores wherever it can."""
    for index in range(INDEXES):
        try:
            b.tce.card._bridge.write(b.at(index), b"from the device")
        except DmaError:
            pass


def _page(ask: Ask) -> int:
    return PAGES[ask("page", len(PAGES))]


def _free(b: Bench, page: int) -> bool:
    """Resident, and no entry or compound page needs it."""
    at = b.page(page)
    return bool(at.state == PageState.RESIDENT and not b.host.refs(int(at.frame)) and not b.host.flags(int(at.frame)) & 3)


def _swap(b: Bench, ask: Ask) -> None:
    page = _page(ask)
    if _free(b, page):
        b.swap_out(page)


def _lose(b: Bench, ask: Ask) -> None:
    """The store will not give it back."""
    page = PAGES[1]
    if _free(b, page) and b.swap_out(page):
        b.core.mark_bad(page)


def _balloon(b: Bench, ask: Ask) -> None:
    page = _page(ask)
    at = b.page(page)
    if at.state == PageState.RESIDENT and not b.host.flags(int(at.frame)) & 3:
        b.discard(page)


def _age(b: Bench, ask: Ask) -> None:
    """The host looks which pages are in use, and writes clean ones out."""
    page = _page(ask)
    if _free(b, page):
        b.page(page).flags &= ~(PageFlag.ACCESSED | PageFlag.DIRTY)


def _compound(b: Bench, ask: Ask) -> None:
    if all(_free(b, page) for page in PAGES):
        b.make_compound([*reversed(PAGES)])


#: What happens in a step; then the card stores.
MOVES = (_put, _unmap, _list, _stuff, _hostile, _swap, _lose, _balloon, _age, _compound)


def _rig(bugs: tuple[str, ...], choices: Choices) -> Machine:
    return Bench.make(memory="128K", choices=choices, bugs=bugs).machine


def _drive(machine: Machine, ask: Ask) -> None:
    bench = Bench(machine)
    for page in PAGES:
        bench.touch(page)
    for _ in range(STEPS):
        MOVES[ask("move", len(MOVES))](bench, ask)
        _device(bench)


CALLS = Scenario(
    name="tce-calls", text="a few H_PUT_TCE calls in real mode and above, while pages come and go and a device stores",
    isa="ppc64", rig=_rig, drive=_drive, models=("tce",),
)  # fmt: skip

CASES = (
    Case("tce-absent-success", CALLS, ("W4",)),
    Case("tce-all-ones", CALLS, ("W7",)),
    Case("tce-page-out", CALLS, ("W3",)),
    Case("tce-list-leak", CALLS, ("W1",)),
    Case("tce-stale-marker", CALLS, ("W4", "W11")),
    Case("tce-early-drop", CALLS, ("W6",)),
    Case("tce-rollback", CALLS, ("W1",)),
    Case("tce-window-wrap", CALLS, ("W13",)),
    Case("tce-lock-leak", CALLS, ("W11",)),
    Case("tce-clear-first", CALLS, ("W5",)),
    Case("tce-dirty-compound", CALLS, ("W2",)),
    Case("tce-no-flush", CALLS, ("W7",)),
    Case("tce-free-in-real", CALLS, ("W2",)),
    Case("tce-half-list", CALLS, ("W5",)),
    Case("tce-stuff-refused", CALLS, ("W4",)),
    Case("tce-wide-liobn", CALLS, ("W4",)),
)
OUTSIDE: dict[str, str] = {}
