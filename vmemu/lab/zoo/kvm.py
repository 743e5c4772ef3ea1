# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of KVM's protocol on x86, host side."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel

DUEL = duel("duel-kvm", "four tasks on two CPUs and a few pages that are away, told by KVM's protocol", "kvm", args="tasks=4")

CASES = (
    Case("kvm-no-rescan", DUEL, ("LIVE",)),
)
OUTSIDE: dict[str, str] = {}
