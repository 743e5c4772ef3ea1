# SPDX-License-Identifier: GPL-2.0-or-later
"""Known bugs of the arm64 series, host and guest."""

from __future__ import annotations

from vmemu.lab.zoo.case import Case
from vmemu.lab.zoo.duels import duel

DUEL = duel("duel-sdei", "four tasks on two CPUs and a few pages that are away, told by SDEI", "sdei", "tasks=4")
FAST = duel("duel-sdei-fast", "the same with pages that are back at once", "sdei", "tasks=4", options={"latency": "zram"})
BOOT = duel("duel-sdei-boot", "the same from the machine's first instruction on", "sdei", "tasks=4", start="boot")

CASES = (
    Case("sdei-token-zero", DUEL, ("TOK", "I-3")),
    Case("sdei-refault-spin", DUEL, ("LIVE", "HALT")),
    Case("sdei-no-clear", DUEL, ("LIVE", "I-5")),
    Case("sdei-no-ack", BOOT, ("LIVE",)),
    Case("sdei-stale-flag", FAST, ("LIVE",)),
)
OUTSIDE = {
    "sdei-disable-keeps-ack": "this guest acknowledges each interrupt that comes, owed or not: one that does not is in "
    "tests/protocols/test_sdei_arm64_quirks.py",
    "sdei-critical": "harms nobody by itself: a guest of one event sees no difference",
    "sdei-zero-registers": "harms nobody by itself: a handler that looks at x4 to x17 would",
    "sdei-failed-injection": "needs a guest that masks events: tests/protocols/test_sdei_arm64_quirks.py has one",
}
