# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts of virtual devices, switched by unit address (LoPAR 2.9, H_VIO_SIGNAL): bit 63 of the mode is the first source."""

from __future__ import annotations

from vmemu.devices.base import Quiet, State
from vmemu.devices.papr import H_PARAMETER, NoWindow, Refused


class VioSignals(NoWindow, Quiet):
    """Which sources of which units may interrupt."""

    def __init__(self) -> None:
        self._initial: dict[int, tuple[int, int]] = {}
        self.reset()

    def reset(self) -> None:
        #: unit -> sources that are switched on, one bit each
        self.mode = {unit: mode for unit, (_, mode) in self._initial.items()}

    def add(self, unit: int, *, sources: int = 1, mode: int = 0) -> None:
        """Declare a unit with so many sources; `mode` holds after a reset. Raises ValueError for one that is there already."""
        if unit in self._initial:
            raise ValueError(f"unit {unit:#x} is taken")
        self._initial[unit] = ((1 << sources) - 1, mode)
        self.mode[unit] = mode

    def enabled(self, unit: int, source: int = 0) -> bool:
        return bool(self.mode[unit] >> source & 1)

    def signal(self, unit: int, mode: int) -> None:
        """H_VIO_SIGNAL. Raises Refused for a unit that there is not, and for sources that it does not have."""
        known = self._initial.get(unit)
        if known is None or mode & ~known[0]:
            raise Refused(H_PARAMETER)
        self.mode[unit] = mode

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "mode": {str(unit): mode for unit, mode in sorted(self.mode.items())}}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"vio: state version {state['version']}")
        self.mode = {int(unit): mode for unit, mode in state["mode"].items()}
