# SPDX-License-Identifier: GPL-2.0-or-later
"""Bugs of real TCE code, as switches. Those of real mode are bits of the C part (tce.h, enum bug). And an event for the injector."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from vmemu.bugs import Bug, register
from vmemu.clock.inject import Do, declare
from vmemu.devices.papr import H_PARAMETER
from vmemu.protocols.tce import profiles

if TYPE_CHECKING:
    from vmemu.protocols.tce.facility import Tce

ARRIVAL = declare("tce.page_in", "a page comes that a TCE call waits for: fail, the store cannot give it back", Do.DELAY, Do.FAIL)

#: Switch -> (bit of tce_host.bugs, where it is described, what it does).
REAL = {
    "tce-absent-success": (0, "TCE-B1", "real mode says success for a page that is away, and maps nothing (2013 series, v9)"),
    "tce-all-ones": (1, "TCE-B2", "a page that real mode cannot count is left to virtual mode as address all ones, which it stores (v9)"),
    "tce-page-out": (2, "TCE-B3", "a refused page looks as if real mode held it: virtual mode lets it go once too often (v9)"),
    "tce-list-leak": (3, "TCE-B4", "a list with a bad entry keeps the reference of its own page (v9)"),
    "tce-stale-marker": (4, "TCE-B5", "what one call left to virtual mode is taken for the next call's (v9)"),
    "tce-early-drop": (5, "TCE-B6", "a page is let go before its entry is cleared and flushed (v9)"),
    "tce-window-wrap": (6, "TCE-B8", "the end of a window is computed in bytes and wraps; a count of 2^52 passes (v9)"),
    "tce-lock-leak": (7, "TCE-B9", "a bad entry ends a list with the table's lock held (KVM, until 4.15)"),
    "tce-clear-first": (8, "TCE-B10", "when entry i of a list fails, the first one is cleared instead (KVM, until real mode went)"),
    "tce-dirty-compound": (9, "TCE-B12", "real mode marks the head of a compound page dirty through a virtual pointer (KVM, until 4.19)"),
    "tce-no-flush": (10, "TCE-W7", "a changed entry stays in the bridge's cache"),
    "tce-free-in-real": (11, "TCE-W2", "real mode drops the last reference of a page: it would be freed there"),
}
#: Of the levels above: switch -> (where it is described, what it does).
ABOVE = {
    "tce-rollback": ("TCE-B7", "a list that fails in virtual mode keeps the references that it has taken (v9)"),
    "tce-half-list": ("TCE-W5", "a list is stored entry by entry: what comes before a bad one stays (KVM 4.14, QEMU)"),
    "tce-stuff-refused": ("TCE-B17", "H_STUFF_TCE with permissions is refused (KVM)"),
    "tce-wide-liobn": ("TCE-B18", "a LIOBN of more than 32 bits is cut, and taken for another's (QEMU)"),
}
for _name, (_, _sheet, _text) in REAL.items():
    register(Bug(_name, "protocols.tce", _text, _sheet))
for _name, (_sheet, _text) in ABOVE.items():
    register(Bug(_name, "protocols.tce", _text, _sheet))


def switch_on(tce: Tce, names: Iterable[str]) -> None:
    """Put the named bugs back; others are not ours."""
    ladder = tce.ladder
    for name in names:
        if name in REAL:
            tce.host.ptr.bugs |= 1 << REAL[name][0]
        if name == "tce-half-list":
            ladder.user.rules = replace(ladder.user.rules, all_or_none=False)
        elif name == "tce-stuff-refused":
            ladder.user.rules = replace(ladder.user.rules, stuff_maps=H_PARAMETER)
        elif name == "tce-wide-liobn":
            ladder.user.rules = replace(ladder.user.rules, wide_liobn=profiles.Do.TRUNCATE)
        if ladder.virtual is None:
            continue
        ladder.virtual.rollback_from_0 |= name == "tce-rollback"
        ladder.virtual.keep_marker |= name == "tce-stale-marker"
        if name == "tce-stuff-refused":
            ladder.virtual.rules = replace(ladder.virtual.rules, stuff_maps=H_PARAMETER)
