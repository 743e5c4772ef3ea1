# SPDX-License-Identifier: GPL-2.0-or-later
"""Debug-exit port: writing a value ends the run with that guest status."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import Quiet, State


class DebugExit(Quiet):
    """Any width, any byte of the window; reads are open bus."""

    def __init__(self, power_off: Callable[[int], None]) -> None:
        self._power_off = power_off

    def reset(self) -> None:
        return None

    def read(self, offset: int, size: int) -> int:
        return (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        self._power_off(value & ((1 << 8 * size) - 1))

    def save(self) -> State:
        return {"version": 1}

    def load(self, state: State) -> None:
        return None
