# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the test guest's kernel: its table of tasks that wait, and its half of KVM's protocol."""

from __future__ import annotations

from typing import Any

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel
from vmemu.lab.zoo.kvm import BOOT, LEGACY, LEGACY_KERNEL, OFF, SPIN

#: Nobody takes pages away: two tasks that wait and wake by hand, so that who runs is all that is decided.
_HAND: dict[str, Any] = {"apf": "off", "isa": "x86_64", "setup": (), "actions": ()}
BY_HAND = duel("by-hand", "a task waits for two tokens, another one wakes it, whoever is first", args="hand=2", **_HAND)
BY_HAND_ALL = duel("by-hand-all", "the same, and after each token all sleepers of the CPU are woken", args="hand=2 all=1", **_HAND)
FEW_MARKERS = duel("few-markers", "two pairs of such tasks, and one marker for a wake that comes early", args="hand=2 tasks=4 markers=1",
                   cycles=4_000_000, **_HAND)  # fmt: skip
BACKWARDS = duel("few-markers-backwards", "the same, and tokens are woken the last one first", args="hand=2 tasks=4 markers=1 back=1",
                 cycles=4_000_000, **_HAND)  # fmt: skip
FORKS = duel("forks", "a task writes to a page that its child shares", args="tasks=1 pages=1 forks=2", start="boot",
             cycles=4_000_000, **_HAND)  # fmt: skip
CROWD = duel("crowd", "three tasks wait for one token, and one wake is for all", args="crowd=1 tasks=4", **_HAND)

CASES = (
    Case("apf-no-marker", BY_HAND, ("LIVE",)),
    Case("apf-wake-one", CROWD, ("LIVE",)),
    Case("fork-no-flush", FORKS, ("GUEST", "LIVE")),
    Case("apf-alloc-locked", BACKWARDS, ("LIVE",)),
    Case("apf-no-second-look", FEW_MARKERS, ("LIVE", "RES")),
    Case("apf-drop-markers", BY_HAND_ALL, ("LIVE", "RES")),
    Case("apf-sleep-atomic", LEGACY_KERNEL, ("GUEST", "CTX")),
    Case("apf-late-reason", LEGACY, ("GUEST", "CLASS", "SLOT")),
    Case("apf-no-eoi", BOOT, ("LIVE", "EOI")),
    Case("apf-no-ack", SPIN, ("LIVE",)),
    Case("apf-no-broadcast", OFF, ("RES", "LIVE")),
    Case("apf-no-teardown", OFF, ("OWN", "GUEST", "RES")),
    Case("apf-enabled-at-64", BOOT, ("CLASS", "GUEST", "LIVE")),
    Case("apf-doc-bits", BOOT, ("LIVE", "RES", "TOK")),
)
OUTSIDE: dict[str, str] = {}
