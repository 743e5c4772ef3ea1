# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit device: a write ends the machine with that status. Device tree: ``compatible = "vmemu,exit"``."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import Quiet, State


class ExitDevice(Quiet):
    """One 32-bit register; ``power_off(status)`` is called for each write to it."""

    def __init__(self, power_off: Callable[[int], None]) -> None:
        self._power_off = power_off

    def reset(self) -> None:
        return None

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0:
            self._power_off(value & 0xFFFFFFFF)

    def save(self) -> State:
        return {"version": 1}

    def load(self, state: State) -> None:
        return None
