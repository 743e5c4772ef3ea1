# SPDX-License-Identifier: GPL-2.0-or-later
"""PL011 UART (Arm DDI 0183): data in and out, always ready. No interrupt, no baud rate, no FIFO to fill."""

from __future__ import annotations

from collections.abc import Callable

from vmemu.devices.base import Quiet, State

DR, FR, IBRD, FBRD, LCRH, CR, IFLS, IMSC = 0x00, 0x18, 0x24, 0x28, 0x2C, 0x30, 0x34, 0x38
FR_RXFE, FR_TXFE = 1 << 4, 1 << 7
#: PeriphID0-3 and PCellID0-3 (3.3.15 ff.): drivers of the "primecell" bus look before they bind.
IDENT = (0x11, 0x10, 0x14, 0x00, 0x0D, 0xF0, 0x05, 0xB1)
STORED = (IBRD, FBRD, LCRH, CR, IFLS, IMSC)


class Pl011(Quiet):
    """``put`` takes bytes from the guest; ``get`` gives one typed byte or None."""

    def __init__(self, put: Callable[[int], None], get: Callable[[], int | None]) -> None:
        self._put, self._get = put, get
        self.reset()

    def reset(self) -> None:
        self.regs = dict.fromkeys(STORED, 0) | {CR: 0x300, IFLS: 0x12}
        self.received: int | None = None  # taken from the console, not yet from us

    def _look(self) -> int | None:
        if self.received is None:
            self.received = self._get()
        return self.received

    def read(self, offset: int, size: int) -> int:
        if offset == DR:
            byte, self.received = self._look(), None
            return byte or 0
        if offset == FR:
            return FR_TXFE | (FR_RXFE if self._look() is None else 0)
        if 0xFE0 <= offset < 0x1000 and offset % 4 == 0:
            return IDENT[(offset - 0xFE0) // 4]
        return self.regs.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:
        if offset == DR:
            self._put(value & 0xFF)
        elif offset in self.regs:
            self.regs[offset] = value & 0xFFFF

    def save(self) -> State:
        return {"version": 1, "regs": [self.regs[r] for r in STORED], "received": self.received}

    def load(self, state: State) -> None:
        self.regs = dict(zip(STORED, state["regs"], strict=True))
        self.received = state["received"]
