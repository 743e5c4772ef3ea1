# SPDX-License-Identifier: GPL-2.0-or-later
"""Corners of the protocols that nobody seems to have reported: what is reachable there (docs/findings.md)."""

from __future__ import annotations

from vmemu.lab.explore.scenario import register
from vmemu.lab.zoo.duels import duel

REGISTER = register(duel(
    "corner-register", "KVM: a CPU writes EN anew, the same area, while tasks of its sleep", "kvm", "tasks=4 rewrite=1"
))  # fmt: skip
IDLE = register(duel(
    "corner-idle-barrier", "KVM: two tasks on one CPU, nobody computes, and stores reach memory late", "kvm", "tasks=2 pages=4 shared=0",
    options={"smp": 1, "latency": "zram", "store_buffer": True},
))  # fmt: skip
