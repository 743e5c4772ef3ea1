# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware configuration, the part that test images ask for: selector at +0 (16 bits), data at +1 (8 bits).

Interface as in QEMU's docs/specs/fw_cfg: selecting an item rewinds it, reading past its end gives zeros.
"""

from __future__ import annotations

from vmemu.devices.base import Quiet, State

SIGNATURE, ID, NB_CPUS, MAX_CPUS = 0x00, 0x01, 0x05, 0x0F
#: Bytes 0x11 asked by test images: RAM above 4 GiB, u64.
MAX_RAM = 0x11


class FwCfg(Quiet):
    """`items` maps an item's number to its bytes."""

    def __init__(self, items: dict[int, bytes]) -> None:
        self.items = items
        self.reset()

    def reset(self) -> None:
        self.selected = 0
        self.position = 0

    def read(self, offset: int, size: int) -> int:
        if offset != 1 or size != 1:
            return 0
        data = self.items.get(self.selected, b"")
        byte = data[self.position] if self.position < len(data) else 0
        self.position = min(self.position + 1, len(data))
        return byte

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == 0 and size == 2:
            self.selected = value & 0x3FFF  # bit 15 architecture-local, bit 14 write: neither exists here
            self.position = 0

    def save(self) -> State:
        return {"version": 1, "selected": self.selected, "position": self.position}

    def load(self, state: State) -> None:
        self.selected = state["selected"]
        self.position = state["position"]
