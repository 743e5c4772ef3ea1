# SPDX-License-Identifier: GPL-2.0-or-later
"""Arm generic timer (DDI 0487 D11.2): the EL1 virtual and physical timers of each CPU over one system counter.

The counter itself is read in the C unit (CNTVCT, CNTPCT); both count virtual nanoseconds, CNTVOFF is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vmemu.devices.base import Now, State

HZ = 62_500_000
NS_PER_TICK = 1_000_000_000 // HZ  # exact
MASK64 = (1 << 64) - 1

ENABLE, IMASK, ISTATUS = 1, 2, 4
TVAL, CTL, CVAL = 0, 1, 2


@dataclass(slots=True)
class Timer:
    """One comparator. ``line`` is the level that its interrupt shows now."""

    ctl: int = 0
    cval: int = 0
    line: bool = False

    def fired(self, count: int) -> bool:
        """The timer condition: counter >= compare value, both unsigned (D11.2.4)."""
        return count >= self.cval


class GenericTimer:
    """Timers of all CPUs.

    ``set_line(cpu, virtual, level)`` drives the interrupts, ``changed()`` is called when a deadline moved.
    """

    def __init__(
        self, cpus: int, now: Now, set_line: Callable[[int, bool, bool], None], changed: Callable[[], None]
    ) -> None:
        self._now, self._set_line, self._changed = now, set_line, changed
        self._cpus = cpus
        self.reset()

    def reset(self) -> None:
        #: [cpu][0] physical, [cpu][1] virtual
        self.timers = [[Timer(), Timer()] for _ in range(self._cpus)]

    # ---------------------------------------------------------- system registers
    def count(self) -> int:
        return self._now() // NS_PER_TICK & MASK64

    def read_register(self, cpu: int, virtual: bool, which: int) -> int:
        """CNTx_TVAL, CTL or CVAL."""
        timer, count = self.timers[cpu][virtual], self.count()
        if which == CVAL:
            return timer.cval
        if which == TVAL:
            return (timer.cval - count) & 0xFFFFFFFF
        fired = ISTATUS if timer.ctl & ENABLE and timer.fired(count) else 0
        return timer.ctl | fired

    def write_register(self, cpu: int, virtual: bool, which: int, value: int) -> None:
        timer = self.timers[cpu][virtual]
        if which == CVAL:
            timer.cval = value & MASK64
        elif which == TVAL:
            signed = (value & 0xFFFFFFFF ^ 0x80000000) - 0x80000000
            timer.cval = (self.count() + signed) & MASK64
        else:
            timer.ctl = value & (ENABLE | IMASK)
        self._update(cpu, virtual)
        self._changed()

    def _update(self, cpu: int, virtual: bool) -> None:
        timer = self.timers[cpu][virtual]
        level = timer.ctl & (ENABLE | IMASK) == ENABLE and timer.fired(self.count())
        if level != timer.line:
            timer.line = level
            self._set_line(cpu, virtual, level)

    # ------------------------------------------------------------------- device
    def read(self, offset: int, size: int) -> int:
        return 0  # no memory-mapped frame

    def write(self, offset: int, size: int, value: int) -> None:
        return None

    def next_deadline(self) -> int | None:
        """Of the timers that can still raise their line; one that has raised it waits for the guest."""
        due = [
            t.cval * NS_PER_TICK
            for pair in self.timers
            for t in pair
            if t.ctl & (ENABLE | IMASK) == ENABLE and not t.line
        ]
        return min(due, default=None)

    def on_deadline(self, now: int) -> None:
        for cpu in range(self._cpus):
            self._update(cpu, False)
            self._update(cpu, True)

    def save(self) -> State:
        return {"version": 1, "timers": [[[t.ctl, t.cval, int(t.line)] for t in pair] for pair in self.timers]}

    def load(self, state: State) -> None:
        self.timers = [[Timer(ctl, cval, bool(line)) for ctl, cval, line in pair] for pair in state["timers"]]
