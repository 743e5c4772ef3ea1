# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual terminal (LoPAR 2.9, H_PUT_TERM_CHAR and H_GET_TERM_CHAR): up to 16 bytes a call, in two registers."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import Quiet, State
from vmemu.devices.papr import H_PARAMETER, NoWindow, Refused

#: Unit address in the device tree; 0 is what early boot code uses for "the console".
UNIT = 0x7100_0000
MOST = 16


class Hvc(NoWindow, Quiet):
    """One terminal between the guest and the host's console."""

    def __init__(self, put: Callable[[int], None], get: Callable[[], int | None]) -> None:
        self._put, self._get = put, get

    def reset(self) -> None:
        return None

    def put(self, unit: int, count: int, high: int, low: int) -> None:
        """H_PUT_TERM_CHAR. Raises Refused."""
        if unit not in (0, UNIT) or count > MOST:
            raise Refused(H_PARAMETER)
        for byte in (high.to_bytes(8, "big") + low.to_bytes(8, "big"))[:count]:
            self._put(byte)

    def get(self, unit: int) -> tuple[int, int, int]:
        """H_GET_TERM_CHAR: (count, bytes 0-7, bytes 8-15). Raises Refused."""
        if unit not in (0, UNIT):
            raise Refused(H_PARAMETER)
        data = bytearray()
        while len(data) < MOST and (byte := self._get()) is not None:
            data.append(byte)
        packed = bytes(data).ljust(MOST, b"\0")
        return len(data), int.from_bytes(packed[:8], "big"), int.from_bytes(packed[8:], "big")

    # ------------------------------------------------------------------- Device
    def save(self) -> State:
        return {"version": 1}

    def load(self, state: State) -> None:
        if state["version"] != 1:
            raise ValueError(f"hvc: state version {state['version']}")
