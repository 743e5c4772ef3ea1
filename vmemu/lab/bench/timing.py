# SPDX-License-Identifier: GPL-2.0-or-later
"""Repeat, interleave, keep the best: other work on the machine only ever makes a measurement longer."""

from __future__ import annotations

import time
from collections.abc import Callable


def clock(action: Callable[[], object]) -> float:
    """Processor time of this thread for `action`, in seconds: preemption is not counted."""
    start = time.thread_time()
    action()
    return time.thread_time() - start


def interleaved(repeat: int, *runs: Callable[[], float]) -> list[float]:
    """Each run returns the seconds of what it measured; A B C A B C ..., the least of each."""
    best = [float("inf")] * len(runs)
    for _ in range(repeat):
        for i, run in enumerate(runs):
            best[i] = min(best[i], run())
    return best
