# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the arm64 series, host and guest."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel

DUEL = duel("duel-sdei", "four tasks on two CPUs and a few pages that are away, told by SDEI", "sdei", "tasks=4")
FAST = duel("duel-sdei-fast", "the same with pages that are back at once", "sdei", "tasks=4", options={"latency": "zram"})
OFF = duel("duel-sdei-off", "a CPU leaves and comes back while tasks of its sleep", "sdei", "tasks=4 off=1")

CASES = (
    Case("sdei-token-zero", DUEL, ("TOK", "I-3")),
    Case("sdei-refault-spin", DUEL, ("LIVE", "HALT")),
    Case("sdei-disable-keeps-ack", OFF, ("I-6", "LIVE")),
    Case("sdei-no-clear", DUEL, ("LIVE", "I-5")),
    Case("sdei-no-ack", DUEL, ("LIVE",)),
    Case("sdei-stale-flag", FAST, ("LIVE",)),
)
OUTSIDE = {
    "sdei-critical": "harms nobody by itself: a guest of one event sees no difference",
    "sdei-zero-registers": "harms nobody by itself: a handler that looks at x4 to x17 would",
    "sdei-failed-injection": "needs a guest that masks events",
}
