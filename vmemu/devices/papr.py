# SPDX-License-Identifier: GPL-2.0-or-later
"""Return codes and conventions of PAPR hypervisor calls (LoPAR 2.9, "Hypervisor call return codes")."""

from __future__ import annotations

from vmemu.devices.base import Quiet, State

H_SUCCESS = 0
H_BUSY = 1
H_HARDWARE = -1
H_FUNCTION = -2
H_PRIVILEGE = -3
H_PARAMETER = -4
H_RESOURCE = -16
H_RESCINDED = -46
H_P2, H_P3, H_P4 = -55, -56, -57
H_UNSUPPORTED_FLAG = -256

MASK64 = (1 << 64) - 1


class Refused(Exception):
    """A call that the hypervisor answers with an error code and no effect."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


class NoWindow:
    """For a device that is reached by calls and special registers only, never through memory."""

    def read(self, offset: int, size: int) -> int:
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        return None


class RandomNumbers(NoWindow, Quiet):
    """H_RANDOM: splitmix64 from 0, the same numbers in every run."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.state = 0

    def next(self) -> int:
        self.state = (self.state + 0x9E37_79B9_7F4A_7C15) & MASK64
        z = self.state
        z = (z ^ z >> 30) * 0xBF58_476D_1CE4_E5B9 & MASK64
        z = (z ^ z >> 27) * 0x94D0_49BB_1331_11EB & MASK64
        return z ^ z >> 31

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1, "state": self.state}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"random: state version {state['version']}")
        self.state = state["state"]
