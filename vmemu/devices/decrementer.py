# SPDX-License-Identifier: GPL-2.0-or-later
"""Decrementers (Power ISA Book III 8.4): one 32-bit counter to a CPU, counting down with the time base.

The interrupt is a level: DEC's sign bit. Writing the largest value (0x7fffffff) parks the counter: kernels write it
when they want no interrupt, and a machine that only waits for that one would never be seen to be stalled.
"""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import State
from vmemu.devices.papr import NoWindow

HZ = 512_000_000
#: 64 ticks are 125 ns.
TICKS, TICKS_NS = 64, 125
PARKED = 0x7FFF_FFFF


class Decrementer(NoWindow):
    """The decrementers of all CPUs.

    ``ticks(cpu)`` is the CPU's time base, ``set_line(cpu, level)`` drives its interrupt, ``changed()`` tells that a
    deadline moved.
    """

    def __init__(
        self, cpus: int, ticks: Callable[[int], int], set_line: Callable[[int, bool], None], changed: Callable[[], None]
    ) -> None:
        self._cpus, self._ticks, self._set_line, self._changed = cpus, ticks, set_line, changed
        self.reset()

    def reset(self) -> None:
        #: time base value at which DEC is 0; None: parked
        self.zero: list[int | None] = [None] * self._cpus
        self.line = [False] * self._cpus

    def read_dec(self, cpu: int) -> int:
        """DEC, zero-extended as mfspr gives it."""
        zero = self.zero[cpu]
        return PARKED if zero is None else (zero - self._ticks(cpu)) & 0xFFFF_FFFF

    def write_dec(self, cpu: int, value: int) -> None:
        value &= 0xFFFF_FFFF
        signed = value - (value >> 31 << 32)
        self.zero[cpu] = None if value == PARKED else self._ticks(cpu) + signed
        self._drive(cpu, signed < 0)
        self._changed()

    def _drive(self, cpu: int, level: bool) -> None:
        self.line[cpu] = level
        self._set_line(cpu, level)

    def _due(self, cpu: int) -> int | None:
        """First nanosecond at which DEC is negative; None while parked or already negative."""
        zero = self.zero[cpu]
        return None if zero is None or self.line[cpu] else -(-(zero + 1) * TICKS_NS // TICKS)

    # ------------------------------------------------------------------- Device
    def next_deadline(self) -> int | None:
        return min((due for cpu in range(self._cpus) if (due := self._due(cpu)) is not None), default=None)

    def on_deadline(self, now: int) -> None:
        for cpu in range(self._cpus):
            due = self._due(cpu)
            if due is not None and due <= now:
                self._drive(cpu, True)

    def save(self) -> State:
        return {"version": 1, "zero": list(self.zero), "line": list(self.line)}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"decrementer: state version {state['version']}")
        self.zero = list(state["zero"])
        self.line = list(state["line"])
